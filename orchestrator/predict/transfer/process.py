"""A Gaussian process over data sets and architectures at once.

    cov(skill(t, a), skill(t', a')) = k(a, a') (s_0 + s_1 q(t, t') + s_4 [t = t']) + s_2 q(t, t') + s_3 [t = t']

k compares architectures, q compares the descriptors of data sets. What multiplies k is what holds everywhere, what
holds on data sets alike, and what is a data set's own; the rest is how hard a data set is. One process therefore
answers with no evaluation on a new data set (from tasks that resemble it), and with a few (by conditioning, exactly):
nothing is trained again. What descriptors do not explain of a task is the task's own, so that they need not.

q has heavy tails (a rational quadratic kernel: data sets far apart still say a little of one another) and a linear
part, by which what a descriptor says is carried beyond the data sets seen.

Skill is accuracy between chance (0) and perfect (1), so that tasks of different numbers of classes compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.space.base import FloatArray

_JITTER = 1e-5
_LEAST_SPREAD = 1e-3
_EXACT = "donot_use_mm_for_euclid_dist"  # to the last digit where rows are the same, and of no slope there
_AMPLITUDES = (0.08, 0.02, 0.03, 0.02, 0.01)  # variances of skill to begin with: what holds everywhere explains most
_NOISE = 0.01


def to_skill(accuracy: Tensor, classes: int | Tensor) -> Tensor:
    """Accuracy in percent -> 0 at chance, 1 at 100 %, of so many classes, or each of its own number."""
    chance = 100 / classes
    return (accuracy - chance) / (100 - chance)


def to_accuracy(skill: Tensor, classes: int) -> Tensor:
    """The inverse of `to_skill`."""
    chance = 100 / classes
    return chance + skill * (100 - chance)


class TaskKernel(nn.Module):
    """The covariance above, with its hyper-parameters."""

    centre: Tensor
    spread: Tensor

    def __init__(self, features: int, descriptors: int) -> None:
        """Args:
        features: `F`, of an architecture.
        descriptors: `Z`, of a data set.
        """
        super().__init__()
        self.amplitudes = _parameter(np.log(_AMPLITUDES))
        self.lengths = _parameter(np.full(features, 0.5 * math.log(features)))
        self.linear = _parameter(math.log(0.3))  # weight of the linear beside the smooth part of k
        self.scales = _parameter(np.full(descriptors, -0.5 * math.log(descriptors)))
        self.tilt = _parameter(math.log(0.5))  # weight of the linear part of q
        self.noise = _parameter(math.log(_NOISE))
        self.mean = _parameter(0.5)
        self.register_buffer("centre", torch.zeros(descriptors, dtype=torch.float64))
        self.register_buffer("spread", torch.ones(descriptors, dtype=torch.float64))

    def standardise(self, descriptors: Tensor) -> None:
        """Take centre and spread from (tasks, `Z`) descriptors."""
        self.centre.copy_(descriptors.mean(0))
        self.spread.copy_(descriptors.std(0).clamp_min(_LEAST_SPREAD))

    def forward(self, one: Points, other: Points) -> Tensor:
        """(`N`, `M`) covariances."""
        amplitudes = self.amplitudes.exp()
        z, w = self._scaled(one), self._scaled(other)
        alike = 1 / (1 + 0.5 * torch.cdist(z, w, compute_mode=_EXACT).square()) + self.tilt.exp() * (z @ w.T)
        x, y = (points.features / self.lengths.exp() for points in (one, other))
        k = _matern(torch.cdist(x, y, compute_mode=_EXACT)) + self.linear.exp() * (x @ y.T)
        same = (one.tasks[:, None] == other.tasks[None]).to(k.dtype)
        preference = amplitudes[0] + amplitudes[1] * alike + amplitudes[4] * same
        return preference * k + amplitudes[2] * alike + amplitudes[3] * same

    def variance(self, points: Points) -> Tensor:
        """(`N`,): the diagonal of the covariance of points with themselves."""
        amplitudes = self.amplitudes.exp()
        alike = 1 + self.tilt.exp() * self._scaled(points).square().sum(-1)
        k = 1 + self.linear.exp() * (points.features / self.lengths.exp()).square().sum(-1)
        return (amplitudes[0] + amplitudes[1] * alike + amplitudes[4]) * k + amplitudes[2] * alike + amplitudes[3]

    def noise_variance(self) -> Tensor:
        """Of one evaluation's skill."""
        return self.noise.exp() + _JITTER

    def _scaled(self, points: Points) -> Tensor:
        return (points.descriptors - self.centre) / self.spread * self.scales.exp()


