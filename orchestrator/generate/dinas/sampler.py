"""Few-step sampling of discrete diffusion: each step draws from p(z_s | z_t), with the clean slots summed out.

`denoise(z, alpha)` gives (`B`, `S`, `V`) logits of p(x_0 | z_t) at one noise level for the batch. Guidance wraps it and
leaves the sampler alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from orchestrator.generate.dinas.transitions import Transitions, alpha_bar, draw

Denoise = Callable[[Tensor, float], Tensor]


def schedule(steps: int, start: float = 1.0) -> list[float]:
    """abar at `steps` + 1 evenly spaced times from `start` down to 0; the last is 1: nothing is noise any more."""
    return [float(alpha) for alpha in alpha_bar(torch.linspace(start, 0.0, steps + 1, dtype=torch.float64))]


def sample(
    denoise: Denoise, z: Tensor, alphas: list[float], transitions: Transitions, *, generator: torch.Generator
) -> Tensor:
    """(`B`, `S`) samples from noisy slots at noise level `alphas[0]`; one evaluation of the denoiser a step.

    Args:
        denoise: The denoiser, guided or not.
        z: (`B`, `S`) noisy slots.
        alphas: (`T` + 1,) rising abar; at abar = 1 slots are clean.
        transitions: The forward process.
        generator: Of all randomness.
    """
    for alpha_t, alpha_s in pairwise(alphas):
        clean = denoise(z, alpha_t).softmax(-1)
        z = draw(transitions.posterior(z, clean, alpha_t, alpha_s), generator)
    return z
