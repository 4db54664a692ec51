"""Proposes what to measure next: fit the surrogates, generate a guided pool, select a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, repeat

import numpy as np
import torch

from orchestrator.generate.base import Generator, Request
from orchestrator.generate.dinas.campaign import campaign_conditions
from orchestrator.generate.evolution import mutate
from orchestrator.generate.pool import draw_distinct
from orchestrator.optimize.acquisition import Acquisition
from orchestrator.optimize.batch import Pick, select_batch
from orchestrator.optimize.beliefs import Knowledge, believe, is_complete, reference_point
from orchestrator.optimize.goal import Goal
from orchestrator.optimize.initial_design import initial_design
from orchestrator.optimize.observation import Observation
from orchestrator.predict.surrogates import SurrogateFitter
from orchestrator.space.base import FloatArray, IntArray, Space

Slots = tuple[int, ...]

INITIAL = "initial"
MUTATION = "mutation"
SAMPLE = "sample"

_LEAST_COMPLETE = 3  # architectures with every metric, before a surrogate says anything
_MUTATED_SLOTS = (1, 2, 3)
_DESIGN_STREAM = 2**31  # randomness of the initial design; no round has this number
_MANY = 100_000


@dataclass(frozen=True)
class Prediction:
    """What a surrogate expects to be measured.

    Attributes:
        mean: In the metric's unit; the median for latency.
        sd: In percent for accuracy; of the log for latency.
    """

    mean: float
    sd: float


@dataclass(frozen=True)
class Suggestion:
    """An architecture worth measuring.

    Attributes:
        slots: Its choices.
        origin: `initial`, the generator's name (of a mixture, that of the part which made it), `mutation` (a change of
            the front), or `sample` (the pool ran dry).
        acquisition: Log acquisition when it was chosen; None without surrogates.
        predictions: By metric; empty without surrogates.
    """

    slots: Slots
    origin: str
    acquisition: float | None = None
    predictions: Mapping[str, Prediction] = field(default_factory=dict)


def every_one(slots: Slots) -> str:
    """The identity by which every architecture is a thing of its own."""
    return ",".join(map(str, slots))


class Proposer:
    """Bayesian optimisation whose candidates come from a generator that the acquisition function guides.

    A proposal is a function of the seed, the round and what is known, in any order: a campaign that was killed goes on
    as if it had not been. Nothing is carried over from one call to the next.
    """

    def __init__(
        self,
        space: Space,
        goal: Goal,
        generator: Generator,
        *,
        pool: int = 256,
        initial: int = 8,
        seed: int = 0,
        identity: Callable[[Slots], str] = every_one,
        knowledge: Knowledge | None = None,
    ) -> None:
        """Args:
        space: Where architectures come from.
        goal: What is wanted.
        generator: Proposes the pool.
        pool: Architectures asked of the generator; as many changes of one to three slots of the front join them.
        initial: Size of the initial design.
        seed: All randomness derives from it.
        identity: Architectures of the same identity are measured once, e.g. because they compile to the same artifact.
        knowledge: From before the campaign. What others have measured may be proposed and measured again.
        """
        self._space = space
        self._goal = goal
        self._generator = generator
        self._pool = pool
        self._initial = initial
        self._seed = seed
        self._identity = identity
        self._knowledge = knowledge
        self._fitter = SurrogateFitter(space)
        self._first = frozenset(islice(self._design(), initial))

    def propose(
        self,
        observations: Sequence[Observation],
        count: int,
        *,
        round_index: int,
        is_known: Callable[[Slots], bool],
        pending: Sequence[Slots] = (),
    ) -> list[Suggestion]:
        """Up to `count` architectures, the most valuable first; fewer only if the space has no more.

        The initial design comes first, and goes on while too little was measured to fit a surrogate.

        Args:
            observations: What was measured, in any order; values may be missing.
            count: Architectures wanted.
            round_index: Sets the randomness of this call apart from that of others.
            is_known: Whether an architecture, or its identity, was measured or proposed before.
            pending: Proposed and not measured yet; believed to come out as predicted.
        """
        rng = np.random.default_rng([self._seed, round_index])
        waiting = sorted(set(pending))
        seen = {self._identity(slots) for slots in waiting}
        ready = sum(is_complete(self._goal, each) for each in observations) >= _LEAST_COMPLETE
        missing = self._initial - len({each.slots for each in observations}.union(waiting))
        first = islice(self._fresh(self._design(), is_known, seen), min(count, max(missing, 0)) if ready else count)
        chosen = [Suggestion(slots, INITIAL) for slots in first]
        if ready and len(chosen) < count:
            waiting += [each.slots for each in chosen]
            with _one_thread():
                chosen += self._guided(observations, waiting, count - len(chosen), is_known, seen, rng)
        if len(chosen) < count:
            others = islice(self._fresh(self._any(rng), is_known, seen), count - len(chosen))
            chosen += [Suggestion(slots, SAMPLE) for slots in others]
        return chosen

    def reference_point(self, observations: Sequence[Observation]) -> FloatArray | None:
        """(`M`,) in `Goal.point` coordinates: hypervolume counts above it; None while no architecture is complete.

        It is taken from the initial design alone and stays where it is once that is measured: a tight reference, or
        one that follows the front, loses hypervolume.
        """
        complete = [each for each in observations if is_complete(self._goal, each)]
        initial = [each for each in complete if each.slots in self._first]
        return reference_point(self._goal, initial or complete) if complete else None

    def _guided(
        self,
        observations: Sequence[Observation],
        waiting: Sequence[Slots],
        count: int,
        is_known: Callable[[Slots], bool],
        seen: set[str],
        rng: np.random.Generator,
    ) -> list[Suggestion]:
        """The best of a pool made for the present acquisition function."""
        reference = self.reference_point(observations)
        assert reference is not None, "surrogates are fitted on complete observations only"
        beliefs = believe(self._goal, self._fitter, observations, reference, self._knowledge)
        costs = {name: found for name, found in beliefs.acquisition.surrogates.items() if found.logarithmic}
        bounds = {each.metric: each.bound for each in self._goal.subject_to}
        conditions = campaign_conditions(self._generator, beliefs.elites, costs, bounds)
        seed = int(rng.integers(2**31))
        request = Request(self._pool, beliefs.acquisition, beliefs.elites, seed, conditions)
        proposal = self._generator.propose(request)
        proposed = zip(proposal.slots, proposal.origins or repeat(self._generator.name), strict=False)
        origins: dict[Slots, str] = {}
        for row, origin in chain(proposed, zip(self._mutations(beliefs.elites, rng), repeat(MUTATION), strict=False)):
            origins.setdefault(tuple(row.tolist()), origin)
        pool = [(slots, origins[slots]) for slots in self._fresh(origins, is_known, seen)]
        if not pool:
            return []
        picks = select_batch(
            beliefs.acquisition,
            self._fitter.relaxed(np.array([slots for slots, _ in pool])),
            self._fitter.relaxed(np.array(waiting, dtype=np.int64).reshape(len(waiting), len(self._space.choices))),
            count,
        )
        return [_suggestion(*pool[pick.row], pick, beliefs.acquisition) for pick in picks]

    def _mutations(self, elites: IntArray, rng: np.random.Generator) -> IntArray:
        """(`B`, `S`): changes of one, two and three slots of random elites, in equal shares."""
        parents = elites[rng.integers(len(elites), size=self._pool)]
        shares = np.array_split(parents, len(_MUTATED_SLOTS))
        return np.concatenate(
            [mutate(self._space, share, rng, changes) for share, changes in zip(shares, _MUTATED_SLOTS, strict=True)]
        )

    def _design(self) -> Iterator[Slots]:
        believed = self._knowledge.accuracy if self._knowledge else None
        promise = None if believed is None else partial(believed.of, space=self._space)
        return initial_design(self._space, self._initial, np.random.default_rng([self._seed, _DESIGN_STREAM]), promise)

    def _any(self, rng: np.random.Generator) -> Iterator[Slots]:
        """Every architecture of a small space, very many of a large one."""
        size = _MANY if self._space.size is None else min(self._space.size, _MANY)
        yield from map(tuple, draw_distinct(self._space, size, rng).tolist())

    def _fresh(self, rows: Iterable[Slots], is_known: Callable[[Slots], bool], seen: set[str]) -> Iterator[Slots]:
        """Those neither known nor the same thing as one in `seen`, to which each is added once it is taken."""
        for slots in rows:
            identity = self._identity(slots)
            if identity not in seen and not is_known(slots):
                seen.add(identity)
                yield slots


@contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices of some hundred rows gain nothing from a second thread, and lose much where cores are shared: threads
    of many small operations wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _suggestion(slots: Slots, origin: str, pick: Pick, acquisition: Acquisition) -> Suggestion:
    predictions = {
        name: Prediction(math.exp(mean) if acquisition.surrogates[name].logarithmic else mean, math.sqrt(variance))
        for name, (mean, variance) in pick.expected.items()
    }
    return Suggestion(slots, origin, pick.acquisition, predictions)
