"""Mixture: the distribution of many values, each a mixture of normal distributions with common weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

_POINTS = 97
_REACH = 6.0  # sds from the median to the last point
_SHIFTS = 25  # places tried for the centre of the likeliest band


@dataclass(frozen=True)
class Mixture:
    """`B` mixtures of `J` normal distributions. Quantiles are read off a table of the distribution function.

    Attributes:
        weights: (`J`,) sum to 1.
        means, sds: (`B`, `J`).
    """

    weights: Tensor
    means: Tensor
    sds: Tensor

    def cdf(self, at: Tensor) -> Tensor:
        """(`B`, `P`) probabilities of less than (`B`, `P`)."""
        total = torch.zeros_like(at)
        for weight, mean, sd in zip(self.weights, self.means.T, self.sds.T, strict=True):
            total += weight * torch.special.ndtr((at - mean.unsqueeze(-1)) / sd.unsqueeze(-1))
        return total

    def log_density(self, at: Tensor) -> Tensor:
        """(`B`,) log density at (`B`,)."""
        normal = torch.distributions.Normal(self.means, self.sds)
        return (normal.log_prob(at.unsqueeze(-1)) + self.weights.log()).logsumexp(-1)

    def quantile(self, probability: float) -> Tensor:
        """(`B`,) the value that this share lies below."""
        points, shares = self._table
        return _interpolated(torch.full_like(points[:, :1], probability), shares, points)[:, 0]

    def likeliest_band(self, below: float, above: float) -> Tensor:
        """(`B`,) the centre that most probability lies around, from `centre - below` to `centre + above`.

        One narrow peak has its middle there. The median is not left for little: a half of a tenth of the probability
        is what it takes to go as far as the band is wide.
        """
        points, shares = self._table
        width = below + above
        shifts = torch.linspace(-0.6 * width, 0.6 * width, _SHIFTS, dtype=points.dtype)
        centres = self.quantile(0.5).unsqueeze(-1) + shifts
        held = _interpolated(centres + above, points, shares) - _interpolated(centres - below, points, shares)
        best = (held - 0.05 * shifts.abs() / width).argmax(-1, keepdim=True)
        return centres.gather(-1, best)[:, 0]

    @cached_property
    def _table(self) -> tuple[Tensor, Tensor]:
        """(`B`, `P`) rising points, dense in the middle, and the distribution function there."""
        mean = self.means @ self.weights
        centre = (self.means - mean.unsqueeze(-1)).abs() @ self.weights
        scale = 1 / ((1 / self.sds) @ self.weights) + centre  # of the narrow peaks, which the points must resolve
        steps = torch.linspace(-1, 1, _POINTS, dtype=self.means.dtype)
        widest = (self.sds.amax(-1) * _REACH / scale).clamp_min(_REACH)
        # Nearly even steps in the middle, ever larger ones outside.
        stretched = torch.sinh(steps * torch.asinh(widest).unsqueeze(-1))
        points = mean.unsqueeze(-1) + scale.unsqueeze(-1) * stretched
        return points, self.cdf(points)


def _interpolated(at: Tensor, known: Tensor, values: Tensor) -> Tensor:
    """(`B`, `Q`) values at (`B`, `Q`), linear between the (`B`, `P`) known ones, which rise; constant beyond."""
    right = torch.searchsorted(known.contiguous(), at.contiguous()).clamp(1, known.shape[-1] - 1)
    left = right - 1
    x0, x1, y0, y1 = (t.gather(-1, i) for t in (known, values) for i in (left, right))
    share = ((at - x0) / (x1 - x0).clamp_min(1e-12)).clamp(0, 1)
    return y0 + share * (y1 - y0)
