"""A Gaussian process over data sets and architectures at once.

    cov(skill(t, a), skill(t', a')) = k(a, a') (s_0 + s_1 q(t, t') + s_4 [t = t']) + s_2 q(t, t') + s_3 [t = t']

k compares architectures, q compares the embeddings of data sets. What multiplies k is what holds everywhere, what
holds on data sets alike, and what is a data set's own; the rest is how hard a data set is. One process therefore
answers with no evaluation on a new data set (from tasks that resemble it), and with a few (by conditioning, exactly):
nothing is trained again. What embeddings do not explain of a task is the task's own, so that they need not.

Skill is accuracy between chance (0) and perfect (1), so that tasks of different numbers of classes compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

_JITTER = 1e-6
_AMPLITUDES = (0.08, 0.01, 0.05, 0.02, 0.01)  # variances of skill to begin with: what holds everywhere explains most
_NOISE = 0.01


def to_skill(accuracy: Tensor, classes: int) -> Tensor:
    """Accuracy in percent -> 0 at chance, 1 at 100 %."""
    chance = 100 / classes
    return (accuracy - chance) / (100 - chance)


def to_accuracy(skill: Tensor, classes: int) -> Tensor:
    """The inverse of `to_skill`."""
    chance = 100 / classes
    return chance + skill * (100 - chance)


class TaskKernel(nn.Module):
    """The covariance above, with its hyper-parameters.

    Args:
        features: `F`, of an architecture.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.amplitudes = nn.Parameter(torch.tensor(_AMPLITUDES).log())
        self.lengths = nn.Parameter(torch.full((features,), 0.5 * math.log(features)))
        self.linear = nn.Parameter(torch.tensor(0.3).log())  # weight of the linear beside the smooth part of k
        self.noise = nn.Parameter(torch.tensor(_NOISE).log())
        self.mean = nn.Parameter(torch.tensor(0.5))

    def forward(self, one: Points, other: Points) -> Tensor:
        """(`N`, `M`) covariances."""
        amplitudes = self.amplitudes.exp()
        alike = torch.exp(-0.5 * torch.cdist(one.embeddings, other.embeddings).square())
        x, y = (points.features / self.lengths.exp() for points in (one, other))
        smooth = _matern(_distance(x, y))
        k = smooth + self.linear.exp() * (x @ y.T)
        same = (one.tasks[:, None] == other.tasks[None]).to(k.dtype)
        preference = amplitudes[0] + amplitudes[1] * alike + amplitudes[4] * same
        return preference * k + amplitudes[2] * alike + amplitudes[3] * same

    def variance(self, points: Points) -> Tensor:
        """(`N`,): the diagonal of the covariance of points with themselves."""
        amplitudes = self.amplitudes.exp()
        x = points.features / self.lengths.exp()
        k = 1 + self.linear.exp() * x.square().sum(-1)
        return amplitudes[[0, 1, 4]].sum() * k + amplitudes[2] + amplitudes[3]


@dataclass(frozen=True)
class Points:
    """Architectures on data sets.

    Attributes:
        tasks: (`N`,) number of the data set; the same number, the same data set.
        embeddings: (`N`, `Z`).
        features: (`N`, `F`) standardised features of the architectures.
    """

    tasks: Tensor
    embeddings: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.tasks)

    def where(self, chosen: Tensor) -> Points:
        """Those of a (`N`,) mask."""
        return Points(self.tasks[chosen], self.embeddings[chosen], self.features[chosen])

    def joined(self, other: Points) -> Points:
        """Both, one after the other."""
        return Points(
            torch.cat([self.tasks, other.tasks]),
            torch.cat([self.embeddings, other.embeddings]),
            torch.cat([self.features, other.features]),
        )


def negative_log_likelihood(kernel: TaskKernel, points: Points, skills: Tensor) -> Tensor:
    """Of (`N`,) skills, per point."""
    factor = _factor(kernel, points, torch.zeros_like(skills))
    residual = (skills - kernel.mean)[:, None]
    whitened = torch.linalg.solve_triangular(factor, residual, upper=False)
    return (0.5 * whitened.square().sum() + factor.diagonal().log().sum()) / len(skills) + 0.5 * math.log(2 * math.pi)


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
    noise = kernel.noise.exp() + variances + _JITTER
    factor: Tensor = torch.linalg.cholesky(kernel(points, points) + torch.diag(noise.expand(len(points))))
    return factor


def _distance(x: Tensor, y: Tensor) -> Tensor:
    """(`N`, `M`) Euclidean, to the last digit where rows are the same (no products of sums) and of no slope there."""
    distance: Tensor = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    return distance


def _matern(distance: Tensor) -> Tensor:
    """Matern-5/2."""
    scaled = math.sqrt(5) * distance
    return (1 + scaled + scaled.square() / 3) * torch.exp(-scaled)
