"""The Generator protocol: proposes architectures, steered by a utility."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from orchestrator.space.base import IntArray, Space

if TYPE_CHECKING:
    import torch

    from orchestrator.generate.dinas.conditions import Conditions


class Utility(Protocol):
    """What a generator maximises: an acquisition function, a predictor, or any score.

    It is evaluated on relaxed architectures, so that gradients exist, and is exact at one-hot vertices.
    """

    @property
    def differentiable(self) -> bool:
        """Whether autograd through the call gives a useful gradient."""
        ...

    def __call__(self, slots: torch.Tensor) -> torch.Tensor:
        """(`B`,) scores, higher is better, of (`B`, `S`, `V`) relaxed one-hot architectures in float64."""
        ...


@dataclass(frozen=True)
class Terms:
    """A utility taken apart: u = score - penalty * sum over limits of relu(excess).

    Attributes:
        score: (`B`,) what is maximised.
        excess: (`B`, `K`) by which share of itself each of `K` limits is exceeded; at most 0 where it is kept.
        penalty: Units of the score that one unit of excess costs.
    """

    score: torch.Tensor
    excess: torch.Tensor
    penalty: float

    @property
    def utility(self) -> torch.Tensor:
        """(`B`,) put together again."""
        return self.score - self.penalty * self.excess.relu().sum(dim=1)


@runtime_checkable
class ConstrainedUtility(Utility, Protocol):
    """A utility that can be taken apart.

    Within its limits the gradient of the whole does not know of them; that of the parts says what each change costs.
    """

    def terms(self, slots: torch.Tensor) -> Terms:
        """Score and excesses of (`B`, `S`, `V`) relaxed architectures."""
        ...


def terms_of(utility: Utility, slots: torch.Tensor) -> Terms:
    """Score and excesses of (`B`, `S`, `V`) architectures; what cannot be taken apart is all score."""
    if isinstance(utility, ConstrainedUtility):
        return utility.terms(slots)
    score = utility(slots)
    return Terms(score, score[:, None][:, :0], 0.0)


class CountedUtility:
    """Wraps a utility and counts architectures evaluated (forward, or forward and backward, of one = 1)."""

    def __init__(self, utility: Utility) -> None:
        """Args:
        utility: What is counted.
        """
        self._utility = utility
        self.calls = 0

    @property
    def differentiable(self) -> bool:
        """As the wrapped utility."""
        return self._utility.differentiable

    def __call__(self, slots: torch.Tensor) -> torch.Tensor:
        """(`B`,) scores of (`B`, `S`, `V`)."""
        self.calls += slots.shape[0]
        return self._utility(slots)

    def terms(self, slots: torch.Tensor) -> Terms:
        """Score and excesses of (`B`, `S`, `V`), for the price of a call."""
        self.calls += slots.shape[0]
        return terms_of(self._utility, slots)


@dataclass(frozen=True)
class Request:
    """What is asked of a generator.

    Attributes:
        count: Architectures wanted.
        utility: What to maximise; None for unguided generation.
        elites: (`N`, `S`) good architectures so far, best first (e.g. the Pareto front); may be empty.
        seed: All randomness derives from it.
        conditions: What samples shall be, for generators that are trained on conditions (`dinas`); others ignore it.
    """

    count: int
    utility: Utility | None = None
    elites: IntArray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    seed: int = 0
    conditions: Conditions | None = None


@dataclass(frozen=True)
class Proposal:
    """What a generator made.

    Attributes:
        slots: (`B`, `S`) legal architectures; fewer than asked only if the space has no more.
        validity_unprojected: Share of raw samples that were legal before projection.
        utility_calls: Architectures whose utility was evaluated.
        seconds: Wall time.
        uniqueness: Share of the legal raw samples that differ, before topping up; None where nothing was sampled.
        novelty: Share of those that the generator was not trained on; None where there is no training set to ask.
        origins: (`B`,) name of the generator that made each architecture, where several did; else empty.
    """

    slots: IntArray
    validity_unprojected: float
    utility_calls: int
    seconds: float
    uniqueness: float | None = None
    novelty: float | None = None
    origins: tuple[str, ...] = ()


@runtime_checkable
class Generator(Protocol):
    """Proposes architectures of one space. Every implementation passes `tests/contracts/generator_contract.py`."""

    @property
    def name(self) -> str:
        """The `kind` used in configs."""
        ...

    @property
    def space(self) -> Space:
        """The space it proposes from."""
        ...

    def propose(self, request: Request) -> Proposal:
        """Legal architectures, the same for the same request.

        Raises:
            CheckpointError: Its weights cannot be used.
        """
        ...
