"""How far sums of parts are from whole networks, and what brings them nearer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from orchestrator.space.base import FloatArray


@dataclass(frozen=True)
class Calibration:
    """latency = offset + scale x sum of the parts' latencies, each less the overhead of an invocation.

    Attributes:
        offset_ms: What a network takes on top: its own invocation, at least.
        scale: What a part takes more (or less) inside a network than alone, where its data wait in the cache.
    """

    offset_ms: float
    scale: float = 1.0

    def __call__(self, sums: FloatArray) -> FloatArray:
        """Latencies of networks, of the sums of their parts."""
        return self.offset_ms + self.scale * sums


def fit(sums: FloatArray, measured: FloatArray) -> Calibration:
    """Robust straight line: slope and offset are medians, so that a third of the networks may be off at will.

    Source: Theil, "A rank-invariant method of linear and polynomial regression analysis", 1950; Sen, 1968.

    Args:
        sums: Of networks' parts, in ms; at least two are different.
        measured: Latencies of these networks in ms.
    """
    first, second = np.triu_indices(len(sums), k=1)
    apart = sums[first] != sums[second]
    first, second = first[apart], second[apart]
    scale = float(np.median((measured[second] - measured[first]) / (sums[second] - sums[first])))
    return Calibration(float(np.median(measured - scale * sums)), scale)


@dataclass(frozen=True)
class Agreement:
    """How well predicted latencies agree with measured ones.

    Attributes:
        networks: How many.
        spearman: Rank correlation.
        within_5_percent, within_10_percent: Share of networks predicted that well, in percent.
        bias_percent: Median of predicted over measured, less one.
    """

    networks: int
    spearman: float
    within_5_percent: float
    within_10_percent: float
    bias_percent: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def agreement(predicted: FloatArray, measured: FloatArray) -> Agreement:
    """Compare two arrays (`N`,) of milliseconds, `N` at least 2."""
    from scipy.stats import spearmanr  # type: ignore[import-untyped]

    errors = predicted / measured - 1
    return Agreement(
        len(measured),
        float(spearmanr(predicted, measured).statistic),
        float(100 * (np.abs(errors) <= 0.05).mean()),
        float(100 * (np.abs(errors) <= 0.10).mean()),
        float(100 * np.median(errors)),
    )
