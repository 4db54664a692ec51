"""Quality of a set: what each device's rows are like, gathered row by row in a few bytes each."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from profiling.dataset.row import KEY_COLUMNS, DatasetRow, digest
from profiling.records import Record

# What phones of a kind must have in common for their latencies to be compared.
_CELL_COLUMNS = tuple(
    name for name in KEY_COLUMNS if name not in ("source_id", "serial_hash", "purpose", "replicate_index")
)

# A few blocks that agree by chance claim more than any phone reproduces: no measurement weighs more than this.
_LEAST_ERROR_LOG = 0.002


@dataclass(frozen=True)
class PhoneSpread(Record):
    """How far phones of one kind are apart, from what was measured on several of them.

    Attributes:
        overlaps: Models (in one setting) that were measured on at least two phones.
        sd_log: Standard deviation of log latency between phones, that of the measurements taken out: 0.03 is 3 %.
        offsets_log: Hash of a phone's serial -> its mean log ratio to the phones' mean.
    """

    overlaps: int
    sd_log: float
    offsets_log: dict[str, float]


@dataclass(frozen=True)
class DeviceQuality(Record):
    """What the rows of one device are like.

    Attributes:
        device: Its name.
        rows, measured: All, and those with a latency.
        failures: `kind/code` -> rows.
        grades: Grade -> rows.
        median_half_width_ratio: Of the 95 % intervals; None without any.
        latency_ms: Quantiles 0, 0.5 and 1; empty without any.
        phones: How many different ones, where they are told apart.
        phone_spread: Between them; None where nothing was measured on two.
        drift_suspects: Rows around which the reference model drifted.
        blocks, rejected: All blocks; reason -> rejected ones.
    """

    device: str
    rows: int
    measured: int
    failures: dict[str, int]
    grades: dict[str, int]
    median_half_width_ratio: float | None
    latency_ms: tuple[float, ...]
    phones: int
    phone_spread: PhoneSpread | None
    drift_suspects: int
    blocks: int
    rejected: dict[str, int]


@dataclass
class _Gathered:
    """Of one device, so far."""

    rows: int = 0
    drift_suspects: int = 0
    blocks: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    grades: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    phones: dict[str, int] = field(default_factory=dict)
    log_latency: array[float] = field(default_factory=lambda: array("d"))
    cell: array[int] = field(default_factory=lambda: array("q"))
    phone: array[int] = field(default_factory=lambda: array("i"))
    error_log: array[float] = field(default_factory=lambda: array("d"))
    half_width: array[float] = field(default_factory=lambda: array("d"))


class QualityCollector:
    """Looks at rows, in any order."""

    def __init__(self) -> None:
        self._devices: dict[str, _Gathered] = {}

    def see(self, row: DatasetRow) -> None:
        """Take a row into account."""
        found = self._devices.setdefault(row.device, _Gathered())
        found.rows += 1
        found.drift_suspects += row.drift_suspect
        found.blocks += len(row.blocks)
        found.rejected.update(block.reason or "no reason" for block in row.blocks if block.status == "rejected")
        phone = found.phones.setdefault(row.serial_hash, len(found.phones))
        if row.latency_ms is None:
            found.failures[f"{row.failure_kind}/{row.failure_code}"] += 1
            return
        found.grades[row.grade] += 1
        found.log_latency.append(math.log(row.latency_ms))
        cell = digest([getattr(row, name) for name in _CELL_COLUMNS])
        found.cell.append(int.from_bytes(cell[:8], "big", signed=True))
        found.phone.append(phone)
        found.error_log.append(row.standard_error_log or 0.0)
        if row.half_width is not None:
            found.half_width.append(row.half_width)

    @property
    def devices(self) -> tuple[str, ...]:
        """Their names, sorted."""
        return tuple(sorted(self._devices))

    def latencies_ms(self, device: str) -> NDArray[np.float64]:
        """(`N`,) sorted."""
        return np.sort(np.exp(np.asarray(self._devices[device].log_latency)))

    def half_widths(self, device: str) -> NDArray[np.float64]:
        """(`N`,) relative half-widths of the intervals, sorted."""
        return np.sort(np.asarray(self._devices[device].half_width))

    def summary(self) -> tuple[DeviceQuality, ...]:
        """What is known of every device, by name."""
        return tuple(self._of(device) for device in self.devices)

    def _of(self, device: str) -> DeviceQuality:
        found, latencies, widths = self._devices[device], self.latencies_ms(device), self.half_widths(device)
        return DeviceQuality(
            device=device,
            rows=found.rows,
            measured=len(latencies),
            failures=_sorted(found.failures),
            grades=dict(sorted(found.grades.items())),
            median_half_width_ratio=float(np.median(widths)) if widths.size else None,
            latency_ms=tuple(np.quantile(latencies, (0, 0.5, 1)).tolist()) if latencies.size else (),
            phones=len(found.phones.keys() - {""}),
            phone_spread=phone_spread(tuple(found.phones), found.phone, found.cell, found.log_latency, found.error_log),
            drift_suspects=found.drift_suspects,
            blocks=found.blocks,
            rejected=_sorted(found.rejected),
        )


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    """Most frequent first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def phone_spread(
    phones: Sequence[str], phone: ArrayLike, cell: ArrayLike, log_latency: ArrayLike, error_log: ArrayLike
) -> PhoneSpread | None:
    """Variance between phones beyond that of the measurements, over all models that several phones have measured.

    The moment estimator of DerSimonian and Laird ("Meta-analysis in clinical trials", 1986), each model a study in
    which the phones are the trials: its sums over models are taken before they are divided.

    Args:
        phones: Hashes of their serials, by number.
        phone: (`N`,) which of them made each measurement.
        cell: (`N`,) numbers that are equal for the same model in the same setting.
        log_latency, error_log: (`N`,) estimates of log latency and their standard errors.

    Returns:
        None where nothing was measured on two phones.
    """
    pairs = np.stack([np.asarray(cell, dtype=np.int64), np.asarray(phone, dtype=np.int64)], axis=1)
    unique, place = np.unique(pairs, axis=0, return_inverse=True)
    place = place.ravel()
    precision = np.maximum(np.asarray(error_log), _LEAST_ERROR_LOG) ** -2.0
    weight = np.bincount(place, precision)
    mean = np.bincount(place, precision * np.asarray(log_latency)) / np.maximum(weight, 1e-300)
    _, start, counts = np.unique(unique[:, 0], return_index=True, return_counts=True)
    shared = counts > 1
    if not shared.any():
        return None
    total = np.add.reduceat(weight, start)
    centre = np.add.reduceat(weight * mean, start) / total
    deviation = mean - np.repeat(centre, counts)
    heterogeneity = np.add.reduceat(weight * deviation**2, start)
    scale = total - np.add.reduceat(weight**2, start) / total
    excess = heterogeneity[shared].sum() - (counts[shared] - 1).sum()
    kept = np.repeat(shared, counts)
    numbers = unique[:, 1]
    offsets = {
        name: float(np.average(deviation[mine], weights=weight[mine]))
        for name, index in sorted(zip(phones, range(len(phones)), strict=True))
        if (mine := kept & (numbers == index)).any()
    }
    return PhoneSpread(int(shared.sum()), float(np.sqrt(max(0.0, excess / scale[shared].sum()))), offsets)
