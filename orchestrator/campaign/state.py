"""CampaignState: what a store says of a campaign, as the loop, the status, the report and the export see it.

States are derived from results, never stored, so a killed campaign has no candidate stuck in a wrong state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pydantic

from orchestrator.campaign.config import ACCURACY, Config, latency_metric
from orchestrator.errors import RunFolderError
from orchestrator.objective.base import AccuracyResult
from orchestrator.optimize.goal import Goal
from orchestrator.optimize.observation import Observation, Observed
from orchestrator.optimize.pareto import hypervolume, pareto_mask
from orchestrator.space.base import FloatArray
from profiling.records import Failure, Measurement
from profiling.store import CampaignStore, CandidateRow, NetworkRow, Outcome

CandidateStatus = Literal["running", "measured", "failed"]


@dataclass(frozen=True)
class Candidate:
    """A proposed architecture and everything that is known of it.

    Attributes:
        row: The proposal.
        network: What it was compiled to, once it was.
        accuracy: Its accuracy, once there is one.
        latencies: Device -> measurement (blocks are read from the store when needed).
        failures: Metric -> why there is no value.
        finished_at: When its last result arrived; 0 while running.
        wanted: Metrics a complete candidate has.
    """

    row: CandidateRow
    network: NetworkRow | None
    accuracy: AccuracyResult | None
    latencies: Mapping[str, Measurement]
    failures: Mapping[str, Failure]
    finished_at: float
    wanted: tuple[str, ...]

    @cached_property
    def metrics(self) -> dict[str, Observed]:
        """Metric -> value and variance, for the metrics that have one."""
        found: dict[str, Observed] = {}
        if self.accuracy is not None:
            error = self.accuracy.standard_error
            found[ACCURACY] = Observed(self.accuracy.accuracy, None if error is None else error**2)
        for device, measurement in self.latencies.items():
            found[latency_metric(device)] = Observed(measurement.latency_ms, measurement.standard_error_log**2)
        return found

    @property
    def missing(self) -> tuple[str, ...]:
        """Metrics that have neither a value nor a failure yet."""
        return tuple(metric for metric in self.wanted if metric not in self.metrics and metric not in self.failures)

    @property
    def status(self) -> CandidateStatus:
        """`failed` as soon as something it needs can never be had."""
        if any(metric in self.failures for metric in self.wanted):
            return "failed" if not self.missing else "running"
        return "running" if self.missing else "measured"

    @property
    def observation(self) -> Observation:
        """For the optimiser."""
        return Observation(self.row.slots, self.metrics)


@dataclass(frozen=True)
class CampaignState:
    """A snapshot of a campaign."""

    config: Config
    candidates: tuple[Candidate, ...]
    rounds: Mapping[int, Mapping[str, Any]]
    reference: tuple[float, ...] | None

    @cached_property
    def goal(self) -> Goal:
        """What the campaign looks for."""
        return self.config.parsed_goal()

    @cached_property
    def measured(self) -> tuple[Candidate, ...]:
        """Complete candidates in the order in which they became complete."""
        done = [candidate for candidate in self.candidates if candidate.status == "measured"]
        return tuple(sorted(done, key=lambda candidate: (candidate.finished_at, candidate.row.id)))

    @property
    def observations(self) -> list[Observation]:
        """Everything known, in the order of proposing, incomplete candidates included."""
        return [candidate.observation for candidate in self.candidates if candidate.metrics]

    def is_feasible(self, candidate: Candidate) -> bool:
        """Whether the candidate meets the goal's constraints."""
        return self.goal.is_feasible({name: observed.value for name, observed in candidate.metrics.items()})

    @cached_property
    def front(self) -> tuple[Candidate, ...]:
        """Feasible non-dominated candidates, most accurate first; for a constrained goal, the best one."""
        feasible = [candidate for candidate in self.measured if self.is_feasible(candidate)]
        if not feasible:
            return ()
        mask = pareto_mask(self.points(feasible))
        front = [candidate for candidate, kept in zip(feasible, mask, strict=True) if kept]
        return tuple(sorted(front, key=lambda c: (-c.metrics[self.goal.maximize].value, c.row.id)))

    def points(self, candidates: Sequence[Candidate]) -> FloatArray:
        """(`B`, `M`) objectives, larger is better: the accuracy, then minus log latency of each device."""
        points = [self.goal.point({name: seen.value for name, seen in c.metrics.items()}) for c in candidates]
        return np.array(points).reshape(len(candidates), len(self.goal.objectives))

    @cached_property
    def progress(self) -> FloatArray:
        """(`N`,) after each measured candidate: hypervolume, or the best feasible value for a constrained goal."""
        count = len(self.measured)
        if not self.goal.minimize:
            values = [c.metrics[self.goal.maximize].value if self.is_feasible(c) else -np.inf for c in self.measured]
            return np.maximum.accumulate(values) if values else np.zeros(0)
        if self.reference is None:
            return np.zeros(count)
        points = self.points(self.measured)
        feasible = np.array([self.is_feasible(c) for c in self.measured], dtype=bool)
        reference = np.array(self.reference)
        return np.array([hypervolume(points[: end + 1][feasible[: end + 1]], reference) for end in range(count)])

    @property
    def counts(self) -> dict[str, int]:
        """Candidates by status."""
        statuses = [candidate.status for candidate in self.candidates]
        return {status: statuses.count(status) for status in ("measured", "failed", "running")}


