"""The EDNAG generator: a population that is noised, denoised towards what is fit, mutated and selected."""

from __future__ import annotations

import math
import time
from itertools import count
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from orchestrator.generate.base import Proposal, Request
from orchestrator.generate.ednag.breeding import mutation_index, polynomial_mutation
from orchestrator.generate.ednag.codec import Codec, Latents
from orchestrator.generate.ednag.denoise import (
    ddim_step,
    drift,
    estimate,
    forward,
    log_fitness_probability,
    probability,
)
from orchestrator.generate.ednag.population import Population
from orchestrator.generate.ednag.schedule import Noise, alpha
from orchestrator.generate.pool import distinct, draw_distinct, keys, top_up
from orchestrator.space.base import BoolArray, IntArray, Space

if TYPE_CHECKING:
    from orchestrator.generate.memory import Memory

_SMALLEST = 4  # architectures of a population
_PARENT_NOISE = 4.0  # parents are noised until so many times the changes wanted of their children
_REMEMBERED = 1000  # architectures met last that tell the drift
_STRENGTHS = (0.5, 2.0)  # of the drift, times the option's, drawn log-uniformly for each child
_MUTATION_INDEX = 1.0
_NOVEL = 0.25  # share of the children that shall be new; where fewer are, the next generation is noisier
_WIDER, _WIDEST = 1.25, 100.0  # by this factor in changed slots, and at most by that one
_FRUITLESS = 12  # generations without a new architecture before uniform draws join
_FROM_ELITES = 0.7  # share of an unguided pool
_UNGUIDED_CHANGES = 2.0  # slots that an unguided sample differs in from an elite, about


class _Samples:
    """Raw samples: how many were legal before projection, and how many of those differ."""

    def __init__(self) -> None:
        self._decoded = 0
        self._legal = 0
        self._different: set[bytes] = set()

    def add(self, slots: IntArray, legal: BoolArray) -> None:
        """(`B`, `S`) decoded samples, and (`B`,) whether they were legal as they were."""
        self._decoded += len(slots)
        self._legal += int(legal.sum())
        self._different.update(keys(slots[legal]))

    @property
    def validity(self) -> float:
        """Share that was legal; 1 where nothing was sampled."""
        return self._legal / self._decoded if self._decoded else 1.0

    @property
    def uniqueness(self) -> float | None:
        """Share of the legal ones that differ; None where there are none."""
        return len(self._different) / self._legal if self._legal else None


