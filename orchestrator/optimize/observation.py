"""What is known about an architecture: the measured value of each metric, with its variance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Observed:
    """One measured value.

    Attributes:
        value: Accuracy in percent, latency in milliseconds.
        variance: Squared standard error of the value: percent squared for accuracy, of log latency for latency.
            0 for an exact value; None where it is unknown (the surrogate then learns one for all such values).
    """

    value: float
    variance: float | None = None


@dataclass(frozen=True)
class Observation:
    """What is known about one architecture.

    Attributes:
        slots: Its choices, length `S`.
        metrics: By the names that the goal uses, e.g. `accuracy` and `latency_ms[host]`; a metric that failed or is
            still being measured is absent.
    """

    slots: tuple[int, ...]
    metrics: Mapping[str, Observed]
