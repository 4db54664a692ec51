"""The forward process: a variance-exploding SDE (Song et al., ICLR 2021; DiffusionNAG, ICLR 2024, section 3).

    dx = g(t) dw,   sigma(t) = sigma_min (sigma_max / sigma_min)^t,   p(x_t | x_0) = N(x_0, sigma(t)^2 I),   t in [0, 1]

x_0 is the one-hot form of an architecture in {-1, +1}, shape (`B`, `S`, `V`). Everything after training speaks of
sigma alone: t only says how noise levels are spread, evenly in log sigma.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.space.base import IntArray, one_hot


@dataclass(frozen=True)
class VESDE:
    """Noise levels between `sigma_min`, where slots can be read off, and `sigma_max`, where nothing can."""

    sigma_min: float = 0.1
    sigma_max: float = 5.0

    def sigma(self, t: Tensor) -> Tensor:
        """Standard deviation of the noise at times `t` in [0, 1]."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    def diffusion(self, t: Tensor) -> Tensor:
        """g(t), from d sigma^2 / dt = g^2."""
        return self.sigma(t) * math.sqrt(2 * math.log(self.sigma_max / self.sigma_min))

    def prior(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """x at t = 1, where x_0 has drowned in the noise."""
        return self.sigma_max * torch.randn(shape, generator=generator)

    def schedule(self, steps: int, start: float = 1.0) -> Tensor:
        """(`T`+1,) falling noise levels of `steps` sampling steps from time `start`; the last step goes to 0."""
        return torch.cat([self.sigma(torch.linspace(start, 0.0, steps)), torch.zeros(1)])


def encode(slots: IntArray, width: int) -> Tensor:
    """x_0: (`B`, `S`) choices as one-hot vectors in {-1, +1}, (`B`, `S`, `V`)."""
    return torch.from_numpy(2 * one_hot(slots, width) - 1).float()


def perturb(x0: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """x_t ~ p(x_t | x_0) of (`B`, `S`, `V`), at noise levels (`B`,)."""
    return x0 + sigma[:, None, None] * torch.randn(x0.shape, generator=generator).to(x0)


def score(denoised: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    """grad log p_t(x) = (E[x_0 | x_t] - x_t) / sigma^2 (Tweedie's formula), for noise levels (`B`,)."""
    return (denoised - x) / sigma[:, None, None] ** 2
