"""Uniform draws: the floor that every other generator has to beat."""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
from pydantic import Field

from orchestrator.generate.base import CountedUtility, Proposal, Request
from orchestrator.generate.pool import best_first, draw_distinct, score, top_up
from orchestrator.space.base import Space


class RandomGenerator:
    """Draws uniformly; with a utility it draws more than asked, and keeps the best.

    >>> from orchestrator.space.nasbench201 import NASBench201
    >>> RandomGenerator(NASBench201()).propose(Request(count=4, seed=1)).slots.shape
    (4, 6)
    """

    name = "random"

    def __init__(self, space: Space, *, calls_per_architecture: Annotated[int, Field(ge=1)] = 10) -> None:
        """Args:
        space: Where to draw from.
        calls_per_architecture: With a utility, how many architectures are scored for each one returned.
        """
        self.space = space
        self._calls_per_architecture = calls_per_architecture

    def propose(self, request: Request) -> Proposal:
        """(`B`, `S`) different uniform draws; with a utility, the best `count` of more of them, best first."""
        started = time.perf_counter()
        rng = np.random.default_rng(request.seed)
        if request.utility is None:
            raw = self.space.sample(request.count, rng)
            slots = top_up(self.space, raw, request.count, rng)
            uniqueness = len(np.unique(raw, axis=0)) / max(len(raw), 1)
            return Proposal(slots, 1.0, 0, time.perf_counter() - started, uniqueness)
        utility = CountedUtility(request.utility)
        drawn = draw_distinct(self.space, request.count * self._calls_per_architecture, rng)
        slots = best_first(drawn, score(utility, drawn, self.space))[: request.count]
        return Proposal(slots, 1.0, utility.calls, time.perf_counter() - started)
