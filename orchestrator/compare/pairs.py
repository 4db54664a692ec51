"""Pairs: which model, device and setting of one run is which of another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.compare.latencies import Latency
from orchestrator.errors import ConfigError, Problem
from profiling.records import DeviceInfo, Failure


@dataclass(frozen=True)
class ModelPair:
    """A model of both runs.

    Attributes:
        before, now: Its names.
        by: `sha256`: the same bytes; `name`: the same architecture or file name, compiled to other bytes, or on a
            device that runs no bytes.
        sha256_before, sha256_now: What ran.
    """

    before: str
    now: str
    by: Literal["sha256", "name"]
    sha256_before: str
    sha256_now: str

    @property
    def rebuilt(self) -> bool:
        """Whether the bytes differ."""
        return self.sha256_before != self.sha256_now


@dataclass(frozen=True)
class Place:
    """A device with a setting.

    Attributes:
        device: As of its last measurement.
        setting: How models ran.
    """

    device: DeviceInfo
    setting: str

    @property
    def phone(self) -> str:
        """Names the device; see `Latency.phone`."""
        return self.device.serial_hash or self.device.name


def pair_models(before: Iterable[Latency], now: Iterable[Latency]) -> tuple[ModelPair, ...]:
    """Models in both: first those of equal bytes, then those of equal names."""
    earlier, later = _artifacts(before), _artifacts(now)
    pairs = []
    by_bytes = {sha256: name for name, sha256 in earlier.items() if sha256}
    for name, sha256 in list(later.items()):
        # Of several names for the same bytes, the same one.
        twin = name if sha256 and earlier.get(name) == sha256 else by_bytes.get(sha256)
        if twin is not None and twin in earlier:
            pairs.append(ModelPair(twin, name, "sha256", sha256, sha256))
            del earlier[twin], later[name]
    for name in later.keys() & earlier.keys():
        pairs.append(ModelPair(name, name, "name", earlier[name], later[name]))
    return tuple(sorted(pairs, key=lambda pair: pair.now))


def pair_places(
    before: Sequence[Place], now: Sequence[Place], asked: Mapping[str, str] | None = None
) -> tuple[tuple[Place, Place], ...]:
    """Which device and setting of one run is compared with which of the other.

    The same device, or, where nothing else is asked for, the only ones that there are. Settings are paired likewise.

    Args:
        before, now: Of the two runs.
        asked: Name, model or beginning of the serial's hash of a device before -> of one now.

    Raises:
        ConfigError: A device that is asked for is not in the run.
    """
    if asked:
        devices = [(_find(a, before, "before"), _find(b, now, "now")) for a, b in asked.items()]
    else:
        both = [phone for phone in _phones(before) if phone in _phones(now)]
        devices = [(phone, phone) for phone in both]
        if not devices and len(_phones(before)) == len(_phones(now)) == 1:
            devices = [(_phones(before)[0], _phones(now)[0])]
    pairs = []
    for first, second in devices:
        here = [place for place in before if place.phone == first]
        there = [place for place in now if place.phone == second]
        same = [(a, b) for a in here for b in there if a.setting == b.setting]
        pairs += same or ([(here[0], there[0])] if len(here) == len(there) == 1 else [])
    return tuple(pairs)


def places(latencies: Iterable[Latency]) -> tuple[Place, ...]:
    """Where a run measured anything."""
    found: dict[tuple[str, str], Place] = {}
    for latency in latencies:
        if latency.setting and latency.device.kind and not _failed(latency):
            found[latency.phone, latency.setting] = Place(latency.device, latency.setting)
    return tuple(found.values())


def _failed(latency: Latency) -> bool:
    return isinstance(latency.result, Failure)


def _artifacts(latencies: Iterable[Latency]) -> dict[str, str]:
    """Name -> what ran under it last."""
    return {latency.model: latency.artifact_sha256 for latency in latencies if not _failed(latency)}


def _phones(found: Sequence[Place]) -> list[str]:
    return list(dict.fromkeys(place.phone for place in found))


def _find(text: str, found: Sequence[Place], side: str) -> str:
    for place in found:
        device = place.device
        if text in (device.name, device.model, device.serial_hash) or (text and place.phone.startswith(text)):
            return place.phone
    known = ", ".join(dict.fromkeys(place.device.name for place in found)) or "none"
    raise ConfigError("--device", [Problem("--device", text, f"a device of the run {side}: {known}")])
