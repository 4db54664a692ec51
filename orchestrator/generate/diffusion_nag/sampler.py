"""Few-step samplers of the reverse process.

All have one signature. `denoiser(x, sigma)` gives E[x_0 | x_t] of (`B`, `S`, `V`) at one noise level for the batch;
guidance wraps the denoiser and leaves the samplers alone. `sigmas` are (`T`+1,) falling levels that end in 0, so the
last step returns the denoiser's estimate at the lowest level ("noise removal").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, float], Tensor]
Callback = Callable[[int, float, Tensor], None]  # step, sigma, denoised


class Sampler(Protocol):
    """Turns noise into samples."""

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        sigmas: Tensor,
        *,
        generator: torch.Generator,
        callback: Callback | None = None,
    ) -> Tensor:
        """(`B`, `S`, `V`) samples from `x` at noise level `sigmas[0]`; one denoiser evaluation a step."""
        ...


def sample_ancestral(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, generator: torch.Generator, callback: Callback | None = None
) -> Tensor:
    """Each step draws from q(x_next | x_t, x_0 = E[x_0 | x_t]) (Song et al. 2021, appendix F, for the VE-SDE)."""
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        denoised = denoiser(x, sigma)
        if callback:
            callback(step, sigma, denoised)
        keep = (sigma_next / sigma) ** 2
        x = denoised + keep * (x - denoised)
        if sigma_next > 0:
            x = x + sigma_next * math.sqrt(1 - keep) * torch.randn(x.shape, generator=generator)
    return x


def sample_dpmpp_2m(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, generator: torch.Generator, callback: Callback | None = None
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): deterministic, second order, one evaluation a step."""
    del generator  # deterministic given x
    previous: Tensor | None = None
    h_previous = 0.0
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        denoised = denoiser(x, sigma)
        if callback:
            callback(step, sigma, denoised)
        if sigma_next == 0:
            return denoised
        h = math.log(sigma / sigma_next)  # lambda = -log sigma
        estimate = denoised
        if previous is not None:
            estimate = denoised + (denoised - previous) * h / (2 * h_previous)
        x = (sigma_next / sigma) * x - math.expm1(-h) * estimate
        previous, h_previous = denoised, h
    return x


SAMPLERS: Mapping[str, Sampler] = {"ancestral": sample_ancestral, "dpmpp_2m": sample_dpmpp_2m}