class EDNAG:
    """Evolutionary denoising (arXiv 2504.17827): nothing is trained, and the utility may be any function at all.

    A generation: parents are drawn from the survivors by fitness, noised, denoised in one DDIM step towards the
    fitness-weighted estimate of `denoise`, mutated and decoded to the nearest legal architectures. Survivors are chosen
    from parents and children. The noise falls along the cosine schedule as calls are spent. An architecture is
    evaluated once; a generation that finds little new costs little, and makes the next one noisier.

    >>> from orchestrator.space.nasbench201 import NASBench201
    >>> EDNAG(NASBench201()).propose(Request(count=4, seed=1)).slots.shape
    (4, 6)
    """

    name = "ednag"

    def __init__(
        self,
        space: Space,
        *,
        calls_per_architecture: Annotated[int, Field(ge=1)] = 10,
        population: Annotated[int, Field(ge=_SMALLEST)] | None = None,
        generations: Annotated[int, Field(ge=1)] | None = None,
        changes: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.0, 0.6),
        pressure: Annotated[float, Field(ge=0)] = 10.0,
        drift: Annotated[float, Field(ge=0)] = 1.0,
        noise: Annotated[float, Field(ge=0, le=1)] = 1.0,
        mutation: Annotated[float, Field(ge=0, le=1)] = 0.3,
        elite: Annotated[float, Field(ge=0, le=1)] = 0.1,
        diverse: Annotated[float, Field(ge=0, le=1)] = 0.1,
    ) -> None:
        """Args:
        space: What to search.
        calls_per_architecture: With a utility, architectures evaluated for each one returned, at most.
        population: Survivors of a generation, and its children; None for the root of the number of calls.
        generations: How many there are at most; None for as many as the calls last.
        changes: Slots that noise changes in a child, on average, at first and at last.
        pressure: Log of how much more fitness favours the best of the survivors than the worst.
        drift: Strength of the pull towards what is common to the fit and rare among the others.
        noise: Fresh noise of a denoising step: 0 is deterministic, 1 ancestral.
        mutation: Share of the children that polynomial mutation changes, in one slot on average.
        elite: Share of the survivors that are the best.
        diverse: Share of the survivors that are the most different.
        """
        self.space = space
        self._calls_per_architecture = calls_per_architecture
        self._population = population
        self._generations = generations
        self._pressure = pressure
        self._drift = drift
        self._noise = noise
        self._mutation = mutation
        self._elite = elite
        self._diverse = diverse
        self._codec = Codec(space)
        self._levels = Noise(self._codec)
        self._changes = changes

    def propose(self, request: Request) -> Proposal:
        """The `count` best architectures met, best first; without a utility, noised elites and uniform draws."""
        started = time.perf_counter()
        rng = np.random.default_rng(request.seed)
        samples = _Samples()
        if request.utility is None:
            slots, calls = self._around(request.elites, request.count, samples, rng), 0
        else:
            from orchestrator.generate.memory import Memory

            memory = Memory(request.utility, self.space, request.count * self._calls_per_architecture, gradients=False)
            self._search(memory, request.elites, samples, rng)
            slots, calls = memory.best(request.count), memory.calls
        slots = top_up(self.space, slots, request.count, rng)
        return Proposal(slots, samples.validity, calls, time.perf_counter() - started, samples.uniqueness)

    def _around(self, elites: IntArray, count: int, samples: _Samples, rng: np.random.Generator) -> IntArray:
        """(`B`, `S`): noised elites that are none themselves, and pure noise, which is uniform draws."""
        from_elites = round(_FROM_ELITES * count) if len(elites) else 0
        pure = np.zeros((count - from_elites, *self._codec.shape), dtype=np.float32)
        noised = self._codec.encode(elites[rng.integers(len(elites), size=from_elites)]) if from_elites else pure[:0]
        level = alpha(self._levels.time(_UNGUIDED_CHANGES))
        slots, legal = self._codec.decode(forward(np.concatenate([noised, pure]), level, rng))
        samples.add(slots, legal)
        return distinct(slots, keys(elites))

    def _search(self, memory: Memory, elites: IntArray, samples: _Samples, rng: np.random.Generator) -> None:
        """Generations until the budget is spent, or the whole space is met."""
        size = self._population or max(math.isqrt(memory.budget), _SMALLEST)
        size = min(size, max(memory.budget // 2, 1))
        population = Population(memory, self._codec)
        known = elites[: size // 2] if len(elites) else draw_distinct(self.space, 0, rng)
        children = top_up(self.space, known, size, rng)
        wider, fruitless = 1.0, 0
        for generation in range(self._generations) if self._generations else count():
            new = population.join(children)
            if memory.exhausted:
                return
            population.cull(size, rng, elite=self._elite, diverse=self._diverse, pressure=self._pressure)
            wider = min(wider * _WIDER, _WIDEST) if new < _NOVEL * size else max(wider / _WIDER, 1.0)
            fruitless = 0 if new else fruitless + 1
            if fruitless < _FRUITLESS:
                progress = max(memory.calls / memory.budget, generation / (self._generations or math.inf))
                children, legal = self._codec.decode(self._children(population, size, progress, wider, rng))
                samples.add(children, legal)
            else:
                children = draw_distinct(self.space, size, rng, keys(memory.slots))
                if not len(children):
                    return

    def _children(
        self, population: Population, size: int, progress: float, wider: float, rng: np.random.Generator
    ) -> Latents:
        """(`B`, `S`, `V`): so many, noised, denoised and mutated; `wider` times the usual number of slots change."""
        codes = population.codes[population.survivors]
        begin, end = self._signals(progress, wider)
        log_prior = log_fitness_probability(population.fitness, self._pressure)
        parents = rng.choice(len(codes), size=size, p=probability(log_prior))
        noisy = forward(codes[parents], begin, rng)
        clean = estimate(noisy, codes, log_prior, begin) + self._pull(population, size, end, rng)
        x = ddim_step(noisy, clean, begin, end, self._noise, rng)
        mutated = (rng.random(size) < self._mutation)[:, None] & (rng.random(x.shape[:2]) < 1 / x.shape[1])
        # From two standard deviations of noise below the lowest clean entry to two above the highest.
        spans = math.sqrt(end) * self._codec.gaps + 4 * math.sqrt(1 - end)
        return polynomial_mutation(x, mutated, spans, mutation_index(_MUTATION_INDEX, progress), rng)

    def _signals(self, progress: float, wider: float) -> tuple[float, float]:
        """Shares of signal in noised parents and in their children, after a share of the search."""
        first, last = (self._levels.time(wider * changes) for changes in self._changes)
        end = first + (last - first) * progress
        begin = self._levels.time(_PARENT_NOISE * self._levels.changes(end))
        return alpha(begin), alpha(end)

    def _pull(self, population: Population, size: int, signal: float, rng: np.random.Generator) -> Latents:
        """(`B`, `S`, `V`): the drift, as long as the noise is in each slot, for each child in a strength of its own."""
        recent = slice(-_REMEMBERED, None)
        log_prior = log_fitness_probability(population.memory.values[recent], self._pressure)
        low, high = np.log(_STRENGTHS)
        strengths = self._drift * np.exp(rng.uniform(low, high, size=(size, 1, 1)))
        sigma = math.sqrt((1 - signal) / signal)
        length = (strengths * sigma * math.sqrt(len(self._codec.sizes))).astype(np.float32)
        return length * drift(population.codes[recent], log_prior)
