"""The budget utility: monotone, infeasible below feasible, gradients that lead back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.errors import ConfigError
from orchestrator.generate.budget import BudgetUtility, WeightedSum, budget_utility, spread
from orchestrator.generate.pool import score
from orchestrator.predict.block_table import BlockTable
from orchestrator.predict.ofa_accuracy import OfaAccuracy
from orchestrator.space.base import one_hot
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201

SPACE = NASBench201()
DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


class Counting:
    """How many slots hold certain choices, each with a weight."""

    differentiable = True

    def __init__(self, *weights: float) -> None:
        self.weights = torch.tensor(weights, dtype=torch.float64)

    def __call__(self, slots: torch.Tensor) -> torch.Tensor:
        return (slots * self.weights).sum(dim=(1, 2))


ACCURACY = Counting(0, 1, 2, 3, 1)
LATENCY_MS = Counting(0.1, 0.1, 1, 4, 0.5)


def utility(budget_ms: float, penalty: float = 20.0) -> BudgetUtility:
    return BudgetUtility(ACCURACY, LATENCY_MS, budget_ms, penalty)


def test_within_the_budget_it_is_the_score_and_beyond_it_never_more() -> None:
    slots = SPACE.all()[::7]
    latency, plain = score(LATENCY_MS, slots, SPACE), score(ACCURACY, slots, SPACE)
    scores = score(utility(9.0), slots, SPACE)
    assert (scores[latency <= 9.0] == plain[latency <= 9.0]).all()
    assert (scores[latency > 9.0] < plain[latency > 9.0]).all()
    assert np.allclose(scores, plain - 20 * np.maximum(latency / 9.0 - 1, 0))


def test_it_rises_with_score_and_budget_and_falls_with_the_penalty() -> None:
    slots = SPACE.all()[::7]
    tight, loose, mild = (score(u, slots, SPACE) for u in (utility(6.0), utility(9.0), utility(6.0, penalty=5)))
    assert (loose >= tight).all()
    assert (loose > tight).any()
    assert (mild >= tight).all()
    assert (mild > tight).any()


def test_the_gradient_is_the_scores_within_and_leads_back_beyond() -> None:
    slots = torch.from_numpy(one_hot(np.array([[1] * 6, [3] * 6]), 5)).requires_grad_()
    (gradient,) = torch.autograd.grad(utility(9.0)(slots).sum(), slots)
    assert torch.equal(gradient[0], ACCURACY.weights.expand(6, 5))
    assert torch.allclose(gradient[1], (ACCURACY.weights - 20 / 9.0 * LATENCY_MS.weights).expand(6, 5))
    assert (gradient[1].argmax(dim=1) == 1).all()  # a skip: cheap, and still worth something


def test_the_gradient_is_that_of_finite_differences() -> None:
    relaxed = torch.softmax(torch.randn(6, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64), 2)
    assert torch.autograd.gradcheck(utility(5.0), relaxed.requires_grad_())


def test_the_penalty_fits_the_scores_unit() -> None:
    fraction = WeightedSum([(ACCURACY, 100.0)])
    percent, shares = (budget_utility(SPACE, each, LATENCY_MS, 9.0) for each in (ACCURACY, fraction))
    assert percent.penalty == pytest.approx(100 * shares.penalty)
    assert spread(SPACE, ACCURACY) == pytest.approx(
        score(ACCURACY, SPACE.all(), SPACE).std(), rel=0.1
    )  # of 1,000 draws
    assert spread(SPACE, WeightedSum(())) == 1.0


def test_a_sum_weighs_its_parts_by_their_scales() -> None:
    slots = torch.from_numpy(one_hot(SPACE.all()[:20], 5))
    total = WeightedSum([(ACCURACY, 2.0), (LATENCY_MS, 0.5)])
    assert torch.allclose(total(slots), ACCURACY(slots) / 2 + LATENCY_MS(slots) * 2)
    assert total.differentiable


@pytest.mark.parametrize("budget_ms", [0.0, -1.0, math.inf, math.nan])
def test_a_budget_is_above_zero(budget_ms: float) -> None:
    with pytest.raises(ConfigError, match="latency budget"):
        budget_utility(SPACE, ACCURACY, LATENCY_MS, budget_ms)


@pytest.mark.skipif(not DATA.is_dir(), reason="the OFA predictor and the Note10 table (shared/data) are not here")
@pytest.mark.parametrize("budget_ms", [25.0, 35.0, 50.0])
def test_on_mobilenetv3_infeasible_neighbours_are_worse(budget_ms: float) -> None:
    space = MobileNetV3()
    accuracy = OfaAccuracy(DATA / "ofa_acc_predictor_weights.npz", space)
    latency_ms = BlockTable.read(DATA / "ofa_note10_latency_lut.csv.gz", space, width=1.2)
    bounded = budget_utility(space, accuracy, latency_ms, budget_ms)
    rng = np.random.default_rng(0)
    drawn = space.sample(20_000, rng)
    feasible = drawn[latency_ms.of(drawn) <= budget_ms][:8]
    worse, slower = 0, 0
    for row in feasible:
        near = space.neighbours(space.architecture(row))
        beyond = near[latency_ms.of(near) > 1.01 * budget_ms]
        slower += len(beyond)
        worse += int((score(bounded, beyond, space) < score(bounded, row[None], space)[0]).sum())
    assert slower
    assert worse == slower
