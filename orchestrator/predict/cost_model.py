"""Latency as a sum of non-negative prices, fitted robustly from a handful of measurements."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls  # type: ignore[import-untyped]
from torch import Tensor

from orchestrator.space.base import FloatArray

_RIDGE = 0.02  # shares a price among amounts that always occur together, and keeps that of rare ones near zero
_CAUCHY = 2.385  # spreads at which a measurement counts half (95 % efficiency for normal errors)
_LEAST_SPREAD = 0.03  # relative: no cost model is better than that
_PASSES = 5
_SUSPECT = 0.1  # of the median: what is faster has no say until the others explain it


def fit_prices(amounts: FloatArray, latency_ms: FloatArray, log_variances: FloatArray) -> FloatArray:
    """(`K`,) non-negative prices in milliseconds: `amounts @ prices` approximates `latency_ms` in relative error.

    Latency is additive in milliseconds, its errors are relative: each row counts by the inverse of its latency and by
    its variance. Cauchy weights, iterated, take the say from outliers: a network that computes a constant may run a
    thousand times faster than its operators suggest, and must not set the price of everything.

    Args:
        amounts: (`N`, `K`) non-negative, the first 1.
        latency_ms: (`N`,) positive.
        log_variances: (`N`,) variance of the log of each; 0 where unknown.
    """
    penalty = np.sqrt(_RIDGE) * np.eye(amounts.shape[1])
    penalty[0, 0] = 0.0  # the constant costs nothing to use
    certainty = 1 / np.sqrt(_LEAST_SPREAD**2 + log_variances)
    certainty /= certainty.mean()
    expected = latency_ms
    trust = (latency_ms >= _SUSPECT * np.median(latency_ms)).astype(np.float64)
    for _ in range(_PASSES):
        # Relative to the larger of both, no error exceeds 1.
        divisor = np.maximum(latency_ms, expected)
        weights = certainty * trust
        relative = amounts / divisor[:, None]
        size = np.maximum(relative.mean(axis=0), 1e-9)
        rows = np.vstack([relative / size * weights[:, None], penalty])
        solution, _ = nnls(rows, np.concatenate([latency_ms / divisor * weights, np.zeros(len(penalty))]))
        prices = np.asarray(solution / size, dtype=np.float64)
        expected = amounts @ prices
        error = np.abs(expected - latency_ms) / np.maximum(latency_ms, expected)
        spread = max(1.4826 * float(np.median(error)), _LEAST_SPREAD)
        trust = 1 / np.sqrt(1 + (error / (_CAUCHY * spread)) ** 2)
    return prices


def least_latency(latency_ms: FloatArray) -> float:
    """What no network is expected to undercut: half of the lower decile measured. Keeps the model's log finite."""
    return float(np.quantile(latency_ms, 0.1)) / 2


def log_latency(amounts: Tensor, prices: Tensor, least_ms: float) -> Tensor:
    """(`B`,) log of `amounts @ prices`, but at least of `least_ms`, for (`B`, `K`) amounts."""
    return torch.log((amounts @ prices).clamp_min(least_ms))
