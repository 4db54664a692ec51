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
from botorch.models.transforms.outcome import Standardize
from botorch.optim.fit import fit_gpytorch_mll_scipy
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import AdditiveKernel, Kernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.means import Mean
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior
from linear_operator.utils.cholesky import psd_safe_cholesky
from torch import Tensor

from orchestrator.predict.scales import expected_scales

_FITTED_ON = 160  # hyper-parameters are few: so many measurements fit them, the posterior uses all
_FIT_ITERATIONS = 50
# Of hyper-parameters in the optimiser: where the likelihood is flat, L-BFGS may step as far as a scale of exactly 0.
_RAW_BOUNDS: tuple[float | None, float | None] = (-30.0, 30.0)
_SAME = 1e-6  # the difference of features up to which they are the same
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


class SameKernel(Kernel):
    """1 where both rows are the same (to rounding), else 0: a trait that only equals share."""

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: object) -> Tensor:
        """(..., `N`, `N'`) dense kernel matrix, or its diagonal."""
        far = (x1 - x2).abs().amax(-1) if diag else torch.cdist(x1.detach(), x2.detach(), p=math.inf)
        return (far < _SAME).to(x1.dtype)


@dataclass(frozen=True)
class Prior:
    """What a process is before it sees data.

    Attributes:
        mean: Mean function of the features.
        kernel: A sum of scaled kernels, each with a log-normal prior of its scale.
        rest: Prior of the variance that neither features nor measurement errors explain, on the scale of the targets.
    """

    mean: Mean
    kernel: AdditiveKernel
    rest: LogNormalPrior


class Process:
    """A fitted process.

    Attributes:
        model: BoTorch model over (`B`, `S` * `V`) flattened relaxed architectures, on the targets' own scale.
        rest: Variance that neither the features nor the known measurement errors explain, on that scale.
    """

    def __init__(self, model: SingleTaskGP, rest: float, outcome: Standardize | None) -> None:
        """Args:
        model: In evaluation mode.
        rest: On the scale of the targets that the model was given.
        outcome: What the model standardises its targets with.
        """
        self.model = model
        self._shift, self._scale = (0.0, 1.0) if outcome is None else (float(outcome.means), float(outcome.stdvs))
        self.rest = rest * self._scale**2
        with torch.no_grad():
            self._measured: Tensor = model.train_inputs[0]
            covariance = model.covar_module(self._measured).to_dense() + model.likelihood.noise.diag()
            self._precision = torch.cholesky_inverse(psd_safe_cholesky(covariance))
            self._weights = self._precision @ (model.train_targets - model.mean_module(self._measured))

    def marginal(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance, each (`B`,), of the smooth part at (`B`, `S` * `V`); differentiable.

        The numbers of `model.posterior`, several times faster, as all that depends on the data alone is kept: guidance
        asks for them and for their gradients dozens of times a round.
        """
        features = self.model.input_transform.transform(flat)
        cross = self.model.covar_module(features, self._measured).to_dense()
        mean = self.model.mean_module(features) + cross @ self._weights
        prior = self.model.covar_module(features, diag=True)
        variance = (prior - ((cross @ self._precision) * cross).sum(-1)).clamp_min(0.0)
        return self._shift + self._scale * mean, self._scale**2 * variance

    def joint(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (`B`,) and covariance (`B`, `B`) of the smooth part at (`B`, `S` * `V`)."""
        features = self.model.input_transform.transform(flat)
        cross = self.model.covar_module(features, self._measured).to_dense()
        mean = self.model.mean_module(features) + cross @ self._weights
        covariance = self.model.covar_module(features).to_dense() - cross @ self._precision @ cross.T
        return self._shift + self._scale * mean, self._scale**2 * covariance


def fit_process(
    flat: Tensor, targets: Tensor, variances: Tensor, encoded: EncodedInput, prior: Prior, *, standardise: bool
) -> Process:
    """The process with its scales at the mean of their posterior, other hyper-parameters at the mode.

    The result depends on the measurements alone, not on earlier fits: a resumed campaign proposes what the
    uninterrupted one would have.

    Args:
        flat: (`N`, `S` * `V`) architectures.
        targets: (`N`, 1).
        variances: (`N`,) of the targets; 0 where unknown.
        encoded: The features.
        prior: Mean, kernel and rest.
        standardise: Whether the prior is meant for targets of mean 0 and variance 1.
    """
    outcome = None
    if standardise:
        outcome = Standardize(1)
        outcome(targets)  # learns the scale, which is that of all targets for the trial, too
        outcome.eval()
        variances = variances / outcome.stdvs.squeeze() ** 2
    rows = torch.linspace(0, len(flat) - 1, min(len(flat), _FITTED_ON)).round().long()
    # Features are computed once here; the final model computes them inside, to be differentiable in the architecture.
    trial = _process(encoded.transform(flat[rows]), targets[rows], variances[rows], prior, None, outcome)
    mll = ExactMarginalLogLikelihood(trial.likelihood, trial)
    bounds = {name: _RAW_BOUNDS for name, _ in mll.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizationWarning)  # stopping at the iteration limit is meant
        # Not `fit_gpytorch_mll`: that one retries from random values of the global generator.
        fit_gpytorch_mll_scipy(mll, bounds=bounds, options={"maxiter": _FIT_ITERATIONS})
    rest = _settle_scales(trial, prior)
    model = _process(flat, targets, variances, prior, encoded, outcome, rest)
    model.requires_grad_(False)
    return Process(model.eval(), rest, outcome)


def _settle_scales(trial: SingleTaskGP, prior: Prior) -> float:
    """Sets the scales of the parts to their posterior means, and returns that of the rest."""
    with torch.no_grad():
        inputs = trial.train_inputs[0]
        alone = torch.eye(len(inputs), dtype=inputs.dtype)
        parts = list(prior.kernel.kernels)
        priors = [*(part.outputscale_prior for part in parts), prior.rest]
        *scales, rest = expected_scales(
            torch.stack([*(part.base_kernel(inputs).to_dense() for part in parts), alone]),
            trial.likelihood.noise - trial.likelihood.second_noise,
            trial.train_targets - trial.mean_module(inputs),
            torch.stack([each.loc for each in priors]).to(inputs),
            torch.stack([each.scale for each in priors]).to(inputs),
        )
        for part, scale in zip(parts, scales, strict=True):
            part.outputscale = scale
    return float(rest)


def _process(
    inputs: Tensor,
    targets: Tensor,
    variances: Tensor,
    prior: Prior,
    encoded: EncodedInput | None,
    outcome: Standardize | None,
    rest: float | None = None,
) -> SingleTaskGP:
    likelihood = FixedNoiseGaussianLikelihood(
        variances.clamp_min(_JITTER),
        learn_additional_noise=True,
        noise_prior=prior.rest,
        # On a table without noise the rest may be nothing: it begins within the constraint all the same.
        noise_constraint=GreaterThan(_JITTER, initial_value=max(rest or math.exp(float(prior.rest.loc)), 2 * _JITTER)),
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
