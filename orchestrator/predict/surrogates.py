"""Surrogates of accuracy and of latency: Gaussian processes on a space's encoding, fitted on measurements.

A surrogate holds a BoTorch model over flattened relaxed one-hot architectures with the encoding inside, so every
BoTorch acquisition function is differentiable in the architecture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from botorch.models import SingleTaskGP
from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
from gpytorch.means import ConstantMean, Mean
from gpytorch.priors import LogNormalPrior
from torch import Tensor

from orchestrator.generate.pool import width
from orchestrator.predict.accuracy_belief import AccuracyBelief
from orchestrator.predict.cost_model import additive_ms, fit_prices, least_latency, prices_of_work, work_prior
from orchestrator.predict.gp import DotProductKernel, EncodedInput, Features, Prior, Process, SameKernel, fit_process
from orchestrator.predict.price_beliefs import PriceBelief, expected_prices
from orchestrator.space.base import FloatArray, IntArray, Space, one_hot

_NEVER = 1e-12
_PRICES = (0.0, 0.5)  # log-normal prior of how far, squared, prices deviate, in units of their own prior's deviations
# Log-normal priors of variances of log latency, rounded from what thirteen devices show.
_TRAITS = (2 * math.log(0.035), 1.0)  # of what features of accuracy explain beyond prices
_SLOTS = (2 * math.log(0.02), 1.5)  # of what similar choices have in common
_REST_OF_COST = (2 * math.log(0.04), 1.5)  # of what nothing explains: the quietest have 0.5 %, phones up to 12 %
_WEIGHT = (2 * math.log(0.5), 1.0)  # log-normal prior of how far, squared, the weight of a belief of accuracy is from 1
_LEAST_LEFT = 0.2  # share of the spread of accuracies that a belief leaves open at least
_LEAST_SPREAD = 1e-8  # as of `Standardize`
_OUTLIER = 0.7  # log residuals beyond it say nothing: networks that compute a constant run a thousand times faster


@dataclass(frozen=True)
class Measured:
    """The measurements of one metric.

    Attributes:
        slots: (`N`, `S`) architectures.
        values: (`N`,) accuracy in percent, latency in milliseconds.
        variances: (`N`,) percent squared, or variance of the log of latency; NaN where unknown.
    """

    slots: IntArray
    values: FloatArray
    variances: FloatArray


@dataclass(frozen=True)
class Surrogate:
    """A fitted model of one metric. Costs are modelled, and spoken of here, by their logarithm.

    Attributes:
        process: Of the metric, or of its logarithm.
        logarithmic: Whether the process is of the metric's logarithm.
    """

    process: Process
    logarithmic: bool

    @property
    def model(self) -> SingleTaskGP:
        """BoTorch model over (`B`, `S` * `V`) flattened relaxed architectures."""
        return self.process.model

    @property
    def rest(self) -> float:
        """Variance that neither the features nor the known measurement errors explain."""
        return self.process.rest

    def joint(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (`B`,) and covariance (`B`, `B`) of the smooth part at (`B`, `S`, `V`) relaxed architectures."""
        return self.process.joint(slots.flatten(-2))

    def marginal(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance, each (`B`,), of what is to be found at (`B`, `S`, `V`), the rest included."""
        mean, variance = self.process.marginal(slots.flatten(-2))
        return mean, variance + self.rest

    def truth(self, slots: Tensor, measured: Measured) -> Tensor:
        """(`N`,) what is believed of measured architectures (`N`, `S`, `V`) themselves.

        A measurement differs from the smooth part by a trait of that architecture and by a measurement error. Where
        the error's variance is known, the error's share of the difference is taken off; where it is not, all of it.
        """
        smooth, _ = self.marginal(slots)
        values = torch.as_tensor(measured.values)
        values = values.log() if self.logarithmic else values
        variances = torch.as_tensor(measured.variances)
        share = torch.where(variances.isnan(), 1.0, variances / (variances + self.rest))
        return values - share * (values - smooth)


class SurrogateFitter:
    """Fits surrogates for one space: knows its features and their scale over the space."""

    def __init__(self, space: Space, *, sample: int = 2000) -> None:
        """Features are standardised over a fixed sample of the space, so that their scale never depends on the data.

        Args:
            space: Where architectures come from.
            sample: How many architectures the scale is taken from.
        """
        encoding = space.encoding()
        self._choices = width(space)
        drawn = self.relaxed(space.sample(sample, np.random.default_rng(0)))
        self._amounts = encoding.costs
        # Of the space, not of what was measured: an amount that no measured network has is not therefore rare.
        amounts = encoding.costs(drawn).numpy()
        self._usual = np.maximum(amounts.mean(axis=0), 1e-9)
        self._nominal = prices_of_work(amounts, encoding.work(drawn).numpy())
        self._connected = encoding.connected
        self._accuracy = _standardised(encoding.accuracy, drawn)
        self._signature = encoding.signature
        self._one = drawn[:1]

    def relaxed(self, slots: IntArray) -> Tensor:
        """(`B`, `S`, `V`) one-hot form of (`B`, `S`) choices."""
        return torch.as_tensor(one_hot(slots, self._choices))

    def log_connected(self, slots: Tensor) -> Tensor:
        """(`B`,) log of whether the input of (`B`, `S`, `V`) reaches the output; very low where not."""
        return self._connected(slots).clamp_min(_NEVER).log()

    def accuracy(self, measured: Measured, *, floor: float, believed: AccuracyBelief | None = None) -> Surrogate:
        """Matern-5/2 plus linear on the encoding's features, and a trait of all that compute the same.

        What features do not explain of an architecture, it largely has in common with those isomorphic to it: once one
        is better than expected, the others are worth a look.

        A belief is the mean, and its weight a normal variable around 1 whose spread is fitted: measurements that
        contradict it take its weight away, and all else is as without.

        Args:
            measured: Accuracies.
            floor: Values below it count as this: how bad a bad architecture is does not matter, and would spoil the
                fit where it does.
            believed: What is expected of accuracies beforehand; None: nothing.
        """
        relaxed = self.relaxed(measured.slots)
        values = torch.as_tensor(np.maximum(measured.values, floor))
        parts: list[Features] = [self._accuracy, lambda slots: self._signature(slots.detach())]
        trait, same, belief = _ranges(*(self._of_one(part) for part in parts), 1)
        smooth = MaternKernel(2.5, active_dims=trait, lengthscale_prior=LogNormalPrior(math.sqrt(2), math.sqrt(3)))
        centre, scale = values.mean(), _spread(values)
        # In units of the spread, as targets are: a belief leaves as much to be explained as it doubts.
        left = 0.0 if believed is None else 2 * math.log(min(max(believed.doubt / float(scale), _LEAST_LEFT), 1.0))
        kernel = (
            ScaleKernel(smooth, outputscale_prior=LogNormalPrior(left, 1.0))
            + ScaleKernel(DotProductKernel(active_dims=trait), outputscale_prior=LogNormalPrior(left + 0.7, 1.5))
            + ScaleKernel(SameKernel(active_dims=same), outputscale_prior=LogNormalPrior(-4.0, 1.0))
        )
        prior = Prior(ConstantMean(), kernel, rest=LogNormalPrior(-4.0, 1.0))
        if believed is not None:
            expected = believed.levelled(relaxed, values, floor)
            parts.append(lambda slots: ((expected(slots) - centre) / scale).unsqueeze(-1))
            by_belief = ScaleKernel(DotProductKernel(active_dims=belief), outputscale_prior=LogNormalPrior(*_WEIGHT))
            prior = Prior(_BelievedMean(), kernel + by_belief, prior.rest)
        encoded = EncodedInput(lambda slots: torch.cat([part(slots) for part in parts], dim=-1), self._choices)
        variances = torch.as_tensor(measured.variances).nan_to_num(0.0)
        flat, targets = relaxed.flatten(-2), values[:, None]
        return Surrogate(fit_process(flat, targets, variances, encoded, prior, standardise=True), logarithmic=False)

    def _of_one(self, features: Features) -> int:
        """How many of these features an architecture has."""
        return features(self._one).shape[-1]

    def cost(self, measured: Measured, believed: Sequence[PriceBelief] = ()) -> Surrogate:
        """An additive cost model in milliseconds, and a process on the log of what it leaves.

        The prices' posterior is that of a linear process in them, taken in log space around the prices that fit best
        (Laplace): the process has the prices' prior, so what is not measured stays uncertain. What blocks have in
        common (kernel sizes, depths) it learns from the features of accuracy.

        Args:
            measured: Latencies.
            believed: What the device may charge, by what others do; none: by work alone.
        """
        relaxed = self.relaxed(measured.slots)
        variances = torch.as_tensor(measured.variances).nan_to_num(0.0)
        amounts = self._amounts(relaxed)
        data = amounts.numpy(), measured.values, variances.numpy()
        expected = work_prior(*data, self._nominal, self._usual)
        if believed:
            expected = expected_prices(believed, expected, *data)
        model = _CostModel(
            torch.as_tensor(fit_prices(*data, expected)), torch.as_tensor(expected.mean), least_latency(measured.values)
        )
        residual = torch.as_tensor(measured.values).log() - model.additive(amounts).log()
        cut = residual.clamp(-_OUTLIER, _OUTLIER)
        targets = (model.additive(amounts).log() + cut)[:, None]
        variances = variances + (residual - cut) ** 2
        factor = torch.as_tensor(expected.factor)
        count, traits = amounts.shape[1], self._of_one(self._accuracy)
        _, price, trait, slot = _ranges(count, count, traits, relaxed[0].numel())
        by_price, by_trait = DotProductKernel(active_dims=price), DotProductKernel(active_dims=trait)
        by_slot = RBFKernel(active_dims=slot, lengthscale_prior=LogNormalPrior(0.7, 0.5))
        prior = Prior(
            _CostMean(model),
            ScaleKernel(by_price, outputscale_prior=LogNormalPrior(*_PRICES))
            + ScaleKernel(by_trait, outputscale_prior=LogNormalPrior(*_TRAITS))
            + ScaleKernel(by_slot, outputscale_prior=LogNormalPrior(*_SLOTS)),
            rest=LogNormalPrior(*_REST_OF_COST),
        )

        def features(slots: Tensor) -> Tensor:
            amounts = self._amounts(slots)
            # The slope of log latency in each price: what the process adds to a price, it adds to all who pay it.
            slopes = amounts @ factor / model.additive(amounts).unsqueeze(-1)
            return torch.cat([amounts, slopes, self._accuracy(slots), slots.flatten(-2)], dim=-1)

        encoded = EncodedInput(features, self._choices)
        flat = relaxed.flatten(-2)
        return Surrogate(fit_process(flat, targets, variances, encoded, prior, standardise=False), logarithmic=True)


@dataclass(frozen=True)
class _CostModel:
    """Prices as fitted, and as expected beforehand, in milliseconds; and the least latency that is believed."""

    prices: Tensor
    expected: Tensor
    least_ms: float

    def additive(self, amounts: Tensor) -> Tensor:
        """(..., `B`) milliseconds, of (..., `B`, `K`) amounts."""
        return additive_ms(amounts, self.prices, self.least_ms)


class _BelievedMean(ConstantMean):
    """A constant, and what is believed, which is the last feature."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features) + features[..., -1]


class _CostMean(Mean):
    """What prices as expected beforehand cost, in log space around the fitted ones; reads the first `K` features."""

    def __init__(self, model: _CostModel) -> None:
        super().__init__()
        self._model = model

    def forward(self, features: Tensor) -> Tensor:
        amounts = features[..., : len(self._model.prices)]
        fitted = self._model.additive(amounts)
        return fitted.log() + amounts @ (self._model.expected - self._model.prices) / fitted


def _spread(values: Tensor) -> Tensor:
    """What BoTorch's `Standardize` divides by: the standard deviation, or 1 where there is none."""
    spread = values.std() if len(values) > 1 else torch.zeros(())
    return spread if spread >= _LEAST_SPREAD else torch.ones_like(spread)


def _ranges(*sizes: int) -> list[tuple[int, ...]]:
    """Consecutive columns: the first size of them, then the second, ..."""
    ends = np.cumsum(sizes)
    return [tuple(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def _standardised(features: Features, sample: Tensor) -> Features:
    """The features with zero mean and unit variance over the sample, divided by the root of their number.

    The division makes squared distances a mean over features, so that priors on length scales suit any space.
    """
    values = features(sample)
    mean, scale = values.mean(0), values.std(0)
    scale = torch.where(scale > 1e-9, scale, 1.0) * math.sqrt(values.shape[-1])
    return lambda slots: (features(slots) - mean) / scale
