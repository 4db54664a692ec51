"""The DiNAS generator: conditional denoiser, sampler and guidance put together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from orchestrator.generate.base import Proposal, Request
from orchestrator.generate.dinas.conditions import Conditions, Target
from orchestrator.generate.evolution import legalise
from orchestrator.generate.pool import distinct, top_up
from orchestrator.generate.threads import one_thread
from orchestrator.space.base import IntArray, Space, canonical

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from orchestrator.generate.dinas.sampler import Denoise
    from orchestrator.generate.memory import Memory

_SMALLEST_BATCH = 8
_BATCH = 128  # samples of a guided round: later rounds start partly from the best of the earlier ones
_CALLS_PER_SAMPLE = 10  # about as many different architectures does one guided sample meet on its way
_ELITES = 8  # one call of so many goes to the elites of a request, at most: what they are worth is not lost
_BEST_MET = 16  # architectures that count as elites beside the request's own
_FRUITFUL = 1.0  # new architectures a sample; rounds that meet fewer have collapsed, and end the sampling
_RATES = (1.0, 10.0)  # of the multipliers of limits: a tenth beyond a limit adds 0.1 to 1 of the score's own pull
REDRAWS = 4
_ROUNDS = 10  # of sampling, before what is missing is drawn uniformly


class DiNAS:
    """Samples architectures under conditions: an accuracy quantile, latency budgets on any devices (DiNAS, TMLR 2024).

    Conditions cost no utility call and no training. A utility, where there is one, ranks the samples; if it has a
    gradient, the gradient tilts the denoiser's logits on the way, and the best architectures met are what is returned.
    Without conditions samples follow the training population.

    >>> from orchestrator.space.nasbench201 import NASBench201
    >>> DiNAS(NASBench201()).propose(Request(count=4, seed=1)).slots.shape
    (4, 6)
    """

    name = "dinas"

    def __init__(
        self,
        space: Space,
        *,
        checkpoint: Path | None = None,
        steps: Annotated[int, Field(ge=2, le=1000)] = 16,
        calls_per_architecture: Annotated[int, Field(ge=1)] = 4,
        accuracy_scale: Annotated[float, Field(ge=0, le=20)] = 1.0,
        latency_scale: Annotated[float, Field(ge=0, le=20)] = 1.0,
        margin: Annotated[float | None, Field(ge=0, le=1)] = None,
        redraws: Annotated[int, Field(ge=0, le=100)] = REDRAWS,
        strength: Annotated[tuple[float, float], Field(description="weakest and strongest tilt")] = (1.0, 8.0),
        elite_share: Annotated[float, Field(ge=0, le=1)] = 0.5,
        elite_start: Annotated[float, Field(gt=0, le=1)] = 0.35,
    ) -> None:
        """Args:
        space: Where to propose from.
        checkpoint: The conditional model; None for the one that ships with the package.
        steps: `T`, sampling steps.
        calls_per_architecture: With a utility, architectures evaluated for each one returned.
        accuracy_scale: How strongly to insist on the accuracy asked; 1 is what was learned, 0 ignores it.
        latency_scale: The same of every budget.
        margin: By how much less than a budget to ask for, in log milliseconds; None for the calibrated margin.
        redraws: How often a sample is drawn again that exceeds a budget by the cost model inside; calls no utility.
        strength: Range of the tilt by a utility's gradient, drawn log-uniformly for each sample.
        elite_share: Share of the samples that start from re-noised elites, where there are any.
        elite_start: Time in (0, 1] up to which elites are re-noised; 1 forgets them.

        Raises:
            CheckpointError: The conditional model cannot be used.
        """
        # Torch is imported here and below, not above, so that options can be checked without loading it.
        from orchestrator.generate.dinas.checkpoint import load_checkpoint, shipped_checkpoint

        self.space = space
        self.checkpoint = load_checkpoint(checkpoint or shipped_checkpoint(space), space)
        self._steps = steps
        self._calls_per_architecture = calls_per_architecture
        self._margin = self.checkpoint.calibration.margin if margin is None else margin
        self._scales = {"accuracy_scale": accuracy_scale, "latency_scale": latency_scale}
        self._redraws = redraws
        self._strength = strength
        self._elite_share = elite_share
        self._elite_start = elite_start

    @property
    def references(self) -> IntArray:
        """(`R`, `S`) the architectures whose latencies tell it what a device is."""
        return self.checkpoint.references

    def propose(self, request: Request) -> Proposal:
        """`count` different architectures, best first where there is a utility.

        Raises:
            ConfigError: A condition describes its device by another number of reference architectures.
        """
        import torch

        started = time.perf_counter()
        generator = torch.Generator().manual_seed(request.seed)
        if request.utility is None:
            raw, slots, calls = *self._unguided(request, generator), 0
        else:
            from orchestrator.generate.memory import Memory

            memory = Memory(request.utility, self.space, self._budget(request.count))
            raw = self.explore(memory, request.elites, generator, request.conditions)
            slots, calls = memory.best(request.count), memory.calls
        slots = top_up(self.space, slots, request.count, np.random.default_rng(request.seed))
        validity, uniqueness, novelty = self.quality(raw)
        return Proposal(slots, validity, calls, time.perf_counter() - started, uniqueness, novelty)

    def explore(
        self, memory: Memory, elites: IntArray, generator: torch.Generator, conditions: Conditions | None = None
    ) -> IntArray:
        """(`B`, `S`) samples, drawn until a memory's budget is spent or nothing new is met.

        Args:
            memory: Evaluates what the samples meet on their way; the samples themselves where there is no gradient.
            elites: (`N`, `S`) good architectures so far; may be empty.
            generator: All randomness.
            conditions: What samples shall be.
        """
        from orchestrator.generate.ascent import Ascent
        from orchestrator.generate.dinas.guidance import tilt

        if not memory.differentiable:
            raw = self._conditional(memory.budget, conditions, elites, generator)
            memory.rows(legalise(self.space, raw))
            return raw
        batch = min(max(memory.budget // _CALLS_PER_SAMPLE, _SMALLEST_BATCH), _BATCH)
        denoise = self._denoise(self._targets(batch, conditions))
        rounds: list[IntArray] = []
        memory.rows(elites[: memory.budget // _ELITES])
        while True:
            met, best = memory.calls, memory.best(_BEST_MET)
            known = np.concatenate([elites, best]) if len(elites) else best
            strengths, rates = (_log_uniform(bounds, batch, generator) for bounds in (self._strength, _RATES))
            tilted = tilt(denoise, Ascent(memory, self.space, rates), strengths)
            rounds.append(self._sample(tilted, batch, known, generator).numpy())
            if memory.exhausted or memory.calls - met < _FRUITFUL * batch:
                return np.concatenate(rounds)

    def quality(self, raw: IntArray) -> tuple[float, float | None, float | None]:
        """Validity of (`B`, `S`) samples before projection, uniqueness among the valid, novelty among the unique."""
        from orchestrator.generate.dinas.checkpoint import known

        valid = self.space.is_legal(raw)
        if not valid.any():
            return 0.0, None, None
        unique = distinct(canonical(self.space, raw[valid]))
        return float(valid.mean()), len(unique) / int(valid.sum()), 1.0 - known(unique, self.checkpoint.trained_on)

    def sample(
        self, count: int, conditions: Conditions | None = None, seed: int = 0, elites: IntArray | None = None
    ) -> IntArray:
        """(`B`, `S`) samples as they come: not projected, repeats included.

        Args:
            count: `B`.
            conditions: What they shall be.
            seed: All randomness derives from it.
            elites: (`N`, `S`) of which some samples shall be variants.
        """
        import torch

        none = np.zeros((0, len(self.space.choices)), dtype=np.int64)
        generator = torch.Generator().manual_seed(seed)
        return self._conditional(count, conditions, none if elites is None else elites, generator)

    def _unguided(self, request: Request, generator: torch.Generator) -> tuple[IntArray, IntArray]:
        """The first `count` samples as they are, and distinct architectures, sampled on until there are enough.

        Where few architectures are as accurate as asked, accuracy gives way, never a budget: each time the share asked
        for doubles.
        """
        raw = np.zeros((0, len(self.space.choices)), dtype=np.int64)
        slots, conditions = raw, request.conditions
        for _ in range(_ROUNDS):
            wanted = 2 * (request.count - len(slots)) if len(raw) else request.count
            drawn = self._conditional(wanted, conditions, request.elites, generator)
            raw = raw if len(raw) else drawn
            slots = distinct(np.concatenate([slots, legalise(self.space, drawn)]))[: request.count]
            if len(slots) == request.count:
                break
            conditions = conditions and conditions.relaxed()
        return raw, slots

    def _budget(self, count: int) -> int:
        """Utility calls for `count` architectures; there is no use for more than the space has."""
        wanted = count * self._calls_per_architecture
        return wanted if self.space.size is None else min(wanted, self.space.size)

    def _targets(self, count: int, conditions: Conditions | None) -> list[Target]:
        """What each of `count` samples shall be: they take the conditions' targets in turn."""
        return list(islice(cycle(conditions.targets if conditions is not None else (Target(),)), count))

    def _denoise(self, targets: Sequence[Target]) -> Denoise:
        """The denoiser under conditions."""
        from orchestrator.generate.dinas.guidance import compose

        return compose(self.checkpoint.network, targets, margin=self._margin, **self._scales)

    def _conditional(
        self, count: int, conditions: Conditions | None, elites: IntArray, generator: torch.Generator
    ) -> IntArray:
        """(`B`, `S`) samples under conditions."""
        from orchestrator.generate.dinas.guidance import within_budgets

        targets = self._targets(count, conditions)
        drawn = self._sample(self._denoise(targets), count, elites, generator)

        def redraw(targets: Sequence[Target]) -> Tensor:
            return self._sample(self._denoise(targets), len(targets), elites[:0], generator)

        network = self.checkpoint.network
        return np.asarray(
            within_budgets(network, targets, drawn, redraw, margin=self._margin, rounds=self._redraws).numpy()
        )

    def _sample(self, denoise: Denoise, count: int, elites: IntArray, generator: torch.Generator) -> Tensor:
        """(`B`, `S`) samples, some from pure noise and, where there are elites, some from those re-noised.

        Both kinds share a batch: samples from noise descend to the elites' noise level, where the others join.
        """
        import torch

        from orchestrator.generate.dinas.sampler import sample, schedule

        transitions = self.checkpoint.network.transitions
        alphas = schedule(self._steps)
        renoised = round(self._elite_share * count) if len(elites) else 0
        joining = min(round((1 - self._elite_start) * self._steps), self._steps - 1) if renoised else 0
        with one_thread():
            z = transitions.prior(count - renoised, generator)
            z = sample(denoise, z, alphas[: joining + 1], transitions, generator=generator)
            if renoised:
                x0 = torch.from_numpy(elites)[torch.randint(len(elites), (renoised,), generator=generator)]
                z = torch.cat([z, transitions.corrupt(x0, torch.full((renoised,), alphas[joining]), generator)])
            return sample(denoise, z, alphas[joining:], transitions, generator=generator)


def _log_uniform(bounds: tuple[float, float], count: int, generator: torch.Generator) -> Tensor:
    """(`B`,) draws between two bounds, evenly in their logarithm."""
    import torch

    low, high = np.log(bounds)
    return (low + (high - low) * torch.rand(count, generator=generator)).exp()
