"""The DiffusionNAG generator: score network, sampler and guidance put together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from orchestrator.generate.base import Proposal, Request
from orchestrator.generate.pool import distinct, keys, top_up, width
from orchestrator.space.base import IntArray, Space, canonical

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from orchestrator.generate.diffusion_nag.sampler import Denoiser
    from orchestrator.generate.memory import Memory

_SMALLEST_BATCH = 8
_BATCH = 128  # samples of a guided round: later rounds start partly from the best of the earlier ones
_CALLS_PER_SAMPLE = 10  # about as many different architectures does one guided sample meet on its way
_BEST_MET = 16  # architectures that count as elites beside the request's own
_FRUITFUL = 0.25  # new architectures a sample; rounds that meet fewer have collapsed, and end the sampling
_RATES = (1.0, 10.0)  # of the multipliers of limits: a tenth beyond a limit adds 0.1 to 1 of the score's own pull
_TOP_UP_ROUNDS = 8  # of sampling, before what is missing is drawn uniformly


class DiffusionNAG:
    """Samples architectures from a score network, steered by the utility's gradient (An et al., ICLR 2024).

    Guided, it samples in rounds until its calls are spent, and returns the best architectures that the denoised
    estimates met on their way (`guidance`); the rounds after the first start partly from re-noised elites, which is
    local search in the form of diffusion. A utility without a gradient ranks plain samples. Unguided, it samples.

    >>> from orchestrator.space.nasbench201 import NASBench201
    >>> DiffusionNAG(NASBench201()).propose(Request(count=4, seed=1)).slots.shape
    (4, 6)
    """

    name = "diffusion_nag"

    def __init__(
        self,
        space: Space,
        *,
        checkpoint: Path | Literal["quality", "untrained"] | None = None,
        sampler: Literal["ancestral", "dpmpp_2m"] = "ancestral",
        steps: Annotated[int, Field(ge=2, le=1000)] = 20,
        calls_per_architecture: Annotated[int, Field(ge=1)] = 4,
        strength: Annotated[tuple[float, float], Field(description="weakest and strongest guidance")] = (4.0, 40.0),
        elite_share: Annotated[float, Field(ge=0, le=1)] = 0.5,
        elite_start: Annotated[float, Field(gt=0, le=1)] = 0.6,
    ) -> None:
        """Args:
        space: Where to propose from.
        checkpoint: The score network; None for the one that ships with the package, of the uniform prior; `quality` for
            the one whose prior prefers what is good for its work; `untrained` for independent uniform slots.
        sampler: How the reverse process is solved.
        steps: `T`, denoiser evaluations of one sample.
        calls_per_architecture: With a utility, architectures evaluated for each one returned.
        strength: Range of the guidance strength w, drawn log-uniformly for each sample.
        elite_share: Share of the samples that start from re-noised elites, where there are any.
        elite_start: Time t in (0, 1] up to which elites are re-noised; 1 forgets them.

        Raises:
            CheckpointError: The score network cannot be used.
        """
        # Torch is imported here and below, not above, so that options can be checked without loading it.
        from orchestrator.generate.diffusion_nag.checkpoint import make_checkpoint

        self.space = space
        self.checkpoint = make_checkpoint(space, checkpoint)
        self._sampler = sampler
        self._steps = steps
        self._calls_per_architecture = calls_per_architecture
        self._strength = strength
        self._elite_share = elite_share
        self._elite_start = elite_start

    def propose(self, request: Request) -> Proposal:
        """`count` different architectures, best first where there is a utility."""
        import torch

        started = time.perf_counter()
        generator = torch.Generator().manual_seed(request.seed)
        if request.utility is None:
            raw, slots, calls = *self._unguided(request, generator), 0
        else:
            from orchestrator.generate.memory import Memory

            memory = Memory(request.utility, self.space, self._budget(request.count))
            raw = self.explore(memory, request.elites, generator)
            slots, calls = memory.best(request.count), memory.calls
        slots = top_up(self.space, slots, request.count, np.random.default_rng(request.seed))
        validity, uniqueness, novelty = self.quality(raw)
        return Proposal(slots, validity, calls, time.perf_counter() - started, uniqueness, novelty)

    def explore(self, memory: Memory, elites: IntArray, generator: torch.Generator) -> Tensor:
        """(`B`, `S`, `V`) samples, drawn until a memory's budget is spent or nothing new is met.

        Args:
            memory: Evaluates what the samples meet on their way; the samples themselves where there is no gradient.
            elites: (`N`, `S`) good architectures so far; may be empty.
            generator: All randomness.
        """
        import torch

        if not memory.differentiable:
            raw = self._sample(memory.budget, elites, generator)
            memory.rows(self._project(raw))
            return raw
        batch = min(max(memory.budget // _CALLS_PER_SAMPLE, _SMALLEST_BATCH), _BATCH)
        rounds: list[Tensor] = []
        while True:
            met, best = memory.calls, memory.best(_BEST_MET)
            known = np.concatenate([elites, best]) if len(elites) else best
            rounds.append(self._sample(batch, known, generator, self._guide(memory, batch, generator)))
            if memory.exhausted or memory.calls - met < _FRUITFUL * batch:
                return torch.cat(rounds)

    def quality(self, raw: Tensor) -> tuple[float, float | None, float | None]:
        """Validity of (`B`, `S`, `V`) samples before projection, uniqueness among the valid, novelty among the unique.

        Valid as in DiffusionNAG: scaled back to [0, 1] and cut at 0.5, each slot names exactly one choice (and the
        space calls the whole legal). That is asked of slots without effect, too.
        """
        valid = ((raw >= 0).sum(dim=2) == 1).all(dim=1).numpy()
        chosen = raw.argmax(dim=2).numpy()
        valid &= self.space.is_legal(chosen)
        if not valid.any():
            return 0.0, None, None
        unique = distinct(canonical(self.space, chosen[valid]))
        novelty = None
        if self._trained_on is not None:
            novelty = sum(key not in self._trained_on for key in keys(unique)) / len(unique)
        return float(valid.mean()), len(unique) / int(valid.sum()), novelty

    def _unguided(self, request: Request, generator: torch.Generator) -> tuple[Tensor, IntArray]:
        """The first `count` samples as they are, and distinct architectures, sampled on until there are enough."""
        raw = self._sample(request.count, request.elites, generator)
        slots = distinct(self._project(raw))
        for _ in range(_TOP_UP_ROUNDS):
            if len(slots) >= request.count:
                break
            more = self._sample(2 * (request.count - len(slots)), request.elites, generator)
            slots = distinct(np.concatenate([slots, self._project(more)]))
        return raw, slots

    def _guide(self, memory: Memory, batch: int, generator: torch.Generator) -> Denoiser:
        """The denoiser, guided, each of a batch of samples in a way of its own."""
        from orchestrator.generate.diffusion_nag.guidance import Guide

        return Guide(
            self._denoise,
            memory,
            self.space,
            strengths=_log_uniform(self._strength, batch, generator),
            rates=_log_uniform(_RATES, batch, generator),
            sigma_min=self.checkpoint.sde.sigma_min,
        )

    def _budget(self, count: int) -> int:
        """Utility calls for `count` architectures; there is no use for more than the space has."""
        wanted = count * self._calls_per_architecture
        return wanted if self.space.size is None else min(wanted, self.space.size)

    def _sample(
        self, count: int, elites: IntArray, generator: torch.Generator, denoiser: Denoiser | None = None
    ) -> Tensor:
        """(`B`, `S`, `V`) samples, some from pure noise and, where there are elites, some from those re-noised.

        Both kinds share a batch: samples from noise descend to the elites' noise level, where the others join.
        """
        import torch

        from orchestrator.generate.diffusion_nag.sampler import SAMPLERS
        from orchestrator.generate.diffusion_nag.sde import encode, perturb

        sde, sample = self.checkpoint.sde, SAMPLERS[self._sampler]
        renoised = round(self._elite_share * count) if len(elites) else 0
        sigmas = sde.schedule(self._steps)
        joining = min(round((1 - self._elite_start) * (self._steps - 1)), self._steps - 1) if renoised else 0
        x = sde.prior((count - renoised, len(self.space.choices), width(self.space)), generator)
        with _one_thread():
            x = sample(denoiser or self._denoise, x, sigmas[: joining + 1], generator=generator)
            if renoised:
                chosen = torch.randint(len(elites), (renoised,), generator=generator)
                x0 = encode(elites[chosen.numpy()], width(self.space))
                x = torch.cat([x, perturb(x0, sigmas[joining].expand(renoised), generator)])
            return sample(denoiser or self._denoise, x, sigmas[joining:], generator=generator)

    def _denoise(self, x: Tensor, sigma: float) -> Tensor:
        """E[x_0 | x_t] of (`B`, `S`, `V`)."""
        import torch

        with torch.no_grad():
            denoised: Tensor = self.checkpoint.network(x, torch.full((len(x),), sigma))
            return denoised

    def _project(self, raw: Tensor) -> IntArray:
        """(`B`, `S`) legal architectures nearest to the samples."""
        return self.space.project(raw.double().numpy())

    @cached_property
    def _trained_on(self) -> frozenset[bytes] | None:
        """Keys of the training set, where it can be made again."""
        slots = self.checkpoint.training_set.architectures(self.space)
        return None if slots is None else frozenset(keys(slots))


def _log_uniform(bounds: tuple[float, float], count: int, generator: torch.Generator) -> Tensor:
    """(`B`,) draws between two bounds, evenly in their logarithm."""
    import torch

    low, high = np.log(bounds)
    return (low + (high - low) * torch.rand(count, generator=generator)).exp()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keeps torch to one thread: batches are so small that several wait for each other longer than they compute.

    On a machine that is busy otherwise (training, measuring) the waiting costs ten times the computing.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