def read_config(store: CampaignStore) -> Config:
    """The configuration that a campaign was started with, as last continued.

    Files that it names need not exist here: a run folder may have been moved.

    Raises:
        RunFolderError: There is none, or it was written by another version.
    """
    values = store.meta("config")
    if values is None:
        raise RunFolderError(f"{store.path} holds no configuration", "it was not made by: nag run")
    try:
        return Config.model_validate(values)
    except pydantic.ValidationError as error:
        fields = ", ".join(".".join(str(part) for part in detail["loc"]) for detail in error.errors())
        raise RunFolderError(
            f"{store.path}: the stored configuration cannot be read: {fields}",
            "use the version of DeviceNAG that wrote it",
        ) from error


def stop_reason(store: CampaignStore, state: CampaignState) -> str | None:
    """Why the campaign stopped; None while it has not, or goes on with a larger budget."""
    finished = store.meta("finished")
    if finished is None or state.counts["running"]:
        return None
    newest = max((candidate.finished_at for candidate in state.candidates), default=0.0)
    return str(finished["reason"]) if finished["at"] >= newest else None


def read_state(store: CampaignStore, config: Config) -> CampaignState:
    """A snapshot of everything the store holds but the blocks."""
    networks, accuracies, measurements = store.networks(), store.accuracies(), store.measurements()
    by_candidate: dict[int, dict[str, Any]] = {}
    for (candidate, device), outcome in measurements.items():
        by_candidate.setdefault(candidate, {})[device] = outcome
    wanted = config.parsed_goal().metrics
    candidates = []
    for row in store.candidates():
        accuracy = accuracies.get(row.id)
        latencies = by_candidate.get(row.id, {})
        failures = {latency_metric(device): why for device, o in latencies.items() if (why := _failure(o)) is not None}
        if accuracy is not None and accuracy.failure is not None:
            failures[ACCURACY] = accuracy.failure
        times = [o.at for o in latencies.values()] + ([accuracy.at] if accuracy is not None else [])
        candidates.append(
            Candidate(
                row=row,
                network=networks.get(row.id),
                accuracy=AccuracyResult.from_json(accuracy.value) if accuracy and accuracy.value else None,
                latencies={d: o.value for d, o in latencies.items() if o.value is not None and _failure(o) is None},
                failures=failures,
                finished_at=max(times, default=0.0),
                wanted=wanted,
            )
        )
    reference = store.meta("reference")
    return CampaignState(config, tuple(candidates), store.rounds(), None if reference is None else tuple(reference))


def _failure(outcome: Outcome) -> Failure | None:
    """Why there is no latency. A NaN must never meet the optimiser: it would hide every front."""
    if outcome.value is not None and outcome.value.grade == "F":
        return Failure("infrastructure", "blocks_rejected", "; ".join(outcome.value.reasons))
    return outcome.failure
