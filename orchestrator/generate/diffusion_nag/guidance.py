"""Guidance: a utility steers the denoised estimate (architecture.md: no noise-aware predictor, no retraining).

At each noise level the estimate E[x_0 | x_t] is moved up the utility's gradient,

    x_0' = E[x_0 | x_t] + w sigma sqrt(S) g / |g|,

where g is the direction of ascent at the legal architecture nearest to the estimate (`orchestrator.generate.ascent`),
and the sampler goes on with x_0' as if the denoiser had said so. The denoiser's Jacobian is taken as the identity.
"""

from __future__ import annotations

import math

from torch import Tensor

from orchestrator.generate.ascent import Ascent
from orchestrator.generate.diffusion_nag.sampler import Denoiser
from orchestrator.generate.memory import Memory
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
        self._ascent = Ascent(memory, space, rates)
        self._strengths = strengths * math.sqrt(len(space.choices))
        self._settled = _SETTLE * sigma_min

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The guided estimate of (`B`, `S`, `V`); a batch smaller than `strengths` is the first of its samples."""
        denoised = self._denoiser(x, sigma)
        if sigma <= self._settled or self._ascent.exhausted:
            return denoised
        step = self._strengths[: len(x), None, None] * sigma
        return denoised + step * self._ascent.direction(denoised)
