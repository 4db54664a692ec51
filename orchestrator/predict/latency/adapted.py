"""AdaptedLatency: the latency of any architecture on one device, with what is not known of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from orchestrator.predict.latency.inference import LEAST
from orchestrator.predict.latency.mixture import Mixture
from orchestrator.predict.latency.structures import Structures

_STRAY = 1  # the last component of any noise: values that say nothing


@dataclass(frozen=True)
class Noise:
    """`G` mixtures, as `orchestrator.predict.latency.noise.NoiseShapes`.

    Attributes:
        shares, offsets, sds: (`G`, `C`).
    """

    shares: Tensor
    offsets: Tensor
    sds: Tensor


@dataclass(frozen=True)
class Cell:
    """The hypotheses of one structure and one prior of the prices: `G` shapes of the noise.

    Attributes:
        structure: Which.
        scale_ms: Milliseconds that prices are in units of.
        mean: (`K`,) prices expected before measuring.
        covariance: (`K`, `K`) of them.
        measured: (`N`, `K`) amounts of what was measured.
        weights: (`G`,) probabilities; those of all cells sum to 1.
        expected, coefficients: (`G`, `N`), as `orchestrator.predict.latency.inference.Explanations`.
        precision: (`G`, `N`, `N`), likewise.
        stray: (`G`,) relative variance of the residual that similar architectures share.
        noise: Its `G` shapes.
        rounding: Variance in ms squared that does not grow with the latency.
    """

    structure: int
    scale_ms: float
    mean: Tensor
    covariance: Tensor
    measured: Tensor
    weights: Tensor
    expected: Tensor
    coefficients: Tensor
    precision: Tensor
    stray: Tensor
    noise: Noise
    rounding: float


class AdaptedLatency:
    """One device's latency, learned by `orchestrator.predict.latency.adapt.adapt`; of the logarithm, unless said.

    It answers as a campaign's surrogates do (`orchestrator.predict.surrogates.Surrogate`): means and variances are
    differentiable in relaxed architectures and exact at one-hot vertices.
    """

    logarithmic = True

    def __init__(self, structures: Structures, inputs: Tensor, cells: tuple[Cell, ...], log_evidence: float) -> None:
        """Args:
        structures: What is seen of an architecture.
        inputs: (`N`, ...) what was measured.
        cells: What was learned; at least one.
        log_evidence: Of the measurements' logarithms.
        """
        self.structures = structures
        self.inputs = inputs
        self.cells = cells
        self.log_evidence = log_evidence

    @property
    def measurements(self) -> int:
        """`N`."""
        return len(self.inputs)

    @cached_property
    def _regular(self) -> tuple[Tensor, Tensor]:
        """(`G`,) mean and variance of the noise without stray values, of all hypotheses."""
        means, variances = [], []
        for cell in self.cells:
            shares = cell.noise.shares[:, :-_STRAY]
            shares = shares / shares.sum(-1, keepdim=True)
            offsets, sds = cell.noise.offsets[:, :-_STRAY], cell.noise.sds[:, :-_STRAY]
            mean = (shares * offsets).sum(-1)
            means.append(mean)
            variances.append((shares * (sds**2 + (offsets - mean.unsqueeze(-1)) ** 2)).sum(-1))
        return torch.cat(means), torch.cat(variances)

    @cached_property
    def _weights(self) -> Tensor:
        """(`G`,) of all hypotheses."""
        return torch.cat([cell.weights for cell in self.cells])

    @cached_property
    def rest(self) -> float:
        """Variance that stays however much is measured: the noise's, without stray values."""
        mean, variance = self._regular
        centre = self._weights @ mean
        return float(self._weights @ (variance + (mean - centre) ** 2))

    def marginal(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance, each (`B`,), of what is to be measured at (`B`, ...), without stray values."""
        logs, variances = self._hypotheses(inputs)
        offset, noise = self._regular
        logs = logs + offset
        mean = logs @ self._weights
        return mean, (variances + noise + (logs - mean.unsqueeze(-1)) ** 2) @ self._weights

    def distribution(self, inputs: Tensor) -> Mixture:
        """Of what is to be measured at (`B`, ...), stray values and all."""
        logs, variances = self._hypotheses(inputs)
        noise = [cell.noise for cell in self.cells]
        shares = torch.cat([each.shares for each in noise]) * self._weights.unsqueeze(-1)
        used = shares > 1e-6
        groups = used.nonzero()[:, 0]
        offsets, sds = torch.cat([each.offsets for each in noise])[used], torch.cat([each.sds for each in noise])[used]
        weights = shares[used] / shares[used].sum()
        return Mixture(weights, logs[:, groups] + torch.log1p(offsets), (variances[:, groups] + sds**2).sqrt())

    def joint(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (`B`,) and covariance (`B`, `B`) of the expected latency at (`B`, ...), the noise left out."""
        logs = self._hypotheses(inputs)[0] + self._regular[0]
        mean = logs @ self._weights
        centred = logs - mean.unsqueeze(-1)
        covariance = (centred * self._weights) @ centred.T
        kinship = self.structures.kinship(inputs, inputs)
        for cell, parts in self._by_cell(inputs):
            for weight, expected, cross, stray, precision in zip(
                cell.weights, parts.expected.T, parts.cross.unbind(1), cell.stray, cell.precision, strict=True
            ):
                between = parts.amounts @ cell.covariance @ parts.amounts.T - cross @ precision @ cross.T
                covariance = covariance + weight * (between / torch.outer(expected, expected) + stray * kinship)
        return mean, covariance

    def _hypotheses(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(`B`, `G`) mean and variance of the log of the expected latency, by hypothesis."""
        logs, variances = [], []
        for cell, parts in self._by_cell(inputs):
            explained = torch.einsum("bgn,gnm,bgm->bg", parts.cross, cell.precision, parts.cross)
            relative = (parts.prior.unsqueeze(-1) - explained) / parts.expected**2 + cell.stray
            rounding = cell.rounding / (cell.scale_ms * parts.expected) ** 2
            logs.append((cell.scale_ms * parts.expected).log())
            variances.append(relative.clamp_min(0.0) + rounding)
        return torch.cat(logs, dim=-1), torch.cat(variances, dim=-1)

    def _by_cell(self, inputs: Tensor) -> Iterator[tuple[Cell, _Parts]]:
        amounts = self.structures.amounts(inputs)
        kinship = self.structures.kinship(inputs, self.inputs)
        for cell in self.cells:
            yield cell, _parts(cell, amounts[cell.structure], kinship)


@dataclass(frozen=True)
class _Parts:
    """What a cell says of `B` inputs, in units of its scale.

    Attributes:
        amounts: (`B`, `K`).
        prior: (`B`,) variance before measuring, without the residual.
        expected: (`B`, `G`) posterior mean.
        cross: (`B`, `G`, `N`) covariance with what was measured.
    """

    amounts: Tensor
    prior: Tensor
    expected: Tensor
    cross: Tensor


def _parts(cell: Cell, amounts: Tensor, kinship: Tensor) -> _Parts:
    priced = amounts @ cell.covariance
    prior = (priced * amounts).sum(-1)
    cross = priced @ cell.measured.T  # (B, N)
    sums = (amounts @ cell.mean).unsqueeze(-1) + cross @ cell.coefficients.T
    # The residual is relative to the latency itself: f = sums + f * residual.
    shared = cell.stray.unsqueeze(-1) * cell.expected  # (G, N)
    residual = kinship @ (shared * cell.coefficients).T
    expected = (sums / (1 - residual.clamp_max(0.5))).clamp_min(LEAST)
    return _Parts(
        amounts,
        prior,
        expected,
        cross.unsqueeze(1) + expected.unsqueeze(-1) * kinship.unsqueeze(1) * shared,
    )
