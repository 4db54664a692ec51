"""Local search: from architecture to neighbour for as long as one is better, then from somewhere else.

White, Nolen and Savani, "Exploring the Loss Landscape in Neural Architecture Search" (UAI 2021), found that where
evaluations are not very noisy this is hard to beat. It needs no gradient, and hardly a parameter.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from orchestrator.generate.base import Proposal, Request
from orchestrator.generate.pool import distinct, draw_distinct, keys, top_up
from orchestrator.space.base import IntArray, Space

if TYPE_CHECKING:
    from orchestrator.generate.memory import Memory

_NEIGHBOURS_SHARE = 0.7  # of an unguided pool; the rest is drawn uniformly
_UNMET = -1  # as `memory.UNMET`, which is not imported for the sake of torch


class LocalSearch:
    """Climbs from every elite, then from the best of some uniform draws, again and again until its calls are spent.

    Neighbours are evaluated in random order, a brood at a time; the best of a brood is moved to as soon as it is better
    than where the search stands. With broods of 1 that is first improvement; with broods as large as a neighbourhood,
    best improvement. Unguided, it proposes neighbours of the elites, and uniform draws.

    >>> from orchestrator.space.nasbench201 import NASBench201
    >>> LocalSearch(NASBench201()).propose(Request(count=4, seed=1)).slots.shape
    (4, 6)
    """

    name = "local_search"

    def __init__(
        self,
        space: Space,
        *,
        calls_per_architecture: Annotated[int, Field(ge=1)] = 10,
        brood: Annotated[int, Field(ge=1)] = 8,
        draws: Annotated[int, Field(ge=1)] = 16,
    ) -> None:
        """Args:
        space: What to search.
        calls_per_architecture: With a utility, architectures evaluated for each one returned, at most.
        brood: Neighbours evaluated at a time.
        draws: Uniform draws, of which the best is where a climb begins.
        """
        self.space = space
        self._calls_per_architecture = calls_per_architecture
        self._brood = brood
        self._draws = draws

    def propose(self, request: Request) -> Proposal:
        """The `count` best architectures met, best first; without a utility, neighbours of elites and uniform draws."""
        started = time.perf_counter()
        rng = np.random.default_rng(request.seed)
        if request.utility is None:
            slots, calls = self._around(request.elites, round(_NEIGHBOURS_SHARE * request.count), rng), 0
        else:
            from orchestrator.generate.memory import Memory

            memory = Memory(request.utility, self.space, request.count * self._calls_per_architecture, gradients=False)
            self._search(memory, request.elites, rng)
            slots, calls = memory.best(request.count), memory.calls
        slots = top_up(self.space, slots, request.count, rng)
        return Proposal(slots, 1.0, calls, time.perf_counter() - started)

    def _around(self, elites: IntArray, count: int, rng: np.random.Generator) -> IntArray:
        """(`B`, `S`): at most `count` neighbours of elites that are none themselves."""
        neighbours = [self._neighbours(elite) for elite in elites]
        if not neighbours:
            return draw_distinct(self.space, 0, rng)
        return rng.permutation(distinct(np.concatenate(neighbours), keys(elites)))[:count]

    def _search(self, memory: Memory, elites: IntArray, rng: np.random.Generator) -> None:
        """Climb until the budget is spent, or the whole space is met."""
        waiting = list(elites)
        while not memory.exhausted:
            if waiting:
                starts = waiting.pop(0)[None]
            else:
                starts = draw_distinct(self.space, self._draws, rng, keys(memory.slots))
                if not len(starts):
                    return
            self._climb(memory, starts, rng)

    def _climb(self, memory: Memory, starts: IntArray, rng: np.random.Generator) -> None:
        """From the best of (`B`, `S`) architectures up to one that no neighbour beats."""
        here = _best(memory, starts)
        while here is not None:
            around = rng.permutation(self._neighbours(memory.slots[here]))
            broods = np.array_split(around, range(self._brood, len(around), self._brood))
            bests = (_best(memory, brood) for brood in broods)
            here = next((it for it in bests if it is not None and memory.values[it] > memory.values[here]), None)

    def _neighbours(self, slots: IntArray) -> IntArray:
        """(`B`, `S`) legal architectures one change away from (`S`,)."""
        return self.space.neighbours(self.space.architecture(slots))


def _best(memory: Memory, slots: IntArray) -> int | None:
    """The row of the best of (`B`, `S`) architectures; None where the budget reaches none of them."""
    rows = memory.rows(slots)
    rows = rows[rows != _UNMET]
    return int(rows[memory.values[rows].argmax()]) if len(rows) else None
