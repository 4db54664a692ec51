"""Tables as data: rounds, devices, failures, environment. `page` writes them down."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.campaign.config import ACCURACY, latency_metric
from orchestrator.report.run import LatencyRecord, Run
from profiling.records import DeviceInfo, Failure


@dataclass(frozen=True)
class RoundRow:
    """What a round proposed and what became of it.

    Attributes:
        round: Its number, from 0.
        at: When it was proposed, seconds since the epoch.
        origins: Proposer -> candidates.
        measured, failed, running: Candidates by status.
        seconds: Fitting, generating and selecting.
        generator: The generator's own account (validity before projection, utility calls, ...).
    """

    round: int
    at: float
    origins: Mapping[str, int]
    measured: int
    failed: int
    running: int
    seconds: float | None
    generator: Mapping[str, Any] = field(default_factory=dict)


def round_rows(run: Run) -> tuple[RoundRow, ...]:
    """The rounds in order."""
    rows = []
    for index, info in run.state.rounds.items():
        members = [candidate for candidate in run.state.candidates if candidate.row.round == index]
        statuses = Counter(candidate.status for candidate in members)
        rows.append(
            RoundRow(
                round=index,
                at=info["at"],
                origins=Counter(candidate.row.origin for candidate in members),
                measured=statuses["measured"],
                failed=statuses["failed"],
                running=statuses["running"],
                seconds=info.get("seconds"),
                generator=info.get("generator") or {},
            )
        )
    return tuple(rows)


@dataclass(frozen=True)
class DeviceRow:
    """A device and how well it measured.

    Attributes:
        info: Its identity as of its last measurement; only name and kind before there is one.
        measured, failed: Latencies of candidates and of verified winners.
        blocks, rejected: Blocks run, and how many of them were not used.
        grades: Grade -> measurements.
        half_width: Median relative half-width of the 95 % intervals; None without measurements.
        epochs: How many different systems measured under this name; more than 1 means the device changed.
    """

    info: DeviceInfo
    measured: int
    failed: int
    blocks: int
    rejected: int
    grades: Mapping[str, int]
    half_width: float | None
    epochs: int


def device_rows(run: Run) -> tuple[DeviceRow, ...]:
    """The campaign's devices in the order of its configuration."""
    return tuple(
        _device_row(DeviceInfo(name, device.kind), [record for record in run.latencies if record.device == name])
        for device in run.state.config.devices
        for name in device.names
    )


def _device_row(info: DeviceInfo, records: list[LatencyRecord]) -> DeviceRow:
    measurements = [record.measurement for record in records if record.measurement is not None]
    blocks = [block for record in records for block in record.blocks]
    return DeviceRow(
        info=measurements[-1].device if measurements else info,
        measured=len(measurements),
        failed=sum(record.failure is not None for record in records),
        blocks=len(blocks),
        rejected=sum(block.status == "rejected" for block in blocks),
        grades=dict(sorted(Counter(measurement.grade for measurement in measurements).items())),
        half_width=statistics.median(measurement.half_width for measurement in measurements) if measurements else None,
        epochs=len({measurement.device.epoch for measurement in measurements}),
    )


@dataclass(frozen=True)
class FailureRow:
    """A result that could not be had."""

    candidate: int
    architecture: str
    metric: str
    while_verifying: bool
    failure: Failure


def failure_rows(run: Run) -> tuple[FailureRow, ...]:
    """Every failure, by candidate; those of verifying after those of searching."""
    rows = [
        FailureRow(candidate.row.id, candidate.row.architecture, ACCURACY, False, candidate.failures[ACCURACY])
        for candidate in run.state.candidates
        if ACCURACY in candidate.failures
    ]
    for record in run.latencies:
        if record.failure is not None:
            architecture = run.candidates[record.candidate].row.architecture
            metric, verifying = latency_metric(record.device), record.purpose == "verify"
            rows.append(FailureRow(record.candidate, architecture, metric, verifying, record.failure))
    return tuple(sorted(rows, key=lambda row: (row.while_verifying, row.candidate, row.metric)))


def environment_rows(run: Run) -> tuple[tuple[str, str], ...]:
    """(name, value) of everything kept about the program that ran the campaign; nested names are joined by a space."""
    return tuple(flat(run.environment))


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(name, value) of nested values; names are joined by a space."""
    for key, value in values.items():
        name = f"{prefix} {key}".strip()
        if isinstance(value, Mapping):
            yield from flat(value, name)
        else:
            yield name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
