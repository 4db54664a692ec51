"""Regularised evolution (Real et al., AAAI 2019), alone or refining what another generator starts.

Evolution needs no gradient. Given a start it is the second half of "diffusion seeds, evolution refines": the other
generator finds the region, mutations search it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from orchestrator.generate.base import Generator, Proposal, Request
from orchestrator.generate.pool import Ledger, best_first, distinct, draw_distinct, keys, score, top_up, width
from orchestrator.space.base import FloatArray, IntArray, Space, canonical, one_hot

_CHANGES = (1, 2, 3)  # slots that a mutation of an elite changes, where no utility says which way is up
_MUTATED_SHARE = 0.7  # of an unguided pool; the rest is drawn uniformly
_GENERATIONS = 16
_SMALLEST_BROOD = 4
_FRUITLESS_BROODS = 8  # broods without a new architecture after which fresh blood is drawn


def mutate(space: Space, parents: IntArray, rng: np.random.Generator, changes: int | IntArray = 1) -> IntArray:
    """(`B`, `S`): each of the (`B`, `S`) parents with `changes` slots chosen anew, made legal by projection.

    What has no effect in a parent is drawn anew first: a stage that grows, grows by blocks of any kind.

    Args:
        space: What the parents are from.
        parents: (`B`, `S`).
        rng: Chooses.
        changes: Of all, or (`B`,) of each; a slot may be hit twice.
    """
    sizes = np.array([len(choices) for choices in space.choices])
    children = np.where(space.inactive(parents), rng.integers(0, sizes, size=parents.shape), parents)
    open_slots = np.flatnonzero(sizes > 1)
    wanted = np.broadcast_to(changes, len(children))
    for turn in range(wanted.max(initial=0)):
        rows = np.flatnonzero(wanted > turn)
        slots = rng.choice(open_slots, size=len(rows))
        # An offset of 1 to size - 1 never lands on the present choice.
        children[rows, slots] = (children[rows, slots] + rng.integers(1, sizes[slots])) % sizes[slots]
    return legalise(space, children)


def crossover(space: Space, mothers: IntArray, fathers: IntArray, rng: np.random.Generator) -> IntArray:
    """(`B`, `S`): each slot from one of the two parents at random, made legal by projection."""
    return legalise(space, np.where(rng.random(mothers.shape) < 0.5, mothers, fathers))


def legalise(space: Space, slots: IntArray) -> IntArray:
    """(`B`, `S`) with illegal rows replaced by the legal architectures nearest to them; canonical."""
    legal = space.is_legal(slots)
    if not legal.all():
        slots = np.where(legal[:, None], slots, space.project(one_hot(slots, width(space))))
    return canonical(space, slots)


class RegularizedEvolution:
    """Tournaments choose parents, their mutated children replace the oldest of the population.

    Children come in broods, so that a utility with a cost per call (a Gaussian process) is called for several at once.
    An architecture is never evaluated twice. Without a utility it mutates the elites.
    """

    name = "regularized_evolution"

    def __init__(
        self,
        space: Space,
        *,
        start: Generator | None = None,
        calls_per_architecture: Annotated[int, Field(ge=1)] = 10,
        population: Annotated[int, Field(ge=2)] = 64,
        tournament: Annotated[int, Field(ge=1)] = 16,
        brood: Annotated[int, Field(ge=1)] = 64,
    ) -> None:
        """Args:
        space: What to search.
        start: Whatever it evaluates is the first population, the best first; elites and uniform draws where it is None.
        calls_per_architecture: Architectures evaluated for each one returned, those of `start` included.
        population: Architectures alive at a time.
        tournament: How many of them compete to become a parent.
        brood: Children evaluated at a time, at most; fewer where there are few calls, so that there are generations.
        """
        self.space = space
        self._start = start
        self._calls_per_architecture = calls_per_architecture
        self._population = population
        self._tournament = tournament
        self._brood = brood

    def propose(self, request: Request) -> Proposal:
        """The `count` best architectures met, best first; without a utility, changed elites and uniform draws."""
        started = time.perf_counter()
        rng = np.random.default_rng(request.seed)
        ledger = Ledger(request.utility) if request.utility is not None else None
        first = self._start.propose(replace(request, utility=ledger)) if self._start is not None else None
        if ledger is None:
            slots = self._unguided(first.slots if first is not None else request.elites, request.count, rng)
        else:
            calls = request.count * self._calls_per_architecture
            if first is None:
                score(ledger, self._first_population(request.elites, calls, rng), self.space)
            slots = best_first(*self._search(ledger, calls, rng))
        slots = top_up(self.space, slots, request.count, rng)
        validity = first.validity_unprojected if first is not None else 1.0
        return Proposal(slots, validity, ledger.calls if ledger else 0, time.perf_counter() - started)

    def _unguided(self, seeds: IntArray, count: int, rng: np.random.Generator) -> IntArray:
        """(`B`, `S`): changes of one to three slots of the seeds, and uniform draws."""
        if not len(seeds):
            return draw_distinct(self.space, count, rng)
        wanted = round(_MUTATED_SHARE * count)
        parents = seeds[rng.integers(len(seeds), size=wanted)]
        parts = [mutate(self.space, part, rng, n) for n, part in zip(_CHANGES, np.array_split(parents, 3), strict=True)]
        children = distinct(np.concatenate(parts), keys(seeds))
        return top_up(self.space, children, count, rng)

    def _first_population(self, elites: IntArray, calls: int, rng: np.random.Generator) -> IntArray:
        """(`B`, `S`): elites and uniform draws, for at most half of the calls."""
        size = max(min(self._population, calls // 2), 1)
        known = elites[: size // 2] if len(elites) else draw_distinct(self.space, 0, rng)
        return top_up(self.space, known, size, rng)

    def _search(self, ledger: Ledger, calls: int, rng: np.random.Generator) -> tuple[IntArray, FloatArray]:
        """All architectures met, (`N`, `S`) in order of age, and their scores (`N`,)."""
        met, scores = ledger.entries()
        # The population is a window on the architectures met, oldest first; the best of the first count as youngest.
        met, scores = best_first(met, scores)[::-1], np.sort(scores)
        seen, fruitless = set(keys(met)), 0
        brood = min(self._brood, max(calls // _GENERATIONS, _SMALLEST_BROOD))
        while ledger.calls < calls:
            alive = np.arange(max(len(met) - self._population, 0), len(met))
            entrants = rng.choice(alive, size=(brood, min(self._tournament, len(alive))))
            parents = met[np.take_along_axis(entrants, scores[entrants].argmax(axis=1)[:, None], axis=1)[:, 0]]
            children = distinct(mutate(self.space, parents, rng), seen)
            if not len(children):
                fruitless += 1
                if fruitless < _FRUITLESS_BROODS:
                    continue
                children = draw_distinct(self.space, brood, rng, seen)
                if not len(children):
                    break  # the whole space has been met
            fruitless = 0
            children = children[: calls - ledger.calls]
            seen.update(keys(children))
            met = np.concatenate([met, children])
            scores = np.concatenate([scores, score(ledger, children, self.space)])
        return met, scores
