"""Diffusion seeds, evolution refines: guided diffusion finds the region, breeding searches it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from orchestrator.generate.base import Proposal, Request
from orchestrator.generate.diffusion_nag.generator import DiffusionNAG
from orchestrator.generate.evolution import RegularizedEvolution
from orchestrator.generate.pool import draw_distinct, top_up
from orchestrator.generate.refinement import population, refine
from orchestrator.space.base import IntArray, Space

_ELITES = 8  # one call of so many goes to the elites of a request, that they may breed


class DiffusionEvolution:
    """Guided diffusion spends a share of the calls; what it has met breeds for the rest (`refinement`).

    >>> from orchestrator.space.nasbench201 import NASBench201
    >>> DiffusionEvolution(NASBench201()).propose(Request(count=4, seed=1)).slots.shape
    (4, 6)
    """

    name = "diffusion_evolution"

    def __init__(
        self,
        space: Space,
        *,
        checkpoint: Path | Literal["quality", "untrained"] | None = None,
        diffusion_share: Annotated[float, Field(ge=0, le=1)] = 0.5,
        calls_per_architecture: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        """Args:
        space: What to search.
        checkpoint: The score network, as of `DiffusionNAG`.
        diffusion_share: Of the calls; 0 breeds from uniform draws, and needs no score network.
        calls_per_architecture: With a utility, architectures evaluated for each one returned.

        Raises:
            CheckpointError: The score network cannot be used.
        """
        self.space = space
        self._diffusion = DiffusionNAG(space, checkpoint=checkpoint) if diffusion_share > 0 else None
        self._share = diffusion_share
        self._calls_per_architecture = calls_per_architecture

    def propose(self, request: Request) -> Proposal:
        """`count` different architectures, best first where there is a utility; plain samples where there is none."""
        import torch

        from orchestrator.generate.memory import Memory

        if request.utility is None:
            return (self._diffusion or RegularizedEvolution(self.space)).propose(request)
        started = time.perf_counter()
        rng = np.random.default_rng(request.seed)
        validity, uniqueness, novelty = 1.0, None, None
        calls = request.count * self._calls_per_architecture
        memory = Memory(request.utility, self.space, max(round(self._share * calls), 1))
        if self._diffusion is not None:
            raw = self._diffusion.explore(memory, request.elites, torch.Generator().manual_seed(request.seed))
            validity, uniqueness, novelty = self._diffusion.quality(raw)
        memory.budget = calls
        memory.rows(self._founders(calls, request.elites, rng))
        refine(memory, self.space, rng)
        slots = top_up(self.space, memory.best(request.count), request.count, rng)
        return Proposal(slots, validity, memory.calls, time.perf_counter() - started, uniqueness, novelty)

    def _founders(self, calls: int, elites: IntArray, rng: np.random.Generator) -> IntArray:
        """(`B`, `S`): who breeds beside what diffusion met: some elites; uniform draws where it was not asked."""
        known = elites[: calls // _ELITES] if len(elites) else draw_distinct(self.space, 0, rng)
        wanted = 0 if self._diffusion is not None else population(calls)
        return top_up(self.space, known, max(wanted, len(known)), rng)
