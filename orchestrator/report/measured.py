"""Measured: how well devices measured, gathered result by result in a few bytes each: grades, rejects, spread."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from orchestrator.report.conditions import ConditionCollector, ConditionFigure
from orchestrator.report.observed import Observed
from profiling.dataset.quality import PhoneSpread, phone_spread
from profiling.records import DeviceInfo, Failure, Measurement
from profiling.statistics import doubt

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class LatencySpan:
    """How latencies of a device in one setting are distributed.

    Attributes:
        device, setting: Of what.
        count: Measurements.
        lowest, highest: In ms.
        quantiles_ms: At 5, 25, 50, 75 and 95 %.
    """

    device: str
    setting: str
    count: int
    lowest: float
    highest: float
    quantiles_ms: tuple[float, ...]


@dataclass(frozen=True)
class DeviceSummary:
    """How well one device, or the phones of one model, measured.

    Attributes:
        device: What the run calls it.
        measured: Results with a latency.
        failures: `code (kind)` -> results without one, the most frequent first.
        grades: Grade -> results.
        doubts: Why grades are not A -> results, the most frequent first; see `profiling.statistics.doubt`.
        half_width: Median relative half-width of the 95 % intervals; None without any.
        blocks: All that were run.
        rejected: Reason -> blocks that were not used, the most frequent first.
        suspects: Results that a drift may have touched.
        phones: Hash of a serial -> the name of the phone.
        spread: Between the phones; None where nothing was measured on two.
    """

    device: str
    measured: int
    failures: Mapping[str, int]
    grades: Mapping[str, int]
    doubts: Mapping[str, int]
    half_width: float | None
    blocks: int
    rejected: Mapping[str, int]
    suspects: int
    phones: Mapping[str, str]
    spread: PhoneSpread | None


@dataclass(frozen=True)
class PhoneRow:
    """What is known of a phone, or of another device that ran something.

    Attributes:
        device: What the run calls it, and others of its model.
        info: Who it is, by its latest measurement.
        measured: Its measurements.
        epochs: How many different systems measured under its name.
    """

    device: str
    info: DeviceInfo
    measured: int
    epochs: int


@dataclass(frozen=True)
class Measured:
    """All of it.

    Attributes:
        devices: By name.
        phones: By name.
        latencies: By device and setting.
        conditions: Of each phone.
    """

    devices: tuple[DeviceSummary, ...]
    phones: tuple[PhoneRow, ...]
    latencies: tuple[LatencySpan, ...]
    conditions: tuple[ConditionFigure, ...]


def gather(results: Iterable[Observed]) -> Measured:
    """Go through results once, in any order."""
    devices: dict[str, _Device] = {}
    phones: dict[str, _Phone] = {}
    conditions = ConditionCollector()
    for observed in results:
        devices.setdefault(observed.device, _Device()).see(observed)
        conditions.see(observed)
        if isinstance(observed.result, Measurement):
            name = observed.result.device.name
            if name not in phones:
                phones[name] = _Phone(observed.device, observed.result.device, observed.at)
            phones[name].see(observed.result.device, observed.at)
    return Measured(
        devices=tuple(found.summary(name) for name, found in sorted(devices.items())),
        phones=tuple(phone.row() for _, phone in sorted(phones.items())),
        latencies=tuple(span for name, found in sorted(devices.items()) for span in found.spans(name)),
        conditions=conditions.figures(),
    )


@dataclass
class _Phone:
    """One phone, so far."""

    device: str
    info: DeviceInfo
    at: float
    measured: int = 0
    epochs: set[str] = field(default_factory=set)

    def see(self, info: DeviceInfo, at: float) -> None:
        self.measured += 1
        self.epochs.add(info.epoch)
        if at >= self.at:
            self.info, self.at = info, at

    def row(self) -> PhoneRow:
        return PhoneRow(self.device, self.info, self.measured, len(self.epochs))


@dataclass
class _Device:
    """One device, so far."""

    blocks: int = 0
    suspects: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    grades: Counter[str] = field(default_factory=Counter)
    doubts: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    phones: dict[str, str] = field(default_factory=dict)
    settings: dict[str, array[float]] = field(default_factory=dict)
    half_widths: array[float] = field(default_factory=lambda: array("d"))
    phone: array[int] = field(default_factory=lambda: array("i"))
    subject: array[int] = field(default_factory=lambda: array("q"))
    log_latency: array[float] = field(default_factory=lambda: array("d"))
    error_log: array[float] = field(default_factory=lambda: array("d"))

    def see(self, observed: Observed) -> None:
        result = observed.result
        self.suspects += observed.suspect
        self.blocks += len(observed.blocks)
        self.rejected.update(block.reason or "no reason" for block in observed.blocks if block.status == "rejected")
        if isinstance(result, Failure):
            self.failures[f"{result.code} ({result.kind})"] += 1
            return
        self.grades[result.grade] += 1
        self.doubts.update(dict.fromkeys(map(doubt, result.reasons), 1))
        if result.grade == "F" or not (math.isfinite(result.latency_ms) and result.latency_ms > 0):
            self.failures["no_estimate (infrastructure)"] += 1
            return
        if math.isfinite(result.half_width):
            self.half_widths.append(result.half_width)
        self.settings.setdefault(observed.setting, array("d")).append(result.latency_ms)
        serial = result.device.serial_hash or result.device.name
        if serial not in self.phones:
            self.phones[serial] = result.device.name
        self.phone.append(list(self.phones).index(serial))
        self.subject.append(observed.subject)
        self.log_latency.append(math.log(result.latency_ms))
        self.error_log.append(result.standard_error_log if math.isfinite(result.standard_error_log) else 0.0)

    def summary(self, device: str) -> DeviceSummary:
        return DeviceSummary(
            device=device,
            measured=len(self.log_latency),
            failures=dict(self.failures.most_common()),
            grades=dict(sorted(self.grades.items())),
            doubts=dict(self.doubts.most_common()),
            half_width=float(np.median(self.half_widths)) if self.half_widths else None,
            blocks=self.blocks,
            rejected=dict(self.rejected.most_common()),
            suspects=self.suspects,
            phones=self.phones,
            spread=phone_spread(tuple(self.phones), self.phone, self.subject, self.log_latency, self.error_log),
        )

    def spans(self, device: str) -> Iterable[LatencySpan]:
        for setting, values in sorted(self.settings.items()):
            quantiles = np.quantile(values, QUANTILES)
            yield LatencySpan(device, setting, len(values), min(values), max(values), tuple(quantiles.tolist()))
