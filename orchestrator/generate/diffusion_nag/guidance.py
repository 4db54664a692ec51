"""Guidance: a utility steers the denoised estimate (architecture.md: no noise-aware predictor, no retraining).

At each noise level the estimate E[x_0 | x_t] is moved up the utility's gradient,

    x_0' = E[x_0 | x_t] + w sigma sqrt(S) g / |g|,      g = grad u at the legal architecture nearest to the estimate,

and the sampler goes on with x_0' as if the denoiser had said so. The denoiser's Jacobian is taken as the identity.

The gradient is taken at an architecture, not at the relaxed estimate, for three reasons. Predictors are fitted on
architectures, so there they are at home. For a utility that is multilinear in its slots the gradient at a vertex
is the exact gain of every single swap. And each evaluation scores a real candidate: what a trajectory meets on its
way is remembered, never evaluated twice, and the best of it is what guided generation returns.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from orchestrator.generate.base import Utility
from orchestrator.generate.diffusion_nag.sampler import Denoiser
from orchestrator.generate.pool import best_first, keys, width
from orchestrator.space.base import FloatArray, IntArray, Space, one_hot

_SETTLE = 1.5  # guidance ends at so many times the lowest noise level, so that samples settle on architectures


class Memory:
    """Utilities and gradients of the architectures met so far; each costs one call, once.

    Args:
        utility: What is maximised; differentiable.
        space: What the architectures are from.
        budget: Calls that may be spent; architectures beyond it are answered with a gradient of zero.
    """

    def __init__(self, utility: Utility, space: Space, budget: int) -> None:
        self._utility = utility
        self._width = width(space)
        self.budget = budget
        self._rows: dict[bytes, int] = {}
        slots = len(space.choices)
        # The last row stands for everything that the budget did not reach.
        self._slots = np.zeros((budget, slots), dtype=np.int64)
        self._values: FloatArray = np.full(budget, -np.inf)
        self._gradients: FloatArray = np.zeros((budget + 1, slots, self._width))

    @property
    def calls(self) -> int:
        """Architectures evaluated."""
        return len(self._rows)

    @property
    def exhausted(self) -> bool:
        """Whether the budget is spent."""
        return self.calls >= self.budget

    def gradients(self, slots: IntArray) -> FloatArray:
        """(`B`, `S`, `V`): d utility / d slots at (`B`, `S`) architectures; zero where the budget ran out."""
        asked = keys(slots)
        self._evaluate({key: row for row, key in enumerate(asked) if key not in self._rows}, slots)
        return np.asarray(self._gradients[[self._rows.get(key, self.budget) for key in asked]])

    def best(self, count: int) -> IntArray:
        """(`B`, `S`): the `count` best architectures met, best first."""
        met = slice(0, self.calls)
        return best_first(self._slots[met], self._values[met])[:count]

    def _evaluate(self, new: dict[bytes, int], slots: IntArray) -> None:
        """Fill in the rows of architectures not met before; `new` says where in `slots` each stands."""
        begin, affordable = self.calls, list(new.items())[: self.budget - self.calls]
        if not affordable:
            return
        met = slice(begin, begin + len(affordable))
        self._slots[met] = slots[[row for _, row in affordable]]
        vertices = torch.from_numpy(one_hot(self._slots[met], self._width)).requires_grad_()
        with torch.enable_grad():
            values = self._utility(vertices)
            (gradients,) = torch.autograd.grad(values.sum(), vertices)
        self._values[met] = np.nan_to_num(values.detach().double().numpy(), nan=-np.inf, posinf=None)
        # An acquisition function may be flat to machine precision, even NaN in its gradient: no guidance there.
        self._gradients[met] = np.nan_to_num(gradients.double().numpy(), nan=0.0, posinf=0.0, neginf=0.0)
        self._rows.update({key: begin + offset for offset, (key, _) in enumerate(affordable)})


def guide(denoiser: Denoiser, memory: Memory, space: Space, strengths: Tensor, sigma_min: float) -> Denoiser:
    """A denoiser whose estimates climb the utility.

    Args:
        denoiser: What to guide.
        memory: Where gradients come from.
        space: Projects estimates onto legal architectures.
        strengths: w of each sample: weak ones keep to the prior, strong ones to the utility; a shorter batch uses the
            first of them.
        sigma_min: The lowest noise level; close to it the estimates are the plain ones.
    """
    sizes = torch.tensor([len(choices) for choices in space.choices])
    choice_mask = torch.arange(width(space)) < sizes[:, None]  # (S, V)

    def guided(x: Tensor, sigma: float) -> Tensor:
        denoised = denoiser(x, sigma)
        if sigma <= _SETTLE * sigma_min or memory.exhausted:
            return denoised
        vertices = space.project(denoised.double().numpy())
        gradient = torch.from_numpy(memory.gradients(vertices)).to(denoised)
        step = strengths[: len(x), None, None] * sigma * math.sqrt(len(sizes))
        return denoised + step * direction(gradient, choice_mask)

    return guided


def direction(gradient: Tensor, choice_mask: Tensor) -> Tensor:
    """g / |g| of (`B`, `S`, `V`) gradients, within the choices that exist; zero where the gradient is.

    A constant added to a slot's gradient prefers no choice, so it is taken out before the norm is.
    """
    masked = gradient * choice_mask
    centred = (masked - masked.sum(-1, keepdim=True) / choice_mask.sum(-1, keepdim=True)) * choice_mask
    norm = torch.linalg.vector_norm(centred, dim=(1, 2), keepdim=True)
    return torch.where(norm > 0, centred / norm.clamp_min(torch.finfo(norm.dtype).tiny), 0.0)
