"""Discrete diffusion over slots (D3PM, Austin et al., NeurIPS 2021; marginal transitions: DiGress, ICLR 2023).

A slot forgets its choice by drawing it anew from a fixed distribution m, its own for each slot:

    Q_{t|s} = a_{t|s} I + (1 - a_{t|s}) 1 m^T,    Qbar_t = abar_t I + (1 - abar_t) 1 m^T,    a_{t|s} = abar_t / abar_s.

m is the training set's marginal, or uniform over the choices that exist. Times run from 0 (clean) to 1 (nothing left),
so that any number of sampling steps is a grid of them. Everything below is the closed form of products of these
matrices; none is ever built.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_OFFSET = 0.008  # Nichol & Dhariwal 2021: keeps the first steps from being too small


def alpha_bar(t: Tensor) -> Tensor:
    """Probability that a slot has not been redrawn by time `t` in [0, 1]: the cosine schedule, 1 at 0 and 0 at 1."""
    angle = (t + _OFFSET) / (1 + _OFFSET) * (math.pi / 2)
    return (angle.cos() / math.cos(_OFFSET / (1 + _OFFSET) * (math.pi / 2))).square().clamp(0.0, 1.0)


class Transitions:
    """The forward process of one space, and its exact posterior."""

    def __init__(self, marginals: Tensor) -> None:
        """Args:
        marginals: (`S`, `V`) distribution m of each slot; 0 for choices that do not exist.
        """
        self.marginals = marginals

    def prior(self, count: int, generator: torch.Generator) -> Tensor:
        """(`B`, `S`) slots at time 1, where each is drawn from its m."""
        return draw(self.marginals.expand(count, -1, -1), generator)

    def corrupt(self, x0: Tensor, alpha: Tensor, generator: torch.Generator) -> Tensor:
        """(`B`, `S`) draws from q(z_t | x_0) = Qbar_t[x_0], for (`B`, `S`) clean slots and abar_t of each, (`B`,)."""
        kept = torch.rand(x0.shape, generator=generator) < alpha[:, None]
        return torch.where(kept, x0, self.prior(len(x0), generator))

    def evidence(self, z: Tensor, alpha: Tensor) -> Tensor:
        """(`B`, `S`, `V`) log q(z_t | x_0 = v), up to a constant, for (`B`, `S`) noisy slots and abar_t, (`B`,).

        What a noisy slot says about its own clean choice; -inf only where a choice that cannot be drawn was kept.
        """
        redrawn = (1 - alpha)[:, None] * self._probability(z)
        same = torch.log1p(alpha[:, None] / redrawn.clamp_min(torch.finfo(alpha.dtype).tiny))
        return torch.nn.functional.one_hot(z, self.marginals.shape[-1]) * same[..., None]

    def posterior(self, z: Tensor, clean: Tensor, alpha_t: float, alpha_s: float) -> Tensor:
        """(`B`, `S`, `V`) probabilities of p(z_s | z_t) = sum over x_0 of p(x_0 | z_t) q(z_s | z_t, x_0), for s < t.

        With q(z_s | z_t, x_0) = Q_{t|s}[z_s, z_t] Qbar_s[x_0, z_s] / Qbar_t[x_0, z_t] the sum over x_0 is

            (a_{t|s} [z_s = z_t] + (1 - a_{t|s}) m[z_t]) (abar_s r[z_s] + (1 - abar_s) m[z_s] sum_v r[v]),
            r[v] = p(x_0 = v | z_t) / (abar_t [v = z_t] + (1 - abar_t) m[z_t]).

        Args:
            z: (`B`, `S`) noisy slots at time t.
            clean: (`B`, `S`, `V`) probabilities p(x_0 | z_t).
            alpha_t, alpha_s: abar at both times.
        """
        keep = alpha_t / alpha_s
        here = torch.nn.functional.one_hot(z, self.marginals.shape[-1]).to(clean.dtype)
        drawn = self._probability(z)[..., None]
        ratio = clean / (alpha_t * here + (1 - alpha_t) * drawn)
        backward = keep * here + (1 - keep) * drawn
        forward = alpha_s * ratio + (1 - alpha_s) * self.marginals * ratio.sum(-1, keepdim=True)
        return backward * forward

    def _probability(self, z: Tensor) -> Tensor:
        """(`B`, `S`) m[z]: how likely each slot is to be redrawn as what it is."""
        return self.marginals.expand(len(z), -1, -1).gather(-1, z[..., None])[..., 0]


def marginals_of(slots: Tensor, sizes: tuple[int, ...], kind: str) -> Tensor:
    """(`S`, `V`) m for (`N`, `S`) architectures: their shares of each choice (`marginal`), or equal ones (`uniform`).

    Choices that exist but do not occur get the share of one more architecture, so that every choice can be reached.
    """
    width = max(sizes)
    exists = torch.arange(width) < torch.tensor(sizes)[:, None]
    counts = exists.double()
    if kind == "marginal":
        counts = counts + torch.nn.functional.one_hot(slots, width).sum(0)
    return (counts * exists / (counts * exists).sum(-1, keepdim=True)).float()


def draw(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """(`B`, `S`) draws from (`B`, `S`, `V`) probabilities, which need not sum to 1: the least of exponential clocks."""
    clocks = torch.empty(probabilities.shape).exponential_(generator=generator)
    return (probabilities / clocks.to(probabilities)).argmax(-1)
