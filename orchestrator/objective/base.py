"""The Objective protocol: accuracy of a candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from orchestrator.space.base import Architecture, NetworkOptions


@dataclass(frozen=True)
class AccuracyJob:
    """One accuracy to be had.

    Attributes:
        candidate: Its id within the campaign.
        architecture: What to evaluate.
        network: Input shape, classes and sizes of the network.
        seed: All randomness of this evaluation derives from it.
        folder: Where the objective may keep files (weights); owned by this candidate.
        yield_host: Called often (at least several times a second) while computing on this host; it blocks while a
            latency block runs, so that training never disturbs measuring.
    """

    candidate: int
    architecture: Architecture
    network: NetworkOptions
    seed: int
    folder: Path
    yield_host: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class AccuracyResult:
    """An accuracy.

    Attributes:
        accuracy: Percent, 0..100 (proxies: their own scale).
        standard_error: Of `accuracy`, in its unit; None when unknown, 0 for exact values (tables, predictors).
        seconds: Wall time of the evaluation.
        weights: Safetensors file of the trained weights, where there are any.
        details: Anything else worth keeping (epochs, losses, the command's own output).
    """

    accuracy: float
    standard_error: float | None = None
    seconds: float = 0.0
    weights: Path | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "weights": None if self.weights is None else str(self.weights)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        weights = values.get("weights")
        return cls(**{**values, "weights": None if weights is None else Path(weights)})


@runtime_checkable
class Objective(Protocol):
    """Gives accuracies. Every implementation passes `tests/contracts/objective_contract.py`."""

    @property
    def name(self) -> str:
        """The `kind` used in configs."""
        ...

    @property
    def uses_host(self) -> bool:
        """Whether it computes on this machine, so that it must not run beside a latency block of the host."""
        ...

    def evaluate(self, job: AccuracyJob) -> AccuracyResult:
        """Raises ObjectiveFailed when this candidate's accuracy cannot be had."""
        ...

    def close(self) -> None:
        """Release everything; stops a running evaluation; idempotent."""
        ...
