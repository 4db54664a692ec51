"""Latency as a sum of non-negative prices, fitted robustly from a handful of measurements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import nnls  # type: ignore[import-untyped]
from torch import Tensor

from orchestrator.space.base import BoolArray, FloatArray

_RIDGE = 0.02  # shares a price among amounts that always occur together, and keeps that of rare ones near zero
_CAUCHY = 2.385  # spreads at which a measurement counts half (95 % efficiency for normal errors)
_LEAST_SPREAD = 0.03  # relative: no cost model is better than that
_PASSES = 5
_SUSPECT = 0.1  # of the median: what is faster has no say until the others explain it
_SHARES = 3.0  # by how many equal shares of the latency a price may well deviate from what work suggests


@dataclass(frozen=True)
class PricePrior:
    """What prices are thought to be before they are fitted.

    Attributes:
        mean: (`K`,) milliseconds.
        factor: (`K`, `K`) root of their covariance, `factor @ factor.T`; invertible.
    """

    mean: FloatArray
    factor: FloatArray

    @classmethod
    def of(cls, mean: FloatArray, covariance: FloatArray) -> Self:
        """With this positive definite (`K`, `K`) covariance."""
        return cls(mean, np.asarray(np.linalg.cholesky(covariance), dtype=np.float64))


def prices_of_work(amounts: FloatArray, work: FloatArray) -> FloatArray:
    """(`K`,) non-negative prices by which (`N`, `K`) amounts add up to (`N`,) work, as nearly as they can."""
    penalty = 1e-6 * np.eye(amounts.shape[1]) * np.abs(amounts).max()
    solution, _ = nnls(np.vstack([amounts, penalty]), np.concatenate([work, np.zeros(len(penalty))]))
    return np.asarray(solution, dtype=np.float64)


def work_prior(
    amounts: FloatArray, latency_ms: FloatArray, log_variances: FloatArray, nominal: FloatArray, usual: FloatArray
) -> PricePrior:
    """A constant and so many milliseconds per unit of work: two numbers that ten measurements can tell.

    Where there are more prices than measurements, most of what is known of a price comes from here.

    Args:
        amounts: (`N`, `K`) as for `fit_prices`.
        latency_ms: (`N`,) positive.
        log_variances: (`N`,) as for `fit_prices`.
        nominal: (`K`,) prices in units of work.
        usual: (`K`,) amounts that the space's architectures usually have; positive.
    """
    constant, rate = fit_prices(np.stack([np.ones(len(amounts)), amounts @ nominal], axis=1), latency_ms, log_variances)
    mean = rate * nominal
    mean[0] += constant
    return PricePrior(mean, np.diag(_SHARES * float(np.median(latency_ms)) / (usual * len(usual))))


def fit_prices(
    amounts: FloatArray, latency_ms: FloatArray, log_variances: FloatArray, prior: PricePrior | None = None
) -> FloatArray:
    """(`K`,) non-negative prices in milliseconds: `amounts @ prices` approximates `latency_ms` in relative error.

    Latency is additive in milliseconds, its errors are relative: each row counts by the inverse of its latency and by
    its variance. Cauchy weights, iterated, take the say from outliers: a network that computes a constant may run a
    thousand times faster than its operators suggest, and must not set the price of everything.

    Args:
        amounts: (`N`, `K`) non-negative, the first 1.
        latency_ms: (`N`,) positive.
        log_variances: (`N`,) variance of the log of each; 0 where unknown.
        prior: Of the prices; by default that all amounts have a similar share of the latency.
    """
    count = amounts.shape[1]
    ridge = np.full(count, np.sqrt(_RIDGE))
    ridge[0] = 0.0  # the constant costs nothing to use
    held, towards = np.diag(ridge), np.zeros(count)
    if prior is not None:
        inverse = _LEAST_SPREAD * np.linalg.inv(prior.factor)
        held, towards = inverse, inverse @ prior.mean
    certainty = 1 / np.sqrt(_LEAST_SPREAD**2 + log_variances)
    certainty /= certainty.mean()
    expected = latency_ms
    trust = (~suspects(latency_ms)).astype(np.float64)
    for _ in range(_PASSES):
        # Relative to the larger of both, no error exceeds 1.
        divisor = np.maximum(latency_ms, expected)
        weights = certainty * trust
        relative = amounts / divisor[:, None]
        size = np.maximum(relative.mean(axis=0), 1e-9)
        rows = np.vstack([relative / size * weights[:, None], held if prior is None else held / size])
        solution, _ = nnls(rows, np.concatenate([latency_ms / divisor * weights, towards]))
        prices = np.asarray(solution / size, dtype=np.float64)
        expected = amounts @ prices
        error = np.abs(expected - latency_ms) / np.maximum(latency_ms, expected)
        spread = max(1.4826 * float(np.median(error)), _LEAST_SPREAD)
        trust = 1 / np.sqrt(1 + (error / (_CAUCHY * spread)) ** 2)
    return prices


def suspects(latency_ms: FloatArray) -> BoolArray:
    """(`N`,) whether each is too fast to be explained by what the others cost."""
    return np.asarray(latency_ms < _SUSPECT * np.median(latency_ms))


def least_latency(latency_ms: FloatArray) -> float:
    """What no network is expected to undercut: half of the least measured, the suspects aside. Keeps logs finite."""
    return float(latency_ms[~suspects(latency_ms)].min()) / 2


def additive_ms(amounts: Tensor, prices: Tensor, least_ms: float) -> Tensor:
    """(`B`,) `amounts @ prices`, but at least `least_ms`, for (`B`, `K`) amounts."""
    return (amounts @ prices).clamp_min(least_ms)
