"""Latency as a sum of non-negative prices, fitted robustly from a handful of measurements."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls  # type: ignore[import-untyped]
from torch import Tensor

from orchestrator.space.base import FloatArray

_RIDGE = 0.02  # keeps prices of operators that are rare in the measurements near zero
_HUBER = 1.345  # standard deviations beyond which a measurement counts less (95 % efficiency on normal errors)
_LEAST_SPREAD = 0.01  # no measurement of latency is better than about 1 %


def fit_prices(costs: FloatArray, latency_ms: FloatArray, log_variance: FloatArray) -> FloatArray:
    """(`K`,) non-negative prices in milliseconds: `costs @ prices` approximates `latency_ms` in relative error.

    Latency is additive in milliseconds, its errors are relative: each row counts by its latency and, beyond that, by
    its variance; then one Huber pass lessens the weight of outliers.

    Args:
        costs: (`N`, `K`) non-negative amounts, the first of them 1.
        latency_ms: (`N`,) measured, positive.
        log_variance: (`N`,) variance of the log of each; 0 where unknown.
    """
    scale = np.maximum(costs.mean(axis=0), 1e-9)
    relative = costs / latency_ms[:, None]
    size = relative.mean(axis=0).clip(min=1e-12)
    penalty = np.diag(np.full(costs.shape[1], np.sqrt(_RIDGE))) * (scale > 1e-9)
    penalty[0, 0] = 0.0  # the constant is free

    def solve(weights: FloatArray) -> FloatArray:
        rows = np.vstack([relative / size * weights[:, None], penalty])
        solution, _ = nnls(rows, np.concatenate([weights, np.zeros(len(penalty))]))
        return np.asarray(solution / size)

    certainty = 1 / np.sqrt(_LEAST_SPREAD + log_variance)
    certainty = certainty / certainty.mean()
    error = np.abs(1 - relative @ solve(certainty))
    spread = max(1.4826 * float(np.median(error)), _LEAST_SPREAD)
    return solve(certainty * np.sqrt(np.minimum(1, _HUBER * spread / np.maximum(error, 1e-12))))


def log_latency(costs: Tensor, prices: Tensor) -> Tensor:
    """(`B`,) log of `costs @ prices` for (`B`, `K`) costs."""
    return torch.log((costs @ prices).clamp_min(1e-6))