@dataclass(frozen=True)
class Points:
    """Architectures on data sets.

    Attributes:
        tasks: (`N`,) number of the data set; the same number, the same data set.
        descriptors: (`N`, `Z`) of the data sets.
        features: (`N`, `F`) standardised features of the architectures.
    """

    tasks: Tensor
    descriptors: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.tasks)

    def where(self, chosen: Tensor) -> Points:
        """Those of a (`N`,) mask."""
        return Points(self.tasks[chosen], self.descriptors[chosen], self.features[chosen])

    def joined(self, other: Points) -> Points:
        """Both, one after the other."""
        return Points(
            torch.cat([self.tasks, other.tasks]),
            torch.cat([self.descriptors, other.descriptors]),
            torch.cat([self.features, other.features]),
        )


def left_out_loss(kernel: TaskKernel, points: Points, skills: Tensor, groups: Tensor) -> Tensor:
    """- log p(skills of a group | all others), summed over groups, per point.

    All are had from one inverse: with P the precision of all points, what the others say of the points g has the
    precision P_gg and the mean y_g - P_gg^-1 (P (y - m))_g (Rasmussen & Williams 2006, eq. 5.12, for blocks).

    Args:
        kernel: With its present hyper-parameters.
        points: (`N`,) evaluations.
        skills: (`N`,).
        groups: (`N`,) numbers; of points that are never predicted from one another.
    """
    precision = torch.cholesky_inverse(_factor(kernel, points, torch.zeros_like(skills)))
    weights = precision @ (skills - kernel.mean)
    total = torch.zeros((), dtype=skills.dtype)
    for group in groups.unique():
        rows = torch.nonzero(groups == group).ravel()
        factor = torch.linalg.cholesky(precision[rows][:, rows])
        whitened = torch.linalg.solve_triangular(factor, weights[rows][:, None], upper=False)
        total = total + 0.5 * whitened.square().sum() - factor.diagonal().log().sum()
    return total / len(skills) + 0.5 * math.log(2 * math.pi)


class Posterior:
    """The process, conditioned on evaluations; further ones make another posterior."""

    def __init__(self, kernel: TaskKernel, points: Points, skills: Tensor, variances: Tensor) -> None:
        """Args:
        kernel: With hyper-parameters fixed.
        points: What was evaluated.
        skills: (`N`,) as evaluated.
        variances: (`N`,) of each evaluation's own error, beside the noise that the kernel knows; 0 where unknown.
        """
        self._kernel, self._points = kernel, points
        with torch.no_grad():
            self._factor = _factor(kernel, points, variances)
            residual = (skills - kernel.mean)[:, None]
            self._weights = torch.cholesky_solve(residual, self._factor)
        self._skills, self._variances = skills, variances

    def conditioned(self, points: Points, skills: Tensor, variances: Tensor) -> Self:
        """The same, knowing more."""
        return type(self)(
            self._kernel,
            self._points.joined(points),
            torch.cat([self._skills, skills]),
            torch.cat([self._variances, variances]),
        )

    def mean(self, points: Points) -> Tensor:
        """(`N`,) mean of the skill; differentiable in the features."""
        return self._mean_of(self._kernel(points, self._points))

    def __call__(self, points: Points) -> tuple[Tensor, Tensor]:
        """(`N`,) mean and variance of the skill; differentiable in the features."""
        cross = self._kernel(points, self._points)
        whitened = self._whitened(cross)
        return self._mean_of(cross), (self._kernel.variance(points) - whitened.square().sum(0)).clamp_min(_JITTER)

    def joint(self, points: Points) -> tuple[Tensor, Tensor]:
        """Mean (`N`,) and covariance (`N`, `N`) of the skill."""
        cross = self._kernel(points, self._points)
        whitened = self._whitened(cross)
        return self._mean_of(cross), self._kernel(points, points) - whitened.T @ whitened

    def _mean_of(self, cross: Tensor) -> Tensor:
        return self._kernel.mean + (cross @ self._weights).squeeze(-1)

    def _whitened(self, cross: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self._factor, cross.T, upper=False)


def _factor(kernel: TaskKernel, points: Points, variances: Tensor) -> Tensor:
    """Cholesky factor of the covariance of noisy evaluations."""
    noise = kernel.noise_variance() + variances
    factor: Tensor = torch.linalg.cholesky(kernel(points, points) + torch.diag(noise.expand(len(points))))
    return factor


def _matern(distance: Tensor) -> Tensor:
    """Matern-5/2."""
    scaled = math.sqrt(5) * distance
    return (1 + scaled + scaled.square() / 3) * torch.exp(-scaled)


def _parameter(value: float | FloatArray) -> nn.Parameter:
    return nn.Parameter(torch.as_tensor(value, dtype=torch.float64))
