"""How much each part of a process varies: the mean over all that the measurements leave possible.

The variance that a process predicts is linear in the variances ("scales") of its parts. So it is their mean, not their
likeliest values, that makes intervals hold what they promise: ten measurements hardly tell how noisy a device is, and
the likeliest noise is a small one. With log-normal priors their posterior is integrated by importance sampling from its
Laplace approximation, on a fixed quasi-random design (after Rue, Martino & Chopin, "Approximate Bayesian inference for
latent Gaussian models", 2009): the same measurements give the same scales.
"""

from __future__ import annotations

import torch
from linear_operator.utils.cholesky import psd_safe_cholesky
from torch import Tensor

_NODES = 64
_WIDER = 1.3  # than the Laplace approximation: tails that a proposal lacks are lost
_STEPS = 12
_LONGEST = 1.5  # of a step, in logarithms
_EDGE = 1e-4  # of the unit cube, whose ends have no normal quantile


def expected_scales(parts: Tensor, noise: Tensor, left: Tensor, prior_mean: Tensor, prior_sd: Tensor) -> Tensor:
    """(`J`,) posterior means of the scales s of `left` ~ N(0, sum over j of s_j `parts`_j + diag(`noise`)).

    Args:
        parts: (`J`, `N`, `N`) covariances of the parts at scale 1; the identity for what each measurement has alone.
        noise: (`N`,) known variances.
        left: (`N`,) what was measured, less its expected value.
        prior_mean: (`J`,) of each scale's logarithm.
        prior_sd: (`J`,) likewise.
    """
    mode, root = _laplace(parts, noise, left, prior_mean, prior_sd)
    uniform = torch.quasirandom.SobolEngine(len(parts)).draw(_NODES + 1, dtype=parts.dtype)[1:]  # the first is 0
    normal = torch.special.ndtri(uniform.clamp(_EDGE, 1 - _EDGE))
    logs = mode + _WIDER * normal @ root.T
    worth = _log_density(parts, noise, left, logs) - 0.5 * ((logs - prior_mean) / prior_sd).square().sum(-1)
    weights = (worth + 0.5 * normal.square().sum(-1)).softmax(0)
    return weights @ logs.exp()


def _log_density(parts: Tensor, noise: Tensor, left: Tensor, logs: Tensor) -> Tensor:
    """(`B`,) of `left`, up to a constant, given (`B`, `J`) logarithms of scales."""
    covariance = torch.einsum("bj,jnm->bnm", logs.exp(), parts) + noise.diag()
    root = psd_safe_cholesky(covariance)
    whitened = torch.linalg.solve_triangular(root, left.expand(len(logs), -1).unsqueeze(-1), upper=False)
    return -0.5 * whitened.square().sum((-2, -1)) - root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _laplace(parts: Tensor, noise: Tensor, left: Tensor, prior_mean: Tensor, prior_sd: Tensor) -> tuple[Tensor, Tensor]:
    """Mode (`J`,) of the logarithms' posterior by Fisher scoring, and a root (`J`, `J`) of the covariance there."""
    logs = prior_mean.clone()
    for _ in range(_STEPS):
        scaled = parts * logs.exp()[:, None, None]
        inverse = torch.cholesky_inverse(psd_safe_cholesky(scaled.sum(0) + noise.diag()))
        weights = inverse @ left
        explained = inverse @ scaled  # (J, N, N)
        slope = 0.5 * (weights @ scaled @ weights - explained.diagonal(dim1=-2, dim2=-1).sum(-1))
        slope = slope - (logs - prior_mean) / prior_sd.square()
        information = 0.5 * torch.einsum("inm,jmn->ij", explained, explained) + prior_sd.square().reciprocal().diag()
        logs = logs + torch.linalg.solve(information, slope).clamp(-_LONGEST, _LONGEST)
    return logs, torch.linalg.cholesky(torch.linalg.inv(information))
