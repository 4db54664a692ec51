"""Ascent: where a batch of samples should move so that they climb a utility and keep its limits.

Within a limit, such as a latency budget, the gradient of the whole utility does not know of it; beyond, it knows of
little else. So the parts of a utility that can be taken apart steer separately, as in dual ascent on the Lagrangian:

    g = g_score / |g_score| - sum_k m_k g_k / |g_k|,      m_k <- max(m_k + rate * excess_k, 0) at each noise level.

Every sample has multipliers of its own. They rise while its architecture exceeds a limit and fall while there is room,
so that it comes to rest where the limit is just kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from orchestrator.generate.memory import Memory
from orchestrator.generate.pool import width
from orchestrator.space.base import Space


class Ascent:
    """Directions for the samples of one batch, made anew for each batch."""

    def __init__(self, memory: Memory, space: Space, rates: Tensor) -> None:
        """Args:
        memory: Where gradients come from.
        space: Projects estimates onto legal architectures.
        rates: (`B`,) how fast the multipliers of each sample follow its excess.
        """
        self._memory = memory
        self._space = space
        self._rates = rates
        sizes = torch.tensor([len(choices) for choices in space.choices])
        self._choice_mask = torch.arange(width(space)) < sizes[:, None]  # (S, V)
        self._multipliers: Tensor | None = None  # (B, K)

    @property
    def exhausted(self) -> bool:
        """Whether there are no calls left, and so no directions."""
        return self._memory.exhausted

    def direction(self, estimate: Tensor) -> Tensor:
        """(`B`, `S`, `V`) of norm 1 (0 where nothing is known), at the legal architectures nearest to the estimates.

        Args:
            estimate: (`B`, `S`, `V`); a batch smaller than that of `rates` is the first of its samples.
        """
        rows = self._memory.rows(self._space.project(estimate.double().numpy()))
        uphill = unit(torch.from_numpy(self._memory.gradients(rows)), self._choice_mask)
        multipliers = self._updated(torch.from_numpy(self._memory.excess(rows)))
        towards = uphill[:, 0] - (multipliers[:, :, None, None] * uphill[:, 1:]).sum(dim=1)
        return unit(towards, self._choice_mask).to(estimate)

    def _updated(self, excess: Tensor) -> Tensor:
        """(`B`, `K`) multipliers after one more look at the excess; unknown excess (NaN) changes none."""
        if self._multipliers is None:
            self._multipliers = torch.zeros(len(self._rates), excess.shape[1], dtype=torch.float64)
        here = self._multipliers[: len(excess)]
        here += self._rates[: len(excess), None] * excess.nan_to_num(nan=0.0)
        return here.clamp_(min=0.0)


def unit(gradient: Tensor, choice_mask: Tensor) -> Tensor:
    """g / |g| of (..., `S`, `V`) gradients, within the choices that exist; zero where the gradient is.

    A constant added to a slot's gradient prefers no choice, so it is taken out before the norm is.
    """
    masked = gradient * choice_mask
    centred = (masked - masked.sum(-1, keepdim=True) / choice_mask.sum(-1, keepdim=True)) * choice_mask
    norm = torch.linalg.vector_norm(centred, dim=(-2, -1), keepdim=True)
    return torch.where(norm > 0, centred / norm.clamp_min(torch.finfo(norm.dtype).tiny), 0.0)
