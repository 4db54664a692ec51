"""Memory: every architecture that a search has met, what it is worth, and which way is up from there.

Gradients are taken at architectures, not at relaxed estimates, for three reasons. Predictors are fitted on
architectures, so there they are at home. For a utility that is multilinear in its slots the gradient at a vertex is
the exact gain of every single swap. And each evaluation scores a real candidate, of which the best are returned.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from orchestrator.generate.base import Utility, terms_of
from orchestrator.generate.pool import best_first, keys, width
from orchestrator.space.base import FloatArray, IntArray, Space, one_hot

UNMET = -1  # row of what the budget did not reach


class Memory:
    """Architectures met so far; each costs one call, once, gradient and limits included.

    Attributes:
        budget: Calls that may be spent in all; may be raised.
        differentiable: Whether there are gradients; zeros stand for them where not.
    """

    def __init__(self, utility: Utility, space: Space, budget: int, *, gradients: bool = True) -> None:
        """Args:
        utility: What is maximised.
        space: What the architectures are from.
        budget: Calls that may be spent.
        gradients: Whether they are wanted, where the utility has any.
        """
        self.budget = budget
        self.differentiable = gradients and utility.differentiable
        self._utility = utility
        self._space = space
        self._width = width(space)
        self._rows: dict[bytes, int] = {}
        slots = len(space.choices)
        self._slots = np.zeros((0, slots), dtype=np.int64)
        self._values = np.zeros(0)
        # The first term is the score, the others are the limits; how many shows with the first evaluation.
        self._terms = np.zeros((0, 1))
        self._gradients = np.zeros((0, 1, slots, self._width), dtype=np.float32)
        self._penalty = 0.0

    @property
    def calls(self) -> int:
        """Architectures evaluated."""
        return len(self._rows)

    @property
    def exhausted(self) -> bool:
        """Whether the budget is spent."""
        return self.calls >= self.budget

    @property
    def slots(self) -> IntArray:
        """(`N`, `S`): the architectures met, in that order."""
        return self._slots[: self.calls]

    @property
    def values(self) -> FloatArray:
        """(`N`,): their utilities; NaN counts as worst."""
        return self._values[: self.calls]

    def rows(self, slots: IntArray) -> IntArray:
        """(`B`,): where (`B`, `S`) legal, canonical architectures stand.

        Those not met before are evaluated while the budget lasts; `UNMET` stands for the rest.
        """
        asked = keys(slots)
        new = {key: row for row, key in enumerate(asked) if key not in self._rows}
        affordable = list(new.items())[: max(self.budget - self.calls, 0)]
        if affordable:
            self._evaluate(slots[[row for _, row in affordable]])
            self._rows.update({key: len(self._rows) + offset for offset, (key, _) in enumerate(affordable)})
        return np.array([self._rows.get(key, UNMET) for key in asked], dtype=np.int64)

    def unmet(self, slots: IntArray) -> IntArray:
        """The rows of (`B`, `S`) at their first occurrence that were not met before."""
        first = {key: row for row, key in reversed(list(enumerate(keys(slots)))) if key not in self._rows}
        return slots[sorted(first.values())]

    def excess(self, rows: IntArray) -> FloatArray:
        """(`B`, `K`): by which share the architectures in (`B`,) rows exceed each limit; NaN of those not met."""
        return np.where(rows[:, None] == UNMET, np.nan, self._terms[rows, 1:])

    def gradients(self, rows: IntArray) -> FloatArray:
        """(`B`, 1 + `K`, `S`, `V`): of the score and of each excess; zero of those not met."""
        return np.where(rows[:, None, None, None] == UNMET, 0.0, self._gradients[rows])

    def predict(self, rows: IntArray, children: IntArray) -> FloatArray:
        """(`B`,): utilities of (`B`, `S`) legal children to first order, seen from the parents in (`B`,) rows.

        A slot that has no effect in the child changes nothing, whatever the parent's gradient says of it.
        """
        parents, slots = self._slots[rows], np.arange(children.shape[1])
        there, here = (self._gradients[rows[:, None], :, slots, chosen] for chosen in (children, parents))
        active = ~self._space.inactive(children)
        terms = self._terms[rows] + ((there - here) * active[:, :, None]).sum(axis=1)
        return terms[:, 0] - self._penalty * np.maximum(terms[:, 1:], 0.0).sum(axis=1)

    def best(self, count: int) -> IntArray:
        """(`B`, `S`): the `count` best architectures met, best first."""
        return best_first(self.slots, self.values)[:count]

    def _evaluate(self, slots: IntArray) -> None:
        """Pay for (`B`, `S`) architectures not met before, and write them down."""
        vertices = torch.from_numpy(one_hot(slots, self._width)).requires_grad_(self.differentiable)
        with torch.set_grad_enabled(self.differentiable):
            terms = terms_of(self._utility, vertices)
            parts = torch.cat([terms.score[:, None], terms.excess], dim=1).double()
            values = terms.utility.detach().double()
        met = slice(self.calls, self.calls + len(slots))
        self._reserve(met.stop, parts.shape[1])
        self._penalty = terms.penalty
        self._slots[met] = slots
        self._values[met] = values.nan_to_num(nan=-np.inf, posinf=np.inf, neginf=-np.inf).numpy()
        self._terms[met] = parts.detach().numpy()
        if self.differentiable:
            self._gradients[met] = _gradients(parts, vertices).numpy()

    def _reserve(self, size: int, terms: int) -> None:
        """Room for so many architectures; doubled where it is short, so that growing costs little."""
        room = len(self._slots)
        if size <= room:
            return
        more = max(size, min(2 * room, self.budget)) - room
        if not room:
            self._terms, self._gradients = self._terms[:, [0] * terms], self._gradients[:, [0] * terms]
        for name in ("_slots", "_values", "_terms", "_gradients"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)]))


def _gradients(parts: Tensor, vertices: Tensor) -> Tensor:
    """(`B`, 1 + `K`, `S`, `V`): of (`B`, 1 + `K`) parts at (`B`, `S`, `V`) vertices; where undefined, no guidance."""
    gradients = [
        torch.autograd.grad(part.sum(), vertices, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
        for part in parts.unbind(dim=1)
    ]
    # An acquisition function may be flat to machine precision, even NaN in its gradient.
    return torch.stack(gradients, dim=1).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).float()
