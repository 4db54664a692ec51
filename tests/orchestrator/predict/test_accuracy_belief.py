"""A belief of accuracies in the surrogate: worth a lot while little is measured, and nothing once it proves wrong."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.stats import spearmanr  # type: ignore[import-untyped]
from torch import Tensor

from orchestrator.predict.accuracy_belief import AccuracyBelief
from orchestrator.predict.surrogates import Measured, Surrogate, SurrogateFitter
from orchestrator.space.nasbench201 import NASBench201

SPACE = NASBench201()
FITTER = SurrogateFitter(SPACE)
GAINS = torch.tensor([0.0, 2.0, 5.0, 9.0, -4.0], dtype=torch.float64)


def gain(slots: Tensor) -> Tensor:
    return (slots @ GAINS).sum(-1)


def accuracy_of(slots: np.ndarray) -> np.ndarray:
    return np.asarray(50 + gain(FITTER.relaxed(slots)).numpy())


RIGHT = AccuracyBelief(lambda slots: 20 + 0.5 * gain(slots), doubt=3.0, rest=1.0)  # other level, other scale
WRONG = AccuracyBelief(lambda slots: 60 - gain(slots), doubt=3.0, rest=1.0)


def sample(count: int, seed: int) -> np.ndarray:
    return np.unique(SPACE.sample(count, np.random.default_rng(seed)), axis=0)


def fitted(belief: AccuracyBelief | None, count: int, floor: float = -math.inf) -> Surrogate:
    slots = sample(count, 1)
    return FITTER.accuracy(Measured(slots, accuracy_of(slots), np.full(len(slots), 0.25)), floor=floor, believed=belief)


def quality(surrogate: Surrogate) -> float:
    slots = sample(400, 2)
    with torch.no_grad():
        mean, _ = surrogate.marginal(FITTER.relaxed(slots))
    return float(spearmanr(mean.numpy(), accuracy_of(slots)).statistic)


def test_a_right_belief_ranks_after_three_measurements() -> None:
    assert quality(fitted(RIGHT, 3)) > 0.95
    assert quality(fitted(RIGHT, 3)) > quality(fitted(None, 3)) + 0.1


def test_a_wrong_belief_is_given_up() -> None:
    assert quality(fitted(WRONG, 15)) > quality(fitted(None, 15)) - 0.1
    assert quality(fitted(WRONG, 40)) > quality(fitted(None, 40)) - 0.02


def test_what_lies_below_the_floor_is_all_the_same() -> None:
    slots = sample(400, 3)
    floor = float(np.quantile(accuracy_of(slots), 0.5))
    surrogate = fitted(RIGHT, 12, floor)
    with torch.no_grad():
        mean, _ = surrogate.marginal(FITTER.relaxed(slots))
    bad, good = accuracy_of(slots) < floor - 5, accuracy_of(slots) > floor + 5
    assert mean.numpy()[bad].std() < 0.5 * mean.numpy()[good].std()
    assert mean.numpy()[bad].mean() < mean.numpy()[good].mean()


def test_it_is_differentiable_in_the_architecture() -> None:
    surrogate = fitted(RIGHT, 6)
    relaxed = FITTER.relaxed(sample(4, 5)).requires_grad_()
    surrogate.marginal(relaxed)[0].sum().backward()
    assert relaxed.grad is not None
    step = 1e-4 * torch.randn(relaxed.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        change = surrogate.marginal(relaxed + step)[0].sum() - surrogate.marginal(relaxed - step)[0].sum()
    assert torch.isclose(change, 2 * (relaxed.grad * step).sum(), rtol=1e-2)


def test_three_equal_accuracies_are_no_trouble() -> None:
    slots = sample(3, 7)
    surrogate = FITTER.accuracy(Measured(slots, np.full(len(slots), 70.0), np.full(len(slots), np.nan)), floor=65.0,
                                believed=RIGHT)  # fmt: skip
    with torch.no_grad():
        mean, variance = surrogate.marginal(FITTER.relaxed(sample(50, 8)))
    assert mean.isfinite().all()
    assert (variance > 0).all()
