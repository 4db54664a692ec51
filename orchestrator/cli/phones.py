"""`nag devices`, `nag doctor`, `nag runner`, and opening the phone that `--device` names."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from device_agent.adb import AdbClient, AdbPhone, ListedDevice
    from device_agent.device import Device
    from device_agent.doctor import Finding
    from device_agent.runner_store import Runner, RunnerStore
    from device_agent.virtual import VirtualLab

DEVICES_MISSING = 3

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
AdbPortOption = Annotated[
    int | None,
    typer.Option(min=1, max=65535, help="Port of the adb server.", show_default="ANDROID_ADB_SERVER_PORT, or 5037"),
]
VirtualOption = Annotated[
    int, typer.Option("--virtual", min=0, metavar="N", help="Look at a lab of N virtual phones instead.")
]

runner_app = typer.Typer(
    help="The program that measures on phones: TensorFlow Lite's benchmark_model.", no_args_is_help=True
)


def devices(as_json: JsonOption = False, virtual: VirtualOption = 0, adb_port: AdbPortOption = None) -> None:
    """Devices that can be measured on from here, their states, and what to do about them."""
    if virtual:
        with _lab(virtual) as lab:
            found = _phones(lab.client)
    else:
        from device_agent.adb import AdbClient

        found = [_host(), *_phones(AdbClient(port=adb_port))]
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for device in found:
        print("  ".join(filter(None, (device["device"], device["state"], *_summary(device)))))
        for line in (*device["limits"], *device["action"].splitlines()):
            print(f"      {line}")


def doctor(as_json: JsonOption = False, virtual: VirtualOption = 0, adb_port: AdbPortOption = None) -> None:
    """Check what phones need to be measured, and what will limit accuracy. Exit code 3 when something does not work."""
    from device_agent.adb import AdbClient
    from device_agent.doctor import examine

    with ExitStack() as stack:
        client = stack.enter_context(_lab(virtual)).client if virtual else AdbClient(port=adb_port)
        report = examine(client, in_use=_in_use())
    if as_json:
        print(json.dumps({"status": report.status, **report.to_json()}, indent=2))
    else:
        _print_findings("this computer", report.findings)
        for phone in report.phones:
            _print_findings(f"{phone.serial} ({phone.info.model if phone.info else phone.state})", phone.findings)
    if report.status == "failed":
        raise typer.Exit(DEVICES_MISSING)


@runner_app.command()
def add(
    source: Annotated[str, typer.Argument(metavar="FILE|URL", help="The binary.", show_default=False)],
    abi: Annotated[str, typer.Option(help="The phones' ABI, e.g. arm64-v8a; `nag devices` shows it.")],
    sha256: Annotated[str | None, typer.Option(help="What its content has to be.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a runner and store it by its content; it becomes the one that is used for its ABI."""
    from device_agent.runner_store import RunnerStore

    runner = RunnerStore().add(source, abi, sha256=sha256)
    if as_json:
        print(json.dumps(runner.to_json(), indent=2))
    else:
        print(
            f"{runner.abi}  sha256 {runner.sha256}  {runner.size_bytes / 2**20:.1f} MiB  {runner.version_hint}".rstrip()
        )


@runner_app.command("list")
def list_runners(as_json: JsonOption = False) -> None:
    """Runners that were added, the latest first; the first of each ABI is the one that is used."""
    from device_agent.runner_store import RunnerStore

    runners = RunnerStore().list()
    if as_json:
        print(json.dumps([runner.to_json() for runner in runners], indent=2))
        return
    if not runners:
        print("none has been added; docs/runners.md says where to get one", file=sys.stderr)
    for runner in runners:
        print(f"{runner.abi}  sha256 {runner.sha256[:16]}  {runner.version_hint or '-'}  {runner.source}")


@contextmanager
def opened_phone(
    serial: str, *, runner: Path | None = None, adb_port: int | None = None, client: AdbClient | None = None
) -> Iterator[Device]:
    """The phone with this serial, to be measured on; put back as it was at the end.

    Args:
        serial: As `nag devices` lists it.
        runner: Its `benchmark_model`; None: the stored one for its ABI.
        adb_port: Port of the adb server.
        client: The adb server, instead of a port.

    Raises:
        DeviceError: It is not there, not ready, or there is no runner for it.
    """
    from device_agent.adb import AdbClient
    from device_agent.android import AndroidDevice
    from device_agent.doctor import listed_phones
    from device_agent.lease import LeaseBook
    from device_agent.phone_runner import runner_for

    server = client or AdbClient(port=adb_port)
    listed = {device.serial: device for device in listed_phones(server)}
    _require_ready(serial, listed)
    phone = server.phone(serial, listed[serial].transport_id)
    with ExitStack() as stack:
        stack.enter_context(LeaseBook()).acquire(serial)
        device = AndroidDevice(phone, stack.enter_context(_one_runner(runner, phone)) if runner else runner_for(phone))
        stack.callback(device.close)
        yield device


