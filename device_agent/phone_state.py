"""What a phone says about itself: pure parsers of the output of Android's own commands.

`getprop`, `dumpsys battery`, `dumpsys thermalservice`, `dumpsys power`, `settings get`, `df -k`, sysfs files and
`/proc/self/status`, from Android 5 to today and as vendors bend them. Text that cannot be what it should be raises
`StateUnreadable`; nothing is guessed.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from device_agent.errors import InfrastructureError

Observability = Literal["full", "status", "none"]

_CPU = "/sys/devices/system/cpu"
_CLOCKS = ("related_cpus", "cpuinfo_max_freq", "scaling_max_freq", "scaling_cur_freq")
# Kernels before 4.3 have no policy folders, but the same files below each CPU.
_CPU_FILES = (
    f"{_CPU}/online",
    f"{_CPU}/cpu[0-9]*/cpu_capacity",
    *(f"{_CPU}/cpufreq/policy*/{name}" for name in _CLOCKS),
    *(f"{_CPU}/cpu[0-9]*/cpufreq/{name}" for name in _CLOCKS),
)
# Prints what `parse_clusters` reads, as PATH:CONTENT lines; ends with 2 because no phone has all of the files.
CLUSTERS_COMMAND = ("sh", "-c", f"grep -sH . {' '.join(_CPU_FILES)}")

# Temperature.TYPE_BCL_VOLTAGE, _CURRENT and _PERCENTAGE: values of the battery's current limiter, not temperatures.
_NOT_TEMPERATURES = {6, 7, 8}
_SKIN = 3
_PLAUSIBLE_C = (-40.0, 150.0)


class StateUnreadable(InfrastructureError):
    """A phone's answer cannot be what was asked for: a vendor's oddity, a lost link, a missing service."""

    code = "state_unreadable"


def _unreadable(what: str, text: str) -> StateUnreadable:
    shown = text.strip()[:200]
    return StateUnreadable(f"{what} cannot be read from {shown!r}", hint="`nag doctor` shows what the phone answers")


# Identity -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    """Which phone this is.

    Attributes:
        model: Marketing name of the model, e.g. `Pixel 7`.
        soc: Chip, as far as the system names it.
        abi: Preferred ABI, e.g. `arm64-v8a`.
        abis: Every ABI that it can run, the preferred one first.
        fingerprint: Build fingerprint; another one makes it another device for measurements.
        sdk: Android API level.
    """

    model: str
    soc: str
    abi: str
    abis: tuple[str, ...]
    fingerprint: str
    sdk: int


def parse_properties(text: str) -> dict[str, str]:
    """The properties that `getprop` lists as `[name]: [value]`; values may run over several lines."""
    return dict(re.findall(r"^\[([^\]\n]+)\]: \[(.*?)\]\r?$", text, re.MULTILINE | re.DOTALL))


def parse_identity(text: str) -> Identity:
    """The identity in the output of `getprop`.

    Raises:
        StateUnreadable: Model, ABI, fingerprint or API level is missing.
    """
    properties = parse_properties(text)
    needed = ("ro.product.model", "ro.product.cpu.abi", "ro.build.fingerprint", "ro.build.version.sdk")
    missing = [name for name in needed if not properties.get(name)]
    if missing or not re.fullmatch(r"[0-9]{1,3}", properties["ro.build.version.sdk"]):
        raise _unreadable(f"the phone's identity ({', '.join(missing) or needed[-1]})", text)
    abi = properties["ro.product.cpu.abi"]
    others = properties.get("ro.product.cpu.abilist", "").split(",")
    # ro.soc.model exists from Android 12 on.
    chip = ("ro.soc.model", "ro.board.platform", "ro.hardware.chipname", "ro.hardware")
    return Identity(
        model=properties["ro.product.model"],
        soc=next((properties[name] for name in chip if properties.get(name)), ""),
        abi=abi,
        abis=(abi, *(other for other in others if other and other != abi)),
        fingerprint=properties["ro.build.fingerprint"],
        sdk=int(properties["ro.build.version.sdk"]),
    )


# Battery, heat, power -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BatteryState:
    """Battery.

    Attributes:
        level_percent: 0 to 100.
        temp_c: Temperature.
        charging: Current flows into it (it heats the phone); a full battery on a cable is not charging.
        powered: A cable or a charging plate supplies the phone.
        overridden: Somebody left `dumpsys battery set` on: these values are not the battery's.
    """

    level_percent: float
    temp_c: float
    charging: bool
    powered: bool
    overridden: bool


def parse_battery(text: str) -> BatteryState:
    """The battery in the output of `dumpsys battery`.

    Raises:
        StateUnreadable: Level, temperature or status is missing or impossible.
    """
    _, found, body = text.partition("Current Battery Service state:")
    # Vendors append logs that repeat the keys; the state itself is the indented lines.
    section = re.match(r"(?:[ \t]*\r?\n|[ \t]+\S.*(?:\n|$))*", body)
    if not found or section is None:
        raise _unreadable("the battery", text)
    values: dict[str, str] = {}
    for name, value in re.findall(r"^[ \t]+([\w ]+): *(\S+)[ \t\r]*$", section[0], re.MULTILINE):
        values.setdefault(name, value)
    try:
        scale = float(values.get("scale", "100"))
        level, temp_c = float(values["level"]), float(values["temperature"]) / 10
        charging = int(values["status"]) == 2  # BatteryManager.BATTERY_STATUS_CHARGING
    except (KeyError, ValueError) as error:
        raise _unreadable("the battery", text) from error
    if not (0 < scale < math.inf and 0 <= level <= scale and _plausible(temp_c)):
        raise _unreadable("the battery", text)
    powered = any(value == "true" for name, value in values.items() if name.endswith(" powered"))
    return BatteryState(100 * level / scale, temp_c, charging, powered, "UPDATES STOPPED" in section[0])


@dataclass(frozen=True)
class ThermalState:
    """Heat.

    Attributes:
        status: 0 none, 1 light, 2 moderate, 3 severe, 4 critical, 5 emergency, 6 shutdown.
        sensors_c: Sensor name to temperature; sensors that report nothing plausible are left out.
        skin_c: The warmest skin sensor, what Android throttles by; None where there is none.
        observability: `full`: status and sensors; `status`: only a status; `none`: a status of 0 means nothing here,
            rely on the CPU's clock and on reference models.
        overridden: Somebody left `cmd thermalservice override-status` on.
    """

    status: int
    sensors_c: Mapping[str, float]
    skin_c: float | None
    observability: Observability
    overridden: bool


_SENSOR = re.compile(r"Temperature\{mValue=([^,}]+), *mType=(-?[0-9]{1,4}), *mName=([^,}]*), *mStatus=-?[0-9]")


def parse_thermal(text: str) -> ThermalState:
    """Heat in the output of `dumpsys thermalservice`.

    The HAL's current temperatures are used where they are listed; the cached ones may be hours old. Phones without
    the service (before Android 10) and with a dead HAL have the observability `none`.

    Args:
        text: Standard output and standard error; the latter says that there is no such service.

    Raises:
        StateUnreadable: Neither a status nor the word that there is no such service.
    """
    if re.search(r"Can't find service:? *thermalservice", text):
        return ThermalState(0, {}, None, "none", False)
    status = re.search(r"^\s*Thermal Status: *([0-6])\s*$", text, re.MULTILINE)
    if status is None:
        raise _unreadable("the thermal status", text)
    current = text.partition("Current temperatures from HAL:")[2].partition("Current cooling devices")[0]
    sensors_c: dict[str, float] = {}
    skin_c: float | None = None
    for value, kind, name in _SENSOR.findall(current) or _SENSOR.findall(text):
        temp_c = _number(value)
        # Exactly 0 and NaN are what HALs say of sensors that they do not have.
        if temp_c == 0 or not _plausible(temp_c) or int(kind) in _NOT_TEMPERATURES:
            continue
        sensors_c[name] = max(temp_c, sensors_c.get(name, temp_c))
        if int(kind) == _SKIN:
            skin_c = temp_c if skin_c is None else max(skin_c, temp_c)
    observability: Observability = "full" if sensors_c else "status" if int(status[1]) else "none"
    overridden = re.search(r"IsStatusOverride: *true", text) is not None
    return ThermalState(int(status[1]), sensors_c, skin_c, observability, overridden)


@dataclass(frozen=True)
class PowerState:
    """Whether the phone is awake: asleep or dozing, its clocks are clamped."""

    awake: bool


def parse_power(text: str) -> PowerState:
    """Wakefulness in the output of `dumpsys power`.

    Raises:
        StateUnreadable: It says nothing about it.
    """
    found = re.search(r"^\s*mWakefulness=(Awake|Asleep|Dozing|Dreaming)\b", text, re.MULTILINE)
    if found is None:
        raise _unreadable("the wakefulness", text)
    return PowerState(found[1] == "Awake")


def parse_setting(text: str) -> str | None:
    """The value that `settings get` printed; None where the setting was never set.

    Raises:
        StateUnreadable: An error message, or more than one line.
    """
    value = text.strip()
    if "\n" in value or re.search(
        r"Exception\b|Can't find service|^(?:Error|Failure|cmd):|^\[?usage", value, re.IGNORECASE
    ):
        raise _unreadable("the setting", text)
    return None if value in ("null", "") else value


# Storage --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Storage:
    """One file system: room for `free_kib` more KiB, for a user that is not root."""

    free_kib: int
    total_kib: int


_UNIT_KIB = {"": 1 / 1024, "K": 1.0, "M": 1024.0, "G": 1024.0**2, "T": 1024.0**3}


def parse_storage(text: str) -> Storage:
    """The file system in the output of `df -k PATH` (toybox), or of `df PATH` before Android 6 (toolbox).

    Raises:
        StateUnreadable: No such file system, or a table of another form.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    header = next((i for i, words in enumerate(lines) if words[0] == "Filesystem"), None)
    if header is None:
        raise _unreadable("the free space", text)
    # Long device names push their figures onto a line of their own.
    words = [word for line in lines[header + 1 :] for word in line]
    size, free = (1, 3)
    factor = None if "Blksize" in lines[header] else 1.0
    if factor is not None and not re.match(r"1(?:K|024)-blocks$", "".join(lines[header][1:2])):
        raise _unreadable("the free space", text)
    try:
        total_kib, free_kib = (_kib(words[column], factor) for column in (size, free))
    except (IndexError, ValueError) as error:
        raise _unreadable("the free space", text) from error
    if not 0 <= free_kib <= total_kib:
        raise _unreadable("the free space", text)
    return Storage(free_kib, total_kib)


