"""The process over data sets and architectures, against the formulas written out."""

from __future__ import annotations

import pytest
import torch

from orchestrator.predict.transfer.process import (
    Points,
    Posterior,
    TaskKernel,
    left_out_loss,
    to_accuracy,
    to_skill,
)


def _points(count: int, seed: int = 0) -> Points:
    generator = torch.Generator().manual_seed(seed)
    tasks = torch.randint(3, (count,), generator=generator)
    descriptors = torch.randn(3, 2, generator=generator).double()[tasks]
    return Points(tasks, descriptors, torch.randn(count, 4, generator=generator).double())


def test_skill_is_zero_at_chance_and_one_at_perfect() -> None:
    accuracies = torch.tensor([25.0, 100.0, 62.5])
    assert to_skill(accuracies, 4).tolist() == pytest.approx([0.0, 1.0, 0.5])
    assert to_accuracy(to_skill(accuracies, 4), 4).tolist() == pytest.approx(accuracies.tolist())


def test_covariances_are_symmetric_and_positive() -> None:
    kernel, points = TaskKernel(4, 2), _points(20)
    covariance = kernel(points, points)
    assert torch.allclose(covariance, covariance.T, atol=1e-6)
    assert torch.linalg.eigvalsh(covariance.double()).min() > -1e-5
    assert torch.allclose(covariance.diagonal(), kernel.variance(points), atol=1e-5)


def test_what_is_left_out_is_predicted_from_the_others() -> None:
    """The formula with one inverse, against conditioning on the others, group by group."""
    kernel, points = TaskKernel(4, 2), _points(12)
    skills, groups = torch.linspace(0, 1, 12).double(), torch.arange(12) % 3
    total = 0.0
    with torch.no_grad():
        for group in range(3):
            left, others = groups == group, groups != group
            known = Posterior(kernel, points.where(others), skills[others], torch.zeros(8).double())
            mean, covariance = known.joint(points.where(left))
            noisy = covariance + kernel.noise_variance() * torch.eye(4)
            total -= float(torch.distributions.MultivariateNormal(mean, noisy).log_prob(skills[left]))
        found = left_out_loss(kernel, points, skills, groups)
    assert found.item() == pytest.approx(total / 12, abs=1e-8)


def test_likeness_of_data_sets_fades_with_heavy_tails() -> None:
    kernel = TaskKernel(4, 1)
    with torch.no_grad():
        kernel.amplitudes[[0, 2, 3, 4]] = -30.0
        kernel.tilt.fill_(-30.0)
    far = torch.tensor([[0.0], [1.0], [5.0]]).double()
    covariance = kernel(
        Points(torch.arange(3), far, torch.zeros(3, 4).double()),
        Points(torch.arange(3), far, torch.zeros(3, 4).double()),
    )
    assert covariance[0, 0] > covariance[0, 1] > covariance[0, 2] > 0.05 * covariance[0, 0]


def test_posterior_is_the_conditional_normal() -> None:
    kernel, known, asked = TaskKernel(4, 2), _points(8), _points(5, seed=1)
    skills = torch.linspace(0, 1, 8).double()
    variances = torch.full((8,), 0.003).double()
    mean, variance = Posterior(kernel, known, skills, variances)(asked)
    noisy = kernel(known, known) + torch.diag(kernel.noise_variance() + variances)
    gain = kernel(asked, known) @ torch.linalg.inv(noisy)
    assert torch.allclose(mean, kernel.mean + gain @ (skills - kernel.mean), atol=1e-8)
    covariance = kernel(asked, asked) - gain @ kernel(known, asked)
    assert torch.allclose(variance, covariance.diagonal(), atol=1e-8)


def test_conditioning_in_two_steps_is_conditioning_at_once() -> None:
    kernel, points, asked = TaskKernel(4, 2), _points(9), _points(5, seed=1)
    skills, variances = torch.rand(9, generator=torch.Generator().manual_seed(0)).double(), torch.zeros(9).double()
    parts = [Points(points.tasks[s], points.descriptors[s], points.features[s]) for s in (slice(0, 6), slice(6, 9))]
    once = Posterior(kernel, points, skills, variances)(asked)
    twice = Posterior(kernel, parts[0], skills[:6], variances[:6]).conditioned(parts[1], skills[6:], variances[6:])
    for one, other in zip(once, twice(asked), strict=True):
        assert torch.allclose(one, other, atol=1e-4)
