"""Fitting a BoTorch Gaussian process on features, with measurements of known and unknown variance."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from botorch.exceptions.warnings import OptimizationWarning
from botorch.models import SingleTaskGP
from botorch.models.transforms.input import InputTransform
from botorch.models.transforms.outcome import OutcomeTransform
from botorch.optim.fit import fit_gpytorch_mll_scipy
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.means import Mean
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior
from torch import Tensor

_FITTED_ON = 160  # hyper-parameters are few: so many measurements fit them, the posterior uses all
_FIT_ITERATIONS = 50
_JITTER = 1e-6  # least variance of a measurement, on the scale of the targets

Features = Callable[[Tensor], Tensor]


class EncodedInput(InputTransform):
    """Applies features of (`B`, `S`, `V`) relaxed architectures to their flattened form (`B`, `S` * `V`)."""

    transform_on_train = True
    transform_on_eval = True
    transform_on_fantasize = True

    def __init__(self, features: Features, choices: int) -> None:
        """Args:
        features: Of (..., `S`, `V`) relaxed one-hot architectures.
        choices: `V`.
        """
        super().__init__()
        self._features = features
        self._choices = choices

    def transform(self, X: Tensor) -> Tensor:
        """(..., `B`, `F`) features of (..., `B`, `S` * `V`)."""
        return self._features(X.unflatten(-1, (-1, self._choices)))


class DotProductKernel(Kernel):
    """x . x'. GPyTorch's own linear kernel stays a low-rank root, and a sum with it takes a root decomposition."""

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: object) -> Tensor:
        """(..., `N`, `N'`) dense kernel matrix, or its diagonal."""
        return (x1 * x2).sum(-1) if diag else x1 @ x2.transpose(-1, -2)


@dataclass(frozen=True)
class Prior:
    """What a process is before it sees data.

    Attributes:
        mean: Mean function of the features.
        kernel: With priors on its hyper-parameters.
        rest: Prior of the variance that neither features nor measurement errors explain, on the scale of the targets.
    """

    mean: Mean
    kernel: Kernel
    rest: LogNormalPrior


def fit_process(
    flat: Tensor,
    targets: Tensor,
    variances: Tensor,
    encoded: EncodedInput,
    prior: Prior,
    outcome: OutcomeTransform | None,
) -> tuple[SingleTaskGP, float]:
    """The process with hyper-parameters at the mode of their posterior, and the variance of the rest.

    The result depends on the measurements alone, not on earlier fits: a resumed campaign proposes what the
    uninterrupted one would have.

    Args:
        flat: (`N`, `S` * `V`) architectures.
        targets: (`N`, 1).
        variances: (`N`,) of the targets, on the scale after `outcome`; 0 where unknown.
        encoded: The features.
        prior: Mean, kernel and rest.
        outcome: Standardises the targets; None where they are on the prior's scale already.
    """
    rows = torch.linspace(0, len(flat) - 1, min(len(flat), _FITTED_ON)).round().long()
    # Features are computed once here; the final model computes them inside, to be differentiable in the architecture.
    trial = _process(encoded.transform(flat[rows]), targets[rows], variances[rows], prior, None, outcome)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizationWarning)  # stopping at the iteration limit is meant
        # Not `fit_gpytorch_mll`: that one retries from random values of the global generator.
        fit_gpytorch_mll_scipy(
            ExactMarginalLogLikelihood(trial.likelihood, trial), options={"maxiter": _FIT_ITERATIONS}
        )
    rest = float(trial.likelihood.second_noise.detach())
    model = _process(flat, targets, variances, prior, encoded, outcome, rest)
    model.requires_grad_(False)
    return model.eval(), rest


def _process(
    inputs: Tensor,
    targets: Tensor,
    variances: Tensor,
    prior: Prior,
    encoded: EncodedInput | None,
    outcome: OutcomeTransform | None,
    rest: float | None = None,
) -> SingleTaskGP:
    likelihood = FixedNoiseGaussianLikelihood(
        variances.clamp_min(_JITTER),
        learn_additional_noise=True,
        noise_prior=prior.rest,
        noise_constraint=GreaterThan(1e-6, initial_value=rest or math.exp(float(prior.rest.loc))),
    )
    return SingleTaskGP(
        inputs,
        targets,
        likelihood=likelihood,
        mean_module=prior.mean,
        covar_module=prior.kernel,
        input_transform=encoded,
        outcome_transform=outcome,
    )