@contextmanager
def opened_virtual(number: int, *, runner: Path | None = None) -> Iterator[Device]:
    """The last phone of a fresh lab of so many virtual phones."""
    with _lab(number) as lab, opened_phone(lab.serials[-1], runner=runner, client=lab.client) as device:
        yield device


@contextmanager
def _lab(count: int) -> Iterator[VirtualLab]:
    from device_agent.virtual import VirtualLab

    with VirtualLab(count) as lab:
        yield lab


@contextmanager
def _one_runner(file: Path, phone: AdbPhone) -> Iterator[Runner]:
    """A runner that is checked like the stored ones, and not kept."""
    from device_agent.phone_runner import runner_abis
    from device_agent.runner_store import RunnerStore

    with TemporaryDirectory(prefix="devicenag-runner-") as folder:
        yield _first_accepted(RunnerStore(Path(folder)), file, runner_abis(phone))


def _first_accepted(store: RunnerStore, file: Path, abis: Sequence[str]) -> Runner:
    """The file as a runner for the first of the ABIs that it is one for; if for none, why not for the last."""
    from device_agent.runner_store import RunnerRejected

    for abi in abis[:-1]:
        with suppress(RunnerRejected):
            return store.add(file, abi)
    return store.add(file, abis[-1])


def _require_ready(serial: str, listed: Mapping[str, ListedDevice]) -> None:
    from device_agent.adb_errors import DeviceNotFound, server_refused
    from device_agent.doctor import advice

    if serial not in listed:
        known = ", ".join(listed) or "none"
        raise DeviceNotFound(
            f"no such phone; the adb server sees: {known}", device=serial, hint="`nag devices`, `nag doctor`"
        )
    if (state := listed[serial].state) != "device":
        error = server_refused(state, device=serial, command="measure")
        error.hint = advice(state)
        raise error


def _host() -> dict[str, Any]:
    from device_agent.host import HostDevice

    device = HostDevice()
    try:
        return {"device": "host", "state": "device", **device.info.to_json(), "limits": device.health(), "action": ""}
    finally:
        device.close()


def _phones(client: AdbClient) -> list[dict[str, Any]]:
    """What there is to say about every phone; those that answer are asked, at the same time."""
    from device_agent.adb_errors import AdbServerLost
    from device_agent.doctor import listed_phones

    try:
        listed = listed_phones(client)
    except AdbServerLost as lost:
        print(f"note: {lost}", file=sys.stderr)
        return []
    in_use = _in_use()
    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(lambda device: _phone(client, device, in_use.get(device.serial)), listed))


def _in_use() -> dict[str, str]:
    """Serials of phones that other programs measure on, and who these are."""
    from device_agent.lease import LeaseBook

    with LeaseBook() as book:
        return {held.lease.device: held.label for held in book.held()}


def _phone(client: AdbClient, device: ListedDevice, user: str | None) -> dict[str, Any]:
    from device_agent.adb_shell import TEMPORARY
    from device_agent.conditions import Limits, limitations, read
    from device_agent.doctor import advice
    from device_agent.errors import DeviceError
    from device_agent.phone_identity import describe
    from device_agent.usb import usb_phones

    values: dict[str, Any] = {"device": device.serial, "state": device.state, "limits": [], "action": ""}
    if device.state != "device":
        return {**values, "model": device.tags.get("model", ""), "action": advice(device.state, usb_phones() or ())}
    if user is not None:  # any question would disturb its measurement
        return {**values, "model": device.tags.get("model", ""), "limits": [f"in use by process {user}"]}
    phone = client.phone(device.serial, device.transport_id)
    try:
        info = describe(phone)
        shell_v2, free_bytes = "shell_v2" in phone.features(), phone.free_bytes(TEMPORARY)
        limits = limitations(read(phone), Limits(), shell_v2=shell_v2, free_bytes=free_bytes)
    except DeviceError as error:
        return {**values, "limits": [error.message], "action": error.hint}
    return {**values, **info.to_json(), "limits": list(limits)}


def _summary(device: Mapping[str, Any]) -> tuple[str, ...]:
    """Name, chip or runtime, and ABI, as far as they are known."""
    details = device.get("properties", {})
    android = f"Android {details['android']}" if details.get("android") else ""
    return (device.get("model", ""), details.get("soc", ""), android, device.get("runtime", ""), device.get("abi", ""))


def _print_findings(title: str, findings: Sequence[Finding]) -> None:
    print(title)
    for finding in findings:
        print(f"  {finding.status:<8}{finding.check}: {finding.message}")
        for line in finding.hint.splitlines():
            print(f"          {line}")
