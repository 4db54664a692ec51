"""Quality of predictions against measurements: ranks, relative errors, and whether intervals hold what they promise."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr  # type: ignore[import-untyped]
from torch import Tensor

from orchestrator.predict.latency.adapt import adapt
from orchestrator.predict.latency.adapted import AdaptedLatency
from orchestrator.predict.latency.prior import LatencyPrior
from orchestrator.predict.latency.structures import Structures
from orchestrator.space.base import FloatArray

_PART = 2048  # inputs at a time: what is kept of each grows with the hypotheses


@dataclass(frozen=True)
class Prediction:
    """What is said of `B` latencies.

    Attributes:
        latency_ms: (`B`,) centre of the likeliest band of +-10 %.
        mean, sd: (`B`,) of the logarithm, without stray values.
        low_ms, high_ms: (`B`,) the 90 % interval.
    """

    latency_ms: FloatArray
    mean: FloatArray
    sd: FloatArray
    low_ms: FloatArray
    high_ms: FloatArray


@dataclass(frozen=True)
class Quality:
    """How good predictions are.

    Attributes:
        spearman, kendall: Rank correlations.
        within_5_percent, within_10_percent: Share of predictions so near to the measurement.
        coverage_90: Share of measurements in their 90 % interval.
    """

    spearman: float
    kendall: float
    within_5_percent: float
    within_10_percent: float
    coverage_90: float


def predict(adapted: AdaptedLatency, inputs: Tensor) -> Prediction:
    """Means, intervals and best guesses at (`B`, ...)."""
    parts = []
    with torch.no_grad():
        for some in inputs.split(_PART):
            mean, variance = adapted.marginal(some)
            spread = adapted.distribution(some)
            # A guess g is within 10 % of y where .9 y <= g <= 1.1 y.
            guess = spread.likeliest_band(below=float(np.log(1.1)), above=-float(np.log(0.9)))
            parts.append(
                torch.stack(
                    [guess.exp(), mean, variance.sqrt(), spread.quantile(0.05).exp(), spread.quantile(0.95).exp()]
                )
            )
    return Prediction(*torch.cat(parts, dim=1).numpy())


def assess(prediction: Prediction, latency_ms: FloatArray) -> Quality:
    """Compare with (`B`,) measurements."""
    error = np.abs(prediction.latency_ms / latency_ms - 1)
    held = (prediction.low_ms <= latency_ms) & (latency_ms <= prediction.high_ms)
    return Quality(
        float(spearmanr(prediction.mean, latency_ms)[0]),
        float(kendalltau(prediction.mean, latency_ms)[0]),
        float(np.mean(error <= 0.05)),
        float(np.mean(error <= 0.1)),
        float(np.mean(held)),
    )


def leave_one_out(
    prior: LatencyPrior, structures: Structures, inputs: Tensor, latency_ms: FloatArray, log_variances: FloatArray
) -> Prediction:
    """What is said of each of `N` measurements by a predictor adapted to the other ones."""
    parts = []
    for row in range(len(latency_ms)):
        others = np.arange(len(latency_ms)) != row
        adapted = adapt(prior, structures, inputs[torch.from_numpy(others)], latency_ms[others], log_variances[others])
        parts.append(predict(adapted, inputs[row : row + 1]))
    return Prediction(*(np.concatenate([getattr(each, field.name) for each in parts]) for field in fields(Prediction)))
