"""Guidance: a utility steers the denoised estimate (architecture.md: no noise-aware predictor, no retraining).

At each noise level the estimate E[x_0 | x_t] is moved up the utility's gradient,

    x_0' = E[x_0 | x_t] + w sigma sqrt(S) g / |g|,

taken at the legal architecture nearest to the estimate (see `orchestrator.generate.memory`), and the sampler goes on
with x_0' as if the denoiser had said so. The denoiser's Jacobian is taken as the identity.

Within a limit, such as a latency budget, the gradient of the whole utility does not know of it; beyond, it knows of
little else. So the parts of a utility that can be taken apart steer separately, as in dual ascent on the Lagrangian:

    g = g_score / |g_score| - sum_k m_k g_k / |g_k|,      m_k <- max(m_k + rate * excess_k, 0) at each noise level.

Every sample has multipliers of its own. They rise while its architecture exceeds a limit and fall while there is room,
so that it comes to rest where the limit is just kept.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from orchestrator.generate.diffusion_nag.sampler import Denoiser
from orchestrator.generate.memory import Memory
from orchestrator.generate.pool import width
from orchestrator.space.base import Space

_SETTLE = 1.5  # guidance ends at so many times the lowest noise level, so that samples settle on architectures


class Guide:
    """A denoiser whose estimates climb the utility that a memory evaluates; made anew for each batch of samples."""

    def __init__(
        self,
        denoiser: Denoiser,
        memory: Memory,
        space: Space,
        *,
        strengths: Tensor,
        rates: Tensor,
        sigma_min: float,
    ) -> None:
        """Args:
        denoiser: What to guide.
        memory: Where gradients come from; once it is exhausted, estimates are the plain ones.
        space: Projects estimates onto legal architectures.
        strengths: (`B`,) w of each sample: weak ones keep to the prior, strong ones to the utility.
        rates: (`B`,) how fast the multipliers of each sample follow its excess.
        sigma_min: The lowest noise level; close to it the estimates are the plain ones.
        """
        self._denoiser = denoiser
        self._memory = memory
        self._space = space
        self._strengths = strengths
        self._rates = rates
        self._settled = _SETTLE * sigma_min
        sizes = torch.tensor([len(choices) for choices in space.choices])
        self._choice_mask = torch.arange(width(space)) < sizes[:, None]  # (S, V)
        self._multipliers: Tensor | None = None  # (B, K)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The guided estimate of (`B`, `S`, `V`); a batch smaller than `strengths` is the first of its samples."""
        denoised = self._denoiser(x, sigma)
        if sigma <= self._settled or self._memory.exhausted:
            return denoised
        rows = self._memory.rows(self._space.project(denoised.double().numpy()))
        uphill = direction(torch.from_numpy(self._memory.gradients(rows)), self._choice_mask)
        multipliers = self._updated(torch.from_numpy(self._memory.excess(rows)))
        towards = uphill[:, 0] - (multipliers[:, :, None, None] * uphill[:, 1:]).sum(dim=1)
        step = self._strengths[: len(x), None, None] * sigma * math.sqrt(len(self._choice_mask))
        return denoised + (step * direction(towards, self._choice_mask)).to(denoised)

    def _updated(self, excess: Tensor) -> Tensor:
        """(`B`, `K`) multipliers after one more look at the excess; unknown excess (NaN) changes none."""
        if self._multipliers is None:
            self._multipliers = torch.zeros(len(self._strengths), excess.shape[1], dtype=torch.float64)
        here = self._multipliers[: len(excess)]
        here += self._rates[: len(excess), None] * excess.nan_to_num(nan=0.0)
        return here.clamp_(min=0.0)


def direction(gradient: Tensor, choice_mask: Tensor) -> Tensor:
    """g / |g| of (..., `S`, `V`) gradients, within the choices that exist; zero where the gradient is.

    A constant added to a slot's gradient prefers no choice, so it is taken out before the norm is.
    """
    masked = gradient * choice_mask
    centred = (masked - masked.sum(-1, keepdim=True) / choice_mask.sum(-1, keepdim=True)) * choice_mask
    norm = torch.linalg.vector_norm(centred, dim=(-2, -1), keepdim=True)
    return torch.where(norm > 0, centred / norm.clamp_min(torch.finfo(norm.dtype).tiny), 0.0)
