"""Conditions on a phone: read between blocks, waited for before one, and compared afterwards.

Nothing here runs while a block does: reading wakes the phone's services up and would disturb it.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from device_agent.adb_phone import AdbPhone
from device_agent.errors import InfrastructureError
from device_agent.phone_script import Answer, run_all
from device_agent.phone_state import (
    CLUSTERS_COMMAND,
    BatteryState,
    CpuCluster,
    StateUnreadable,
    ThermalState,
    parse_battery,
    parse_clusters,
    parse_power,
    parse_setting,
    parse_thermal,
)

READ_TIMEOUT_S = 20.0  # of all readings together; a busy phone takes a second
_LOW_STORAGE_BYTES = 1 << 30
_COMMANDS: tuple[tuple[str, ...], ...] = (
    ("dumpsys", "battery"),
    ("dumpsys", "thermalservice"),
    ("sh", "-c", "dumpsys power | grep mWakefulness="),
    ("settings", "get", "global", "low_power"),
    CLUSTERS_COMMAND,
    ("cat", "/proc/uptime"),
    ("getprop", "sys.boot_completed"),
)


class PhoneNotReady(InfrastructureError):
    """The phone did not come into a state to be measured in within the time; `reason` says what was in the way."""

    code = "phone_not_ready"

    def __init__(self, message: str, *, reason: str, device: str = "", hint: str = "") -> None:
        super().__init__(message, device=device, command="wait until it can be measured", hint=hint)
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """What a phone has to be like before a block may start.

    The defaults are starting points; charging phones differ in what they can reach.

    Attributes:
        max_thermal_status: 0 (none) to 6.
        max_skin_c: Temperature of the warmest skin sensor, where there is one.
        max_battery_c: Of the battery.
        min_battery_percent: Below, systems save power, and the phone may be gone before the night is over.
        min_uptime_s: After a boot, phones compile and index for minutes.
        max_wait_s: Longest time to wait for all of this.
        poll_s: How often to look meanwhile.
    """

    max_thermal_status: int = 0
    max_skin_c: float = 38.0
    max_battery_c: float = 40.0
    min_battery_percent: float = 30.0
    min_uptime_s: float = 180.0
    max_wait_s: float = 600.0
    poll_s: float = 1.0


@dataclass(frozen=True)
class Conditions:
    """One reading.

    Attributes:
        battery: Level, temperature, charging.
        thermal: Status and temperatures.
        awake: The screen is on; without it clocks are clamped.
        power_saver: Android's battery saver is on.
        clusters: Online processors with their clocks; empty where they cannot be read.
        uptime_s: Since the boot.
        booted: The boot has come to its end.
    """

    battery: BatteryState
    thermal: ThermalState
    awake: bool
    power_saver: bool
    clusters: tuple[CpuCluster, ...]
    uptime_s: float
    booted: bool

    def to_json(self) -> dict[str, Any]:
        """What is recorded around every block."""
        return {
            "thermal_status": self.thermal.status,
            "temp_c": self.thermal.skin_c,
            "sensors_c": dict(self.thermal.sensors_c),
            "battery_c": self.battery.temp_c,
            "battery_percent": self.battery.level_percent,
            "charging": self.battery.charging,
            "awake": self.awake,
            "frequency_khz": [cluster.current_khz for cluster in self.clusters],
            "limit_khz": [cluster.limit_khz for cluster in self.clusters],
        }


def read(phone: AdbPhone) -> Conditions:
    """Read everything, in one trip.

    Raises:
        StateUnreadable: An answer cannot be what was asked for.
        DeviceError: The link failed; see `AdbPhone.run`.
    """
    battery, thermal, power, low_power, clusters, uptime, booted = run_all(phone, _COMMANDS, READ_TIMEOUT_S)
    try:
        return Conditions(
            battery=parse_battery(battery.text),
            thermal=parse_thermal(thermal.text),
            awake=parse_power(power.text).awake,
            power_saver=parse_setting(low_power.text) == "1",
            clusters=_clusters(clusters),
            uptime_s=_uptime_s(uptime),
            booted=booted.text.strip() != "0",  # phones that lack the property have long booted
        )
    except StateUnreadable as error:
        error.device = phone.serial
        raise


def _clusters(answer: Answer) -> tuple[CpuCluster, ...]:
    try:
        return parse_clusters(answer.text)
    except StateUnreadable:  # kept from the shell user: measuring goes on, unpinned, and `limitations` says so
        return ()


def _uptime_s(answer: Answer) -> float:
    found = re.match(r"([0-9]+(?:\.[0-9]+)?)\s", answer.text)
    return float(found[1]) if found else math.inf  # not readable on some phones: then it is not waited for


def obstacles(conditions: Conditions, limits: Limits) -> dict[str, str]:
    """What keeps a block from starting: short stable reason to a sentence; empty when nothing does."""
    battery, thermal = conditions.battery, conditions.thermal
    skin_c = -math.inf if thermal.skin_c is None else thermal.skin_c
    found = {
        "booting": (
            not conditions.booted or conditions.uptime_s < limits.min_uptime_s,
            f"it booted {conditions.uptime_s:.0f} s ago (settled after {limits.min_uptime_s:.0f} s)",
        ),
        "thermal_status": (
            thermal.status > limits.max_thermal_status,
            f"its thermal status is {thermal.status} (at most {limits.max_thermal_status})",
        ),
        "skin_temperature": (
            skin_c > limits.max_skin_c,
            f"its skin has {skin_c:.1f} °C (at most {limits.max_skin_c:g})",
        ),
        "battery_temperature": (
            battery.temp_c > limits.max_battery_c,
            f"its battery has {battery.temp_c:.1f} °C (at most {limits.max_battery_c:g})",
        ),
        "battery_level": (
            battery.level_percent < limits.min_battery_percent,
            f"its battery is at {battery.level_percent:.0f} % (at least {limits.min_battery_percent:g} %)",
        ),
        "power_saver": (conditions.power_saver, "its battery saver is on"),
        "screen_off": (not conditions.awake, "its screen is off"),
    }
    return {reason: sentence for reason, (there, sentence) in found.items() if there}


_COOL = "let it cool: better ventilation, out of its case, a slower charger"
_HINTS = {
    "booting": "wait",
    "thermal_status": _COOL,
    "skin_temperature": _COOL,
    "battery_temperature": _COOL,
    "clock_limit": _COOL,
    "battery_level": "charge it; a hub may give too little power",
    "power_saver": "turn the battery saver off",
    "screen_off": "wake it up, and turn off what locks it",
}


class ClockLimits:
    """The highest clock that each cluster was allowed so far: below it, the phone throttles.

    The hardware's highest clock does not do: vendors, and the fixed-performance mode, keep some phones below it for
    ever. It is also what is left to go by on phones that report no heat.
    """

    def __init__(self) -> None:
        self._best_khz: dict[int, int] = {}  # first CPU of a cluster -> clock

    def see(self, conditions: Conditions) -> None:
        """Take a reading into account."""
        for cluster in conditions.clusters:
            if cluster.limit_khz is not None:
                best = self._best_khz.get(cluster.cpus[0], 0)
                self._best_khz[cluster.cpus[0]] = max(best, cluster.limit_khz)

    def lowered(self, conditions: Conditions, cpus: Sequence[int]) -> bool:
        """Whether one of these CPUs (empty: of all) is allowed less than it was at its best."""
        return any(
            cluster.limit_khz is not None and cluster.limit_khz < self._best_khz.get(cluster.cpus[0], 0)
            for cluster in conditions.clusters
            if not cpus or set(cpus) & set(cluster.cpus)
        )


def wait_until_ready(
    phone: AdbPhone,
    limits: Limits,
    clocks: ClockLimits,
    cpus: Sequence[int],
    stop: threading.Event,
    known: Conditions | None = None,
) -> tuple[Conditions, float]:
    """Wait until nothing is in the way of a block.

    Args:
        phone: Which.
        limits: What it has to be like.
        clocks: Is shown every reading; clocks that it knows to be lowered are waited for as well.
        cpus: What the block is to run on; empty: unknown.
        stop: Set from another thread, it ends the waiting.
        known: A reading from just now, to begin with.

    Returns:
        The reading that met the limits, and the seconds that were waited.

    Raises:
        PhoneNotReady: Something still was when `limits.max_wait_s` had passed, or `stop` was set.
    """
    started = time.monotonic()
    while True:
        conditions, known = known or read(phone), None
        waited_s = time.monotonic() - started
        clocks.see(conditions)
        found = obstacles(conditions, limits)
        if clocks.lowered(conditions, cpus):
            found["clock_limit"] = "its clocks are limited to less than they were"
        if not found:
            return conditions, waited_s
        if waited_s >= limits.max_wait_s or stop.is_set():
            reason = next(iter(found))
            raise PhoneNotReady(
                f"not ready to be measured after {waited_s:.0f} s: {'; '.join(found.values())}",
                reason=reason, device=phone.serial, hint=_HINTS[reason],
            )  # fmt: skip
        stop.wait(min(limits.poll_s, max(0.0, limits.max_wait_s - waited_s)))


def rejection(before: Conditions, after: Conditions, clocks: ClockLimits, cpus: Sequence[int]) -> str:
    """Why a block between two readings must not be used; empty when it may.

    Args:
        before, after: The readings; `clocks` has seen both.
        clocks: The best clocks of this session.
        cpus: What the block ran on; empty: unknown.
    """
    if after.thermal.status > before.thermal.status:
        return "throttled"
    if clocks.lowered(before, cpus) or clocks.lowered(after, cpus):
        return "throttled"
    if not after.awake:
        return "screen_off"
    return "power_saver" if after.power_saver else ""


def limitations(conditions: Conditions, limits: Limits, *, shell_v2: bool, free_bytes: int | None) -> tuple[str, ...]:
    """What limits the accuracy or reliability of measurements on a phone in this state, one sentence each."""
    battery, thermal = conditions.battery, conditions.thermal
    in_the_way = obstacles(conditions, limits)
    if "screen_off" in in_the_way:
        in_the_way["screen_off"] += ", and will be woken up for measuring"
    findings = [f"not ready: {sentence}" for sentence in in_the_way.values()]
    if thermal.observability == "none":
        findings.append("it reports no heat: throttling shows only in its clocks and in reference models")
    elif thermal.observability == "status":
        findings.append("it reports a thermal status, but no temperatures")
    if thermal.overridden:
        findings.append("its thermal status is overridden; `adb shell cmd thermalservice reset` ends that")
    if battery.overridden:
        findings.append("its battery state is overridden; `adb shell dumpsys battery reset` ends that")
    if not battery.powered:
        findings.append("it runs on its battery, which will not last")
    if not conditions.clusters:
        findings.append("its processors cannot be read: blocks are not pinned, and throttling may go unseen")
    elif any(cluster.limit_khz is None for cluster in conditions.clusters):
        findings.append("its clock limits cannot be read: throttling may go unseen")
    if not shell_v2:
        findings.append("Android before 7: exit codes come from a marker in the output, not from the protocol")
    if free_bytes is not None and free_bytes < _LOW_STORAGE_BYTES:
        findings.append(f"only {free_bytes / 2**20:.0f} MiB of storage are free")
    return tuple(findings)
