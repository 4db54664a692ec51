"""Prices of one device, from many measurements: non-negative, robust, in relative error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls  # type: ignore[import-untyped]

from orchestrator.space.base import FloatArray

_CAUCHY = 2.385  # spreads at which a measurement counts half (95 % efficiency for normal errors)
_SUSPECT = 0.1  # of the median: what is faster (networks that compute a constant) has no say until others explain it
_LEAST_SPREAD = 0.01
_PASSES = 8
_LEAST_EXPECTED = 1e-3
_RIDGE = 1e-8  # of the trace; shares a price among amounts that always occur together


@dataclass(frozen=True)
class Prices:
    """What a device charges.

    Attributes:
        values: (`K`,) in units of the device's median latency.
        spread: Relative errors' robust standard deviation.
    """

    values: FloatArray
    spread: float


def fit_prices(amounts: FloatArray, latencies: FloatArray) -> Prices:
    """Prices that explain (`N`,) latencies, in units of their median, by (`N`, `K`) amounts.

    Iterated Cauchy weights take the say from outliers. Solved on the normal equations: `N` may be large.
    """
    expected = latencies
    trust = (latencies > _SUSPECT).astype(np.float64)
    for _ in range(_PASSES):
        certainty = trust / np.maximum(expected, latencies)  # relative to the larger of both, no error exceeds 1
        rows, targets = amounts * certainty[:, None], latencies * certainty
        square = rows.T @ rows
        square[np.diag_indices_from(square)] += _RIDGE * np.trace(square)
        lower = np.linalg.cholesky(square)
        solution, _ = nnls(lower.T, np.linalg.solve(lower, rows.T @ targets))
        values = np.asarray(solution, dtype=np.float64)
        expected = np.maximum(amounts @ values, _SUSPECT)
        error = np.abs(latencies - expected) / np.maximum(latencies, expected)
        spread = max(1.4826 * float(np.median(error)), _LEAST_SPREAD)
        trust = 1 / np.sqrt(1 + (error / (_CAUCHY * spread)) ** 2)
    return Prices(values, spread)


def errors_of(prices: Prices, amounts: FloatArray, latencies: FloatArray) -> FloatArray:
    """(`N`,) relative to what the prices say of (`N`, `K`) amounts."""
    return np.asarray(latencies / np.maximum(amounts @ prices.values, _LEAST_EXPECTED) - 1)
