"""Changes: what is not as it was around two sets of measurements, beside the latencies."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.compare.latencies import Latency
from profiling.records import DeviceInfo, Measurement, Record

# What comes with every measurement, and is no property of the device.
_PASSING = ("reference", "reproducibility_sd_log")
_INCIDENTAL = ("measured_on", "waited_s", "memory_mb", "runner_sha256")  # said elsewhere, or of no device
_SYSTEM = ("device", "build", "runtime", "runtime file", "abi")
_UNNOTICED = 0.05  # relative difference of medians of conditions that is not worth a line


@dataclass(frozen=True)
class Change(Record):
    """Something that differs.

    Attributes:
        what: e.g. `build`, `runtime`, `governor`, `temperature (°C)`.
        before, now: Values, for people.
        system: Whether latencies are those of another system now: the device, its build, or the runtime.
    """

    what: str
    before: str
    now: str
    system: bool = False


def device_changes(before: DeviceInfo, now: DeviceInfo) -> tuple[Change, ...]:
    """What differs between two devices, or between a device and itself later."""
    earlier, later = _facts(before), _facts(now)
    names = dict.fromkeys([*earlier, *later])
    return tuple(
        Change(name, earlier.get(name, ""), later.get(name, ""), name in _SYSTEM)
        for name in names
        if earlier.get(name, "") != later.get(name, "")
    )


def condition_changes(before: Iterable[Latency], now: Iterable[Latency]) -> tuple[Change, ...]:
    """What differs between the conditions read back around blocks: medians of numbers, and what texts say mostly."""
    earlier, later = _conditions(before), _conditions(now)
    found = []
    for name in sorted(earlier.keys() & later.keys()):
        first, second = _typical(earlier[name]), _typical(later[name])
        if isinstance(first, float) and isinstance(second, float):
            if abs(second - first) > _UNNOTICED * max(abs(first), abs(second)):
                found.append(Change(name, f"{first:.4g}", f"{second:.4g}"))
        elif first != second:
            found.append(Change(name, str(first), str(second)))
    return tuple(found)


def environment_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Change, ...]:
    """What differs between the programs that measured."""
    earlier, later = dict(_flat(before)), dict(_flat(now))
    return tuple(
        Change(name, earlier.get(name, ""), later.get(name, ""))
        for name in dict.fromkeys([*earlier, *later])
        if earlier.get(name, "") != later.get(name, "")
    )


def _facts(info: DeviceInfo) -> dict[str, str]:
    """What a device says of itself, by names for people."""
    properties = {key: value for key, value in info.properties.items() if key not in _PASSING}
    runner = properties.pop("runner", None) or {}
    facts = {
        "device": info.serial_hash or info.name,
        "model": info.model,
        "build": info.epoch,
        "runtime": info.runtime,
        "runtime file": str(runner.get("sha256", "")) if isinstance(runner, Mapping) else "",
        "runtime version": str(runner.get("version", "")) if isinstance(runner, Mapping) else "",
        "abi": info.abi,
    }
    return facts | dict(_flat({key: value for key, value in properties.items() if key != "fingerprint"}))


def _conditions(latencies: Iterable[Latency]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for latency in latencies:
        if isinstance(latency.result, Measurement):
            for block in latency.result.blocks:
                kept = {key: value for key, value in block.conditions.items() if key not in _INCIDENTAL}
                for name, value in _leaves(kept):
                    found.setdefault(name, []).append(value)
    return found


def _typical(values: list[Any]) -> float | str:
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if numbers and len(numbers) == len(values):
        return statistics.median(numbers)
    return Counter(map(str, values)).most_common(1)[0][0]


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in _leaves(values):
        yield name, str(value)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Everything that is no mapping, with its names joined by spaces; lists are one value."""
    for key, value in values.items():
        name = f"{prefix} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            yield from _leaves(value, name)
        elif value is not None:
            yield name, str(value) if isinstance(value, list | tuple) else value
