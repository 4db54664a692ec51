"""LutResult: a block table, how it was measured, and how well it agrees with whole networks; its files."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.lut.calibration import Agreement, Calibration, agreement, fit
from orchestrator.lut.items import Target
from orchestrator.lut.ledger import Drift
from orchestrator.predict.block_table import OFFSET
from orchestrator.space.base import FloatArray
from profiling.plan import MeasurementPlan
from profiling.records import DeviceInfo, Measurement

SCHEMA_VERSION = 1
FEWEST_NETWORKS = 6  # to validate with: three for the line, three to test it

_SMALLEST_MS = 1e-4  # what a part takes that is no slower than an empty model


@dataclass(frozen=True)
class LutResult:
    """What a build has measured, and what follows from it.

    The latency of a network is taken to be `offset + scale x sum of (part - overhead)`. Every other network, from small
    to large, fits offset and scale; the rest tests them. Without networks the offset is the overhead and the scale 1.

    Attributes:
        target: Which networks it is for.
        device: Where it was measured.
        plan: How.
        empty: The empty model: the overhead of an invocation.
        parts: (resolution, key) -> its measurement, alone.
        networks: Architecture -> its measurement as a whole, from small to large; none, or `FEWEST_NETWORKS`.
        drift: How steady the device was.
        made_at: Date and time, ISO 8601.
    """

    target: Target
    device: DeviceInfo
    plan: MeasurementPlan
    empty: Measurement
    parts: Mapping[tuple[int, str], Measurement]
    networks: Mapping[str, Measurement]
    drift: Drift
    made_at: str

    @cached_property
    def inside_ms(self) -> dict[tuple[int, str], float]:
        """What each part takes without the overhead of an invocation."""
        overhead = self.empty.latency_ms
        return {at: max(part.latency_ms - overhead, _SMALLEST_MS) for at, part in self.parts.items()}

    @cached_property
    def calibration(self) -> Calibration:
        """From sums of parts to networks."""
        if not self.networks:
            return Calibration(self.empty.latency_ms)
        return fit(self._sums[::2], self._measured[::2])

    @cached_property
    def agreements(self) -> dict[str, Agreement]:
        """How well the networks that fitted nothing are predicted: by plain sums, less the overhead, calibrated."""
        if not self.networks:
            return {}
        plain = self._of_networks({at: part.latency_ms for at, part in self.parts.items()})
        predictions = {
            "sum_of_parts": plain,
            "less_overhead": Calibration(self.empty.latency_ms)(self._sums),
            "calibrated": self.calibration(self._sums),
        }
        return {name: agreement(values[1::2], self._measured[1::2]) for name, values in predictions.items()}

    @cached_property
    def latencies(self) -> dict[tuple[int, str], float]:
        """The table: calibrated, so that its sums are latencies of networks."""
        calibration = self.calibration
        parts = {at: calibration.scale * value for at, value in self.inside_ms.items()}
        return parts | {(size, OFFSET): calibration.offset_ms for size in self.target.resolutions}

    def write(self, path: Path) -> tuple[Path, Path]:
        """Write the table, and beside it a `.json` that says how it came about.

        Returns:
            Both files.
        """
        about = path.with_suffix(".json")
        _replace(about, json.dumps(self.to_json(), indent=2) + "\n")
        _replace(path, self._csv())
        return path, about

    def to_json(self) -> dict[str, Any]:
        """Everything but the blocks, which are in the journal."""
        overhead = self.empty.latency_ms
        return {
            "schema_version": SCHEMA_VERSION,
            "space": self.target.space.name,
            "width": self.target.width,
            "resolutions": list(self.target.resolutions),
            "classes": self.target.classes,
            "made_at": self.made_at,
            "device": self.device.to_json(),
            "plan": self.plan.to_json(),
            "drift": asdict(self.drift),
            "overhead_ms": overhead,
            "calibration": asdict(self.calibration) | {"networks": len(self._sums[::2])},
            "validation": {name: found.to_json() for name, found in self.agreements.items()},
            "networks": [
                {
                    "architecture": architecture,
                    **_shown(measured),
                    "sum_of_parts_ms": float(sum_ms),
                    "predicted_ms": float(self.calibration(sum_ms)),
                    "used_for": "test" if place % 2 else "calibration",
                }
                for place, ((architecture, measured), sum_ms) in enumerate(
                    zip(self.networks.items(), self._sums, strict=True)
                )
            ],
            "parts": [
                {"resolution": size, "key": key, **_shown(part), "below_overhead": part.latency_ms <= overhead}
                for (size, key), part in self.parts.items()
            ],
        }

    @cached_property
    def _measured(self) -> FloatArray:
        return np.array([measurement.latency_ms for measurement in self.networks.values()])

    @cached_property
    def _sums(self) -> FloatArray:
        return self._of_networks(self.inside_ms)

    def _of_networks(self, latencies: dict[tuple[int, str], float]) -> FloatArray:
        """(`N`,) sums of parts, of the networks."""
        table = self.target.table(latencies)
        return np.array([table.look_up(architecture) for architecture in self.networks])

    def _csv(self) -> str:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["resolution", "key", "count", "mean", "std"])
        for (size, key), value in self.latencies.items():
            if key == OFFSET:
                rows.writerow([size, key, len(self._sums[::2]), f"{value:.9g}", 0])
                continue
            values = [block.value_ms for block in self.parts[size, key].blocks if block.status == "ok"]
            spread = self.calibration.scale * (float(np.std(values, ddof=1)) if len(values) > 1 else 0.0)
            rows.writerow([size, key, len(values), f"{value:.9g}", f"{spread:.4g}"])
        return text.getvalue()


def _shown(measurement: Measurement) -> dict[str, Any]:
    """A measurement in short."""
    return {
        "latency_ms": measurement.latency_ms,
        "half_width": measurement.half_width if math.isfinite(measurement.half_width) else None,
        "blocks": sum(block.status == "ok" for block in measurement.blocks),
        "rejected": sum(block.status != "ok" for block in measurement.blocks),
        "grade": measurement.grade,
    }


def _replace(path: Path, text: str) -> None:
    """Write a file, all of it or nothing."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def typical_half_width(measurements: Sequence[Measurement]) -> float:
    """Median of the relative half-widths."""
    return float(np.median([measurement.half_width for measurement in measurements]))
