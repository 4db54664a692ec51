"""What a conditional generator is asked for: accuracy, and latency budgets on devices.

A device is an input, described by the latencies of a model's reference architectures on it: a table, a block table, a
predictor or ten measurements give them. So a new budget, or another known device, needs no retraining.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from orchestrator.errors import ConfigError, Problem
from orchestrator.space.base import FloatArray, IntArray


@dataclass(frozen=True)
class DeviceBudget:
    """At most this latency on a device.

    Attributes:
        latency_ms: The budget.
        references_ms: Latency of each reference architecture of the model on that device, `R` of them.
        device: What messages call it.
        scale: How strongly to insist; None for the generator's own scale of latency.
    """

    latency_ms: float
    references_ms: tuple[float, ...]
    device: str = "the device"
    scale: float | None = None

    def __post_init__(self) -> None:
        problems = []
        if not (math.isfinite(self.latency_ms) and self.latency_ms > 0):
            problems.append(Problem(f"budget on {self.device}", self.latency_ms, "milliseconds above 0"))
        if not self.references_ms or not all(math.isfinite(each) and each > 0 for each in self.references_ms):
            problems.append(
                Problem(
                    f"device {self.device}", self.references_ms, "a latency above 0 of every reference architecture"
                )
            )
        if problems:
            raise ConfigError("conditions", problems)

    @classmethod
    def on(
        cls,
        latency_of: Callable[[IntArray], FloatArray],
        latency_ms: float,
        references: IntArray,
        device: str = "the device",
        scale: float | None = None,
    ) -> DeviceBudget:
        """A budget on a device whose latencies can be told: a table, a block table, a surrogate.

        Args:
            latency_of: (`B`,) milliseconds of (`B`, `S`) architectures.
            latency_ms: The budget.
            references: (`R`, `S`) the model's reference architectures.
            device: What messages call it.
            scale: As the attribute.
        """
        return cls(latency_ms, tuple(latency_of(references).tolist()), device, scale)


@dataclass(frozen=True)
class Target:
    """What one sample shall be; every part may be left out.

    Attributes:
        accuracy_quantile: In [0, 1): be better than this share of the architectures that meet the budgets.
        budgets: On as many devices as wanted.
        accuracy_scale: How strongly to insist on accuracy; None for the generator's own scale.
    """

    accuracy_quantile: float | None = None
    budgets: tuple[DeviceBudget, ...] = ()
    accuracy_scale: float | None = None

    def __post_init__(self) -> None:
        quantile = self.accuracy_quantile
        if quantile is not None and not 0 <= quantile < 1:
            raise ConfigError("conditions", [Problem("accuracy quantile", quantile, "at least 0, below 1 (e.g. 0.95)")])


@dataclass(frozen=True)
class Conditions:
    """Targets that samples take in turn: one for a single wish, several to cover a front in one batch."""

    targets: tuple[Target, ...]

    def __post_init__(self) -> None:
        if not self.targets:
            raise ConfigError("conditions", [Problem("targets", (), "at least one")])

    @classmethod
    def of(cls, accuracy_quantile: float | None = None, budgets: Sequence[DeviceBudget] = ()) -> Conditions:
        """The same target for every sample."""
        return cls((Target(accuracy_quantile, tuple(budgets)),))

    def relaxed(self) -> Conditions:
        """The same budgets, and twice the share in accuracy: for when too few architectures are as good as asked."""
        return Conditions(
            tuple(
                replace(target, accuracy_quantile=max(2 * target.accuracy_quantile - 1, 0.0))
                if target.accuracy_quantile is not None
                else target
                for target in self.targets
            )
        )