def _kib(word: str, factor: float | None) -> int:
    """A figure in KiB: plain where the table has a unit, else with its own (`12.0G`)."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)([KMGT]?)", word)
    if found is None or (factor is not None and found[2]):
        raise ValueError(word)
    return int(float(found[1]) * (factor if factor is not None else _UNIT_KIB[found[2]]))


# Processors -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CpuCluster:
    """Cores of one kind that share a clock.

    Attributes:
        cpus: Logical CPUs that are online, ascending.
        max_khz: Highest clock of the hardware.
        capacity: Relative speed as the kernel sees it (the fastest core has 1024); None on old kernels.
        limit_khz: Highest clock allowed now; below `max_khz` when the phone throttles.
        current_khz: Clock when it was read.
    """

    cpus: tuple[int, ...]
    max_khz: int
    capacity: int | None = None
    limit_khz: int | None = field(default=None, compare=False)
    current_khz: int | None = field(default=None, compare=False)


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """CPUs of the kernel's list form, `0-3,7` or `0 1 2 3`.

    Raises:
        StateUnreadable: Another form, no CPU, or one beyond 1023.
    """
    cpus: set[int] = set()
    for item in re.split(r"[,\s]+", text.strip()):
        found = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", item)
        if found is None or not int(found[1]) <= int(found[2] or found[1]) <= 1023:
            raise _unreadable("a list of processors", text)
        cpus.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    return tuple(sorted(cpus))


def parse_allowed_cpus(text: str) -> tuple[int, ...]:
    """The CPUs a process may run on, from its `/proc/PID/status`.

    Raises:
        StateUnreadable: No such line.
    """
    found = re.search(r"^Cpus_allowed_list:[ \t]*(\S+)\s*$", text, re.MULTILINE)
    if found is None:
        raise _unreadable("Cpus_allowed_list", text)
    return parse_cpu_list(found[1])


def parse_clusters(text: str) -> tuple[CpuCluster, ...]:
    """Clusters in the output of `CLUSTERS_COMMAND`, ordered by their first CPU.

    Raises:
        StateUnreadable: No cluster with its CPUs and its highest clock.
    """
    files = dict(re.findall(r"^(/sys/[^:\n]+):(.*?)\s*$", text, re.MULTILINE))
    online_list = files.get(f"{_CPU}/online")
    online = None if online_list is None else set(parse_cpu_list(online_list))
    clusters: dict[tuple[int, ...], CpuCluster] = {}
    for path, content in files.items():
        folder, name = posixpath.split(path)
        max_khz = _khz(files, folder, "cpuinfo_max_freq")
        if name != "related_cpus" or max_khz is None:
            continue
        cpus = tuple(cpu for cpu in parse_cpu_list(content) if online is None or cpu in online)
        if not cpus:  # the whole cluster is offline
            continue
        capacity = files.get(f"{_CPU}/cpu{cpus[0]}/cpu_capacity", "")
        clusters[cpus] = CpuCluster(
            cpus=cpus,
            max_khz=max_khz,
            capacity=int(capacity) if re.fullmatch(r"[0-9]{1,6}", capacity) else None,
            limit_khz=_khz(files, folder, "scaling_max_freq"),
            current_khz=_khz(files, folder, "scaling_cur_freq"),
        )
    if not clusters:
        raise _unreadable("the processors", text)
    return tuple(clusters[cpus] for cpus in sorted(clusters))


def _khz(files: Mapping[str, str], folder: str, name: str) -> int | None:
    """A clock; None where it is not readable (some phones keep the current one from the shell)."""
    content = files.get(f"{folder}/{name}", "")
    return int(content) if re.fullmatch(r"[1-9][0-9]{3,8}", content) else None


def _number(text: str) -> float:
    """A float as Java prints it; NaN for anything else."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _plausible(temp_c: float) -> bool:
    return _PLAUSIBLE_C[0] < temp_c < _PLAUSIBLE_C[1]
