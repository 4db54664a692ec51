"""Conditions as data: temperatures and clocks of every phone over time, in bins that widen as time goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.report.observed import Observed
from profiling.records import DeviceInfo, Measurement

BINS = 240  # of a chart: more cannot be told apart

Quantity = Literal["temperature", "clock", "limit", "thermal status"]


@dataclass(frozen=True)
class ConditionPoint:
    """A quantity within a bin of time: mean and extremes; `at` is the bin's middle, seconds since the epoch."""

    at: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class ConditionSeries:
    """One quantity over time.

    Attributes:
        name: Of the sensor, or of the processors.
        quantity: `temperature` (°C), `clock` (GHz), the `limit` of a clock (GHz), or Android's `thermal status`.
        points: In order of time; bins without a block are left out.
    """

    name: str
    quantity: Quantity
    points: tuple[ConditionPoint, ...]


@dataclass(frozen=True)
class ConditionFigure:
    """What a phone was like around its blocks."""

    phone: str
    series: tuple[ConditionSeries, ...]

    def of(self, *quantities: Quantity) -> tuple[ConditionSeries, ...]:
        """The series of these quantities."""
        return tuple(series for series in self.series if series.quantity in quantities)


class TimeBins:
    """Values over time in a bounded number of bins; their width doubles whenever they would become too many."""

    def __init__(self, most: int = BINS) -> None:
        """Args:
        most: Bins.
        """
        self._most = most
        self._width_s = 1.0
        self._bins: dict[int, list[float]] = {}  # number -> [count, sum, low, high]
        self._first = self._last = 0

    def add(self, at: float, values: Sequence[float]) -> None:
        """Values of one moment, in any order of time; at least one."""
        number = int(at // self._width_s)
        if not self._bins:
            self._first = self._last = number
        self._first, self._last = min(self._first, number), max(self._last, number)
        while self._last - self._first >= self._most:
            self._widen()
            number //= 2
        self._merge(number, len(values), sum(values), min(values), max(values))

    def points(self) -> tuple[ConditionPoint, ...]:
        """What is in the bins, by time."""
        return tuple(
            ConditionPoint((number + 0.5) * self._width_s, total / count, low, high)
            for number, (count, total, low, high) in sorted(self._bins.items())
        )

    def _widen(self) -> None:
        self._width_s *= 2
        self._first, self._last = self._first // 2, self._last // 2
        narrow, self._bins = self._bins, {}
        for number, (count, total, low, high) in narrow.items():
            self._merge(number // 2, count, total, low, high)

    def _merge(self, number: int, count: float, total: float, low: float, high: float) -> None:
        known = self._bins.setdefault(number, [0, 0.0, low, high])
        known[0] += count
        known[1] += total
        known[2] = min(known[2], low)
        known[3] = max(known[3], high)


@dataclass
class ConditionCollector:
    """Looks at results, in any order."""

    _phones: dict[str, dict[tuple[Quantity, str], TimeBins]] = field(default_factory=dict)

    def see(self, observed: Observed) -> None:
        """Take the conditions around a measurement's blocks into account."""
        if not isinstance(observed.result, Measurement) or not observed.blocks:
            return
        info = observed.result.device
        bins = self._phones.setdefault(info.name, {})
        clusters = cluster_names(info)
        around: dict[tuple[Quantity, str], list[float]] = {}
        for block in observed.blocks:
            for reading in _readings(block.conditions):
                for key, value in _values(reading, clusters):
                    around.setdefault(key, []).append(value)
        for key, values in around.items():
            bins.setdefault(key, TimeBins()).add(observed.blocks[0].started_at or observed.at, values)

    def figures(self) -> tuple[ConditionFigure, ...]:
        """One for each phone around whose blocks anything was read."""
        return tuple(
            ConditionFigure(
                phone,
                tuple(
                    ConditionSeries(name, quantity, each.points()) for (quantity, name), each in sorted(bins.items())
                ),
            )
            for phone, bins in sorted(self._phones.items())
            if bins
        )


def cluster_names(info: DeviceInfo) -> tuple[str, ...]:
    """Processors with a clock of their own, for people; empty where they are not known."""
    clusters = info.properties.get("clusters")
    if not isinstance(clusters, Sequence) or isinstance(clusters, str):
        return ()
    return tuple(_cluster_name(cluster) for cluster in clusters)


def _cluster_name(cluster: Any) -> str:
    cpus = list(cluster.get("cpus") or ()) if isinstance(cluster, Mapping) else []
    if not cpus:
        return "CPUs"
    most = cluster.get("max_khz")
    reach = f"CPU {cpus[0]}" if len(cpus) == 1 else f"CPUs {cpus[0]}–{cpus[-1]}"
    return f"{reach}, up to {most / 1e6:.2f} GHz" if isinstance(most, int | float) and most else reach


def _readings(conditions: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Phones are read before and after a block, hosts once."""
    for reading in (conditions, conditions.get("before"), conditions.get("after")):
        if isinstance(reading, Mapping):
            yield reading


def _values(reading: Mapping[str, Any], clusters: Sequence[str]) -> Iterator[tuple[tuple[Quantity, str], float]]:
    """What of a reading is shown; phones keep back what they like, so anything may be missing."""
    for name, label in (("temp_c", "skin"), ("battery_c", "battery")):
        if (value := _number(reading.get(name))) is not None:
            yield ("temperature", label), value
    if (value := _number(reading.get("thermal_status"))) is not None:
        yield ("thermal status", "thermal status"), value
    for name, quantity in _CLOCKS:
        values = reading.get(name)
        if not isinstance(values, Sequence) or isinstance(values, str):
            continue
        known = [(index, khz / 1e6) for index, each in enumerate(values) if (khz := _number(each)) is not None]
        if len(clusters) == len(values):
            for index, ghz in known:
                yield (quantity, clusters[index]), ghz
        elif known:  # one of each CPU that was used
            yield (quantity, "CPUs in use"), sum(ghz for _, ghz in known) / len(known)


_CLOCKS: tuple[tuple[str, Quantity], ...] = (("frequency_khz", "clock"), ("limit_khz", "limit"))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
