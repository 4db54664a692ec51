"""Log expected hypervolume improvement against its definition, another implementation, and differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
from botorch.utils.multi_objective.box_decompositions.non_dominated import NondominatedPartitioning
from botorch.utils.testing import MockModel, MockPosterior

from orchestrator.optimize.acquisition import log_acquisition, log_expected_improvement, undominated
from orchestrator.optimize.goal import Constraint, Goal
from orchestrator.optimize.pareto import hypervolume

FRONT = torch.tensor([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [0.5, 0.5]], dtype=torch.float64)
REFERENCE = torch.zeros(2, dtype=torch.float64)


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_improvement_against_sampling(objectives: int) -> None:
    generator = torch.Generator().manual_seed(objectives)
    front = torch.rand(5, objectives, generator=generator, dtype=torch.float64)
    reference = torch.full((objectives,), 0.1, dtype=torch.float64)
    mean = torch.full((1, objectives), 0.8, dtype=torch.float64)
    deviation = torch.full((1, objectives), 0.3, dtype=torch.float64)
    draws = mean + deviation * torch.randn(1500, objectives, generator=generator, dtype=torch.float64)
    base = hypervolume(front.numpy(), reference.numpy())
    gains = [hypervolume(torch.cat([front, draw[None]]).numpy(), reference.numpy()) - base for draw in draws]
    expected = log_expected_improvement(mean, deviation, undominated(front, reference)).exp()
    assert float(expected) == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / math.sqrt(len(gains)))


def test_improvement_against_botorch() -> None:
    generator = torch.Generator().manual_seed(0)
    means = 4 * torch.rand(20, 2, generator=generator, dtype=torch.float64)
    deviations = 0.1 + torch.rand(20, 2, generator=generator, dtype=torch.float64)
    ours = log_expected_improvement(means, deviations, undominated(FRONT, REFERENCE)).exp()
    partitioning = NondominatedPartitioning(REFERENCE, Y=FRONT)
    for row in range(len(means)):
        model = MockModel(MockPosterior(mean=means[row][None, None], variance=deviations[row][None, None] ** 2))
        theirs = ExpectedHypervolumeImprovement(model, REFERENCE.tolist(), partitioning)(means[row][None, None])
        assert float(ours[row]) == pytest.approx(float(theirs), rel=1e-9)


def test_without_a_front_everything_above_the_reference_counts() -> None:
    boxes = undominated(torch.zeros(0, 2, dtype=torch.float64), REFERENCE)
    mean = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    value = log_expected_improvement(mean, torch.full_like(mean, 1e-6), boxes)
    assert float(value.exp()) == pytest.approx(6.0)


def test_hopeless_points_still_have_a_gradient() -> None:
    mean = torch.tensor([[-40.0, 1.5], [2.0, -60.0]], dtype=torch.float64, requires_grad=True)
    value = log_expected_improvement(mean, torch.full((2, 2), 0.5, dtype=torch.float64), undominated(FRONT, REFERENCE))
    value.sum().backward()
    assert value.isfinite().all()
    assert mean.grad is not None
    assert mean.grad.isfinite().all()
    assert mean.grad[0, 0] > 0
    assert mean.grad[1, 1] > 0


def test_gradient_against_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = (3 * torch.rand(4, 2, generator=generator, dtype=torch.float64)).requires_grad_()
    deviation = (0.2 + torch.rand(4, 2, generator=generator, dtype=torch.float64)).requires_grad_()
    boxes = undominated(FRONT, REFERENCE)
    assert torch.autograd.gradcheck(lambda m, s: log_expected_improvement(m, s, boxes), (mean, deviation))


def test_bounds_multiply_by_the_probability_of_keeping_them() -> None:
    goal = Goal("accuracy", subject_to=(Constraint("latency_ms[a]", math.e),))
    one = torch.ones(2, dtype=torch.float64)
    found = {"accuracy": (50 * one, one), "latency_ms[a]": (torch.tensor([1.0, 3.0]).double(), one)}
    boxes = undominated(torch.zeros(0, 1, dtype=torch.float64), 40 * torch.ones(1, dtype=torch.float64))
    value = log_acquisition(goal, found, boxes).exp()
    assert float(value[0]) == pytest.approx(10 * 0.5, rel=1e-3)
    assert float(value[1]) == pytest.approx(10 * 0.0227501, rel=1e-3)
