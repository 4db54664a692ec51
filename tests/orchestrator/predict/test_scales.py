"""Scales of a process's parts: the mean of their posterior, as an integral over a dense grid has it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from orchestrator.predict.scales import expected_scales

PRIOR_MEAN, PRIOR_SD = torch.tensor([0.0, -2.0]).double(), torch.tensor([1.0, 1.5]).double()


def smooth_and_alone(count: int) -> Tensor:
    """(2, `N`, `N`): a smooth part and what each measurement has alone."""
    at = torch.linspace(0, 4, count, dtype=torch.float64)
    return torch.stack([torch.exp(-0.5 * (at[:, None] - at) ** 2), torch.eye(count, dtype=torch.float64)])


def drawn(parts: Tensor, noise: Tensor, scales: list[float], seed: int) -> Tensor:
    covariance = sum((s * part for s, part in zip(scales, parts, strict=True)), noise.diag())
    normal = torch.randn(len(noise), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.cholesky(covariance) @ normal


def integrated(parts: Tensor, noise: Tensor, left: Tensor) -> Tensor:
    """The same means by brute force."""
    steps = torch.linspace(-4, 4, 41, dtype=torch.float64)
    logs = torch.cartesian_prod(*(mean + sd * steps for mean, sd in zip(PRIOR_MEAN, PRIOR_SD, strict=True)))
    normal = torch.distributions.MultivariateNormal(
        torch.zeros_like(left), torch.einsum("bj,jnm->bnm", logs.exp(), parts) + noise.diag()
    )
    weights = (normal.log_prob(left) - 0.5 * ((logs - PRIOR_MEAN) / PRIOR_SD).square().sum(-1)).softmax(0)
    return weights @ logs.exp()


def test_they_are_the_means_of_their_posterior() -> None:
    for count, scales in [(4, [1.0, 0.1]), (12, [3.0, 0.01]), (12, [0.01, 1.0]), (20, [1.0, 0.3])]:
        parts, noise = smooth_and_alone(count), torch.full((count,), 1e-3, dtype=torch.float64)
        left = drawn(parts, noise, scales, seed=count)
        found = expected_scales(parts, noise, left, PRIOR_MEAN, PRIOR_SD)
        torch.testing.assert_close(found, integrated(parts, noise, left), rtol=0.15, atol=0.0)


def test_what_the_measurements_do_not_tell_has_the_prior_mean() -> None:
    parts = torch.stack([torch.zeros(6, 6, dtype=torch.float64), torch.eye(6, dtype=torch.float64)])
    left = torch.linspace(-1, 1, 6, dtype=torch.float64)
    found = expected_scales(parts, torch.full((6,), 1e-3, dtype=torch.float64), left, PRIOR_MEAN, PRIOR_SD)
    assert math.isclose(float(found[0]), math.exp(0.5), rel_tol=0.1)


def test_known_errors_are_not_taken_for_a_part() -> None:
    parts = smooth_and_alone(40)
    vague = torch.full((40,), 1.0, dtype=torch.float64)
    left = drawn(parts, vague, [0.5, 0.0], seed=0)
    _, told = expected_scales(parts, vague, left, PRIOR_MEAN, PRIOR_SD)
    _, untold = expected_scales(parts, vague / 1e3, left, PRIOR_MEAN, PRIOR_SD)
    assert told < untold / 3


def test_a_fixed_design_gives_the_same_scales() -> None:
    parts, noise = smooth_and_alone(10), torch.full((10,), 1e-3, dtype=torch.float64)
    left = drawn(parts, noise, [1.0, 0.1], seed=1)
    first = expected_scales(parts, noise, left, PRIOR_MEAN, PRIOR_SD)
    torch.manual_seed(5)
    assert torch.equal(first, expected_scales(parts, noise, left, PRIOR_MEAN, PRIOR_SD))
