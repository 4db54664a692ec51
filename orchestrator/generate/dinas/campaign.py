"""What a campaign asks of a conditional generator, made from what its surrogates expect.

In a campaign no table says what a device is: the surrogate's predictions at the reference architectures do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from orchestrator.generate.dinas.conditions import Conditions, DeviceBudget, Target
from orchestrator.generate.pool import width
from orchestrator.space.base import FloatArray, IntArray, Space, one_hot

if TYPE_CHECKING:
    from orchestrator.generate.base import Generator
    from orchestrator.predict.surrogates import Surrogate

_ALONG_FRONT = 16  # targets of a round
_BETTER_THAN = 0.97  # share of the architectures within its budgets that a target shall surpass


@runtime_checkable
class Conditional(Protocol):
    """A generator that knows a device by the latencies of its reference architectures."""

    @property
    def references(self) -> IntArray:
        """(`R`, `S`)."""
        ...

    @property
    def space(self) -> Space:
        """Of the references."""
        ...


@runtime_checkable
class Composite(Protocol):
    """A generator that asks others."""

    @property
    def parts(self) -> tuple[Generator, ...]:
        """Those."""
        ...


def campaign_conditions(
    generator: Generator, elites: IntArray, costs: Mapping[str, Surrogate], bounds: Mapping[str, float]
) -> Conditions | None:
    """The conditions of a round.

    Args:
        generator: The campaign's; of several, the first that takes conditions counts.
        elites: (`N`, `S`) the front so far; may be empty.
        costs: By metric, the surrogates of the latencies that the goal speaks of.
        bounds: By metric, the latency that the goal allows; of metrics that are minimised, none.

    Returns:
        None where the generator takes no conditions, or nothing can be asked yet.
    """
    conditional = _conditional(generator)
    if conditional is None:
        return None
    expected = {name: _expected_ms(surrogate, conditional.space) for name, surrogate in costs.items()}
    return along_front(conditional.references, elites, expected, bounds)


def _conditional(generator: Generator) -> Conditional | None:
    """The generator, or what it asks, if either takes conditions."""
    if isinstance(generator, Conditional):
        return generator
    parts = generator.parts if isinstance(generator, Composite) else ()
    return next(filter(None, map(_conditional, parts)), None)


def along_front(
    references: IntArray,
    elites: IntArray,
    latency_of: Mapping[str, Callable[[IntArray], FloatArray]],
    bounds: Mapping[str, float],
    accuracy_quantile: float = _BETTER_THAN,
) -> Conditions | None:
    """Targets that are as fast as points of the front, and more accurate.

    Args:
        references: (`R`, `S`) the generator's reference architectures.
        elites: (`N`, `S`) the front; may be empty.
        latency_of: By device, (`B`,) milliseconds of (`B`, `S`) architectures.
        bounds: By device, the latency that the goal allows; of devices whose latency is an objective, none.
        accuracy_quantile: Of every target.

    Returns:
        None where nothing can be asked: no latencies, or no front to ask them along.
    """
    if not latency_of or (not len(elites) and not bounds.keys() >= latency_of.keys()):
        return None
    known = {name: tuple(latency(references).tolist()) for name, latency in latency_of.items()}
    reached = {name: latency(elites) for name, latency in latency_of.items() if name not in bounds}

    def target(row: int) -> Target:
        limits = {name: bounds[name] if name in bounds else float(reached[name][row]) for name in known}
        return Target(accuracy_quantile, tuple(DeviceBudget(limits[name], known[name], name) for name in known))

    count = max(len(elites), 1)
    rows = np.linspace(0, count - 1, min(count, _ALONG_FRONT)).round().astype(int)
    return Conditions(tuple(dict.fromkeys(target(row) for row in rows)))


def _expected_ms(surrogate: Surrogate, space: Space) -> Callable[[IntArray], FloatArray]:
    """(`B`,) median of what a surrogate of latency expects of (`B`, `S`) architectures."""

    def expected(slots: IntArray) -> FloatArray:
        import torch

        with torch.no_grad():
            mean, _ = surrogate.marginal(torch.from_numpy(one_hot(slots, width(space))))
        return np.exp(mean.numpy())

    return expected
