"""The process over data sets and architectures, against the formulas written out."""

from __future__ import annotations

import pytest
import torch

from orchestrator.predict.transfer.process import (
    Points,
    Posterior,
    TaskKernel,
    negative_log_likelihood,
    to_accuracy,
    to_skill,
)


def _points(count: int, seed: int = 0) -> Points:
    generator = torch.Generator().manual_seed(seed)
    tasks = torch.randint(3, (count,), generator=generator)
    embeddings = torch.randn(3, 2, generator=generator)[tasks]
    return Points(tasks, embeddings, torch.randn(count, 4, generator=generator))


def test_skill_is_zero_at_chance_and_one_at_perfect() -> None:
    accuracies = torch.tensor([25.0, 100.0, 62.5])
    assert to_skill(accuracies, 4).tolist() == pytest.approx([0.0, 1.0, 0.5])
    assert to_accuracy(to_skill(accuracies, 4), 4).tolist() == pytest.approx(accuracies.tolist())


def test_covariances_are_symmetric_and_positive() -> None:
    kernel, points = TaskKernel(4), _points(20)
    covariance = kernel(points, points)
    assert torch.allclose(covariance, covariance.T, atol=1e-6)
    assert torch.linalg.eigvalsh(covariance.double()).min() > -1e-5
    assert torch.allclose(covariance.diagonal(), kernel.variance(points), atol=1e-5)


def test_likelihood_is_the_normal_density() -> None:
    kernel, points = TaskKernel(4), _points(6)
    skills = torch.linspace(0, 1, 6)
    covariance = kernel(points, points) + (kernel.noise.exp() + 1e-6) * torch.eye(6)
    density = torch.distributions.MultivariateNormal(kernel.mean.expand(6), covariance)
    expected = -density.log_prob(skills) / 6
    assert negative_log_likelihood(kernel, points, skills).item() == pytest.approx(expected.item(), abs=1e-4)


def test_posterior_is_the_conditional_normal() -> None:
    kernel, known, asked = TaskKernel(4), _points(8), _points(5, seed=1)
    skills = torch.linspace(0, 1, 8)
    variances = torch.full((8,), 0.003)
    mean, variance = Posterior(kernel, known, skills, variances)(asked)
    noisy = kernel(known, known) + torch.diag(kernel.noise.exp() + variances + 1e-6)
    gain = kernel(asked, known) @ torch.linalg.inv(noisy)
    assert torch.allclose(mean, kernel.mean + gain @ (skills - kernel.mean), atol=1e-3)
    covariance = kernel(asked, asked) - gain @ kernel(known, asked)
    assert torch.allclose(variance, covariance.diagonal(), atol=1e-3)


def test_conditioning_in_two_steps_is_conditioning_at_once() -> None:
    kernel, points, asked = TaskKernel(4), _points(9), _points(5, seed=1)
    skills, variances = torch.rand(9, generator=torch.Generator().manual_seed(0)), torch.zeros(9)
    parts = [Points(points.tasks[s], points.embeddings[s], points.features[s]) for s in (slice(0, 6), slice(6, 9))]
    once = Posterior(kernel, points, skills, variances)(asked)
    twice = Posterior(kernel, parts[0], skills[:6], variances[:6]).conditioned(parts[1], skills[6:], variances[6:])
    for one, other in zip(once, twice(asked), strict=True):
        assert torch.allclose(one, other, atol=1e-4)
