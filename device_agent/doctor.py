"""What keeps phones from being measured, or from being measured well: checks, and what to do about each."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from device_agent import orphans
from device_agent.adb import AdbClient, AdbPhone, ListedDevice, adb_binary
from device_agent.adb_errors import AdbServerLost
from device_agent.adb_shell import TEMPORARY
from device_agent.conditions import Limits, limitations, read
from device_agent.deploy import BINARIES, MIN_FREE_BYTES
from device_agent.errors import DeviceError
from device_agent.phone_identity import describe
from device_agent.phone_runner import runner_for
from device_agent.restore import left_behind
from device_agent.runner_store import RunnerStore
from device_agent.usb import UsbPhone, udev_rule, usb_phones
from profiling.records import DeviceInfo, Record

Status = Literal["ok", "warning", "failed"]

_TIMEOUT_S = 10.0
_ACCEPT_KEY = (
    "unlock the phone and accept the key of this computer (tick 'always allow'); "
    "if it does not ask, turn USB debugging off and on again"
)
_START_ANDROID = "start Android on it: `adb reboot`, or its power button"
_ADVICE = {
    "device": "",
    "unauthorized": _ACCEPT_KEY,
    "authorizing": _ACCEPT_KEY,
    "connecting": "wait a few seconds",
    "offline": "plug it in again; if that does not help, reboot it",
    "recovery": _START_ANDROID,
    "sideload": _START_ANDROID,
    "rescue": _START_ANDROID,
    "bootloader": "start Android on it: `fastboot reboot`, or its power button",
}
# Written, executed and removed: some phones let the shell user do only one or two of these.
_PROBE = """\
folder="$1"; probe="$folder/devicenag-probe"
printf '#!/system/bin/sh\\necho executed\\n' > "$probe" && chmod 755 "$probe" && "$probe"
code=$?; rm -f "$probe"; exit $code
"""


@dataclass(frozen=True)
class Finding(Record):
    """One check: what was looked at, how it is, and what to do about it.

    Attributes:
        check: Short stable name, e.g. `adb_server`, `runner`, `storage`.
        status: `ok`; `warning`: measuring works, but not as well as it could; `failed`: it does not work.
        message: One sentence.
        hint: What to do; empty when there is nothing to do.
    """

    check: str
    status: Status
    message: str
    hint: str = ""


@dataclass(frozen=True)
class PhoneReport(Record):
    """One phone: its state, who it is (where it answers), and its findings."""

    serial: str
    state: str
    info: DeviceInfo | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Report(Record):
    """Findings about this computer, and about every phone."""

    findings: tuple[Finding, ...]
    phones: tuple[PhoneReport, ...]

    @property
    def status(self) -> Status:
        """The worst of all findings."""
        everything = [*self.findings, *(finding for phone in self.phones for finding in phone.findings)]
        present = {finding.status for finding in everything}
        return "failed" if "failed" in present else "warning" if "warning" in present else "ok"


def advice(state: str, plugged: tuple[UsbPhone, ...] = ()) -> str:
    """What a person has to do about a phone in this state; empty when it is ready.

    Args:
        state: As `ListedDevice.state`.
        plugged: Phones that the kernel sees; their vendors go into the udev rule.
    """
    if state == "no permissions":
        return (
            "put this into /etc/udev/rules.d/51-android.rules, run `sudo udevadm control --reload`, join the group "
            f"plugdev (`sudo usermod -aG plugdev $USER`, then log in again), and plug the phone in again:\n"
            f"{udev_rule(plugged)}"
        )
    return _ADVICE.get(state, f"adb calls its state '{state}'; plug it in again")


def listed_phones(client: AdbClient) -> tuple[ListedDevice, ...]:
    """What the adb server sees. One is started if none listens and there may be a phone for it to see.

    Raises:
        AdbServerLost: There should be a server, but none answers.
    """
    try:
        return client.devices()
    except AdbServerLost as lost:
        if not isinstance(lost.__cause__, ConnectionRefusedError):
            raise
    if usb_phones() == ():
        return ()
    client.ensure_server()
    return client.devices()


def examine(
    client: AdbClient,
    store: RunnerStore | None = None,
    limits: Limits | None = None,
    in_use: Mapping[str, str] = MappingProxyType({}),
) -> Report:
    """Check everything; phones are asked, and a probe is written to them, but nothing on them is changed.

    Args:
        client: The adb server to look at.
        store: Where runners are; None: the user's.
        limits: What phones have to be like to be measured.
        in_use: Serial -> who uses it. Such a phone is left alone: any question would disturb its measurement.
    """
    plugged = usb_phones() or ()
    try:
        listed = listed_phones(client)
    except AdbServerLost as lost:
        return Report((Finding("adb_server", "failed", lost.message, lost.hint),), ())
    findings = [_server(client), *_unlisted(listed, plugged)]
    if not listed:
        findings.append(
            Finding(
                "phones", "warning", "no phone is attached",
                "turn on 'USB debugging' in the phone's developer options, and use a cable that carries data; "
                "`nag devices --virtual 4` shows virtual ones",
            )
        )  # fmt: skip
    phones = tuple(
        _left_alone(device, in_use[device.serial])
        if device.serial in in_use
        else _phone(client, device, plugged, store or RunnerStore(), limits or Limits())
        for device in listed
    )
    return Report(tuple(findings), phones)


def _server(client: AdbClient) -> Finding:
    try:
        version = client.server_version()
    except AdbServerLost:
        return Finding("adb_server", "ok", f"none runs on port {client.port}; one is started when there is a phone")
    message = f"version 1.0.{version} on {client.host}:{client.port}"
    program = _program_version()
    if program is not None and program != version:
        return Finding(
            "adb_server", "warning", f"{message}, but {adb_binary()} is 1.0.{program}",
            "adb programs kill servers of other versions, and every connection with them: "
            "keep one adb, or set ADBUTILS_ADB_PATH to the server's",
        )  # fmt: skip
    return Finding("adb_server", "ok", message)


def _program_version() -> int | None:
    """The protocol version of the adb program; None if it cannot be run."""
    try:
        done = subprocess.run([adb_binary(), "version"], capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, RuntimeError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"version 1\.0\.([0-9]+)", done.stdout)
    return int(found[1]) if found else None


def _unlisted(listed: tuple[ListedDevice, ...], plugged: tuple[UsbPhone, ...]) -> Iterator[Finding]:
    """Phones on USB that the server does not see."""
    seen = {device.tags.get("usb", "") for device in listed}
    missing = [phone for phone in plugged if phone.port not in seen]
    if len(seen - {""}) < len(plugged) and missing:
        ports = ", ".join(f"{phone.port} {phone.product}".strip() for phone in missing)
        yield Finding(
            "usb", "warning", f"plugged in, but not listed by this adb server: {ports}",
            "another adb server may hold it (`pgrep -a adb`): a phone on USB belongs to one server only",
        )  # fmt: skip


def _left_alone(device: ListedDevice, user: str) -> PhoneReport:
    finding = Finding("connection", "ok", f"in use by process {user}; left alone")
    return PhoneReport(device.serial, device.state, None, (finding,))


def _phone(
    client: AdbClient, device: ListedDevice, plugged: tuple[UsbPhone, ...], store: RunnerStore, limits: Limits
) -> PhoneReport:
    if device.state != "device":
        finding = Finding("connection", "failed", f"its state is '{device.state}'", advice(device.state, plugged))
        return PhoneReport(device.serial, device.state, None, (finding,))
    phone = client.phone(device.serial, device.transport_id)
    findings = [Finding("connection", "ok", "it answers")]
    info = None
    try:
        info = describe(phone)
        findings += [_runner(phone, store), _probe(phone), _storage(phone), *_leftovers(phone)]
        findings += _accuracy(phone, limits)
    except DeviceError as error:
        findings.append(Finding(error.code, "failed", error.message, error.hint))
    return PhoneReport(device.serial, device.state, info, tuple(findings))


def _runner(phone: AdbPhone, store: RunnerStore) -> Finding:
    try:
        runner = runner_for(phone, store)
    except DeviceError as error:
        if error.kind != "user":  # the link, not the store
            raise
        return Finding("runner", "failed", error.message, error.hint)
    version = f", {runner.version_hint}" if runner.version_hint else ""
    return Finding("runner", "ok", f"{runner.abi}, sha256 {runner.sha256[:12]}{version}")


def _probe(phone: AdbPhone) -> Finding:
    result = phone.run(["sh", "-c", _PROBE, "sh", TEMPORARY], _TIMEOUT_S)
    if result.exit_code == 0 and "executed" in result.stdout:
        return Finding("execute", "ok", f"programs can be put into {TEMPORARY} and executed")
    return Finding(
        "execute", "failed", f"a program in {TEMPORARY} cannot be written and executed: {result.stderr.strip()[:200]}",
        "some systems and management profiles forbid it; such a phone cannot be measured over adb",
    )  # fmt: skip


def _storage(phone: AdbPhone) -> Finding:
    free_bytes = phone.free_bytes(TEMPORARY)
    if free_bytes is None:
        return Finding("storage", "warning", "its free space cannot be read")
    free = f"{free_bytes / 2**20:.0f} MiB free"
    if free_bytes < MIN_FREE_BYTES:
        needed = f"at least {MIN_FREE_BYTES / 2**20:.0f} MiB must stay free"
        return Finding("storage", "failed", f"{free}; {needed}", "delete something on the phone")
    return Finding("storage", "ok", free)


def _leftovers(phone: AdbPhone) -> Iterator[Finding]:
    """What a session that was killed has left; or one that is going on."""
    if changes := left_behind(phone):
        names = ", ".join(change.switch.name for change in changes)
        yield Finding("leftovers", "warning", f"changed for measuring: {names}", "the next measurement puts it back")
    if pids := orphans.find(phone, BINARIES):
        yield Finding("leftovers", "warning", f"a runner is running (process {pids[0]})", "is it being measured?")


def _accuracy(phone: AdbPhone, limits: Limits) -> Iterator[Finding]:
    conditions = read(phone)
    yield Finding(
        "heat", "ok", f"status {conditions.thermal.status}; observability: {conditions.thermal.observability}"
    )
    shell_v2 = "shell_v2" in phone.features()
    for sentence in limitations(conditions, limits, shell_v2=shell_v2, free_bytes=phone.free_bytes(TEMPORARY)):
        yield Finding("accuracy", "warning", sentence)
