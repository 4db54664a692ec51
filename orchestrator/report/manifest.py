"""Manifest: what an export holds and what is known of it, as the JSON that lies beside the files."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from orchestrator.campaign.config import Config, latency_metric
from orchestrator.campaign.state import Candidate
from orchestrator.optimize.goal import Goal
from orchestrator.report.run import Run
from profiling.network import Network
from profiling.precision import Precision
from profiling.records import Measurement

SCHEMA_VERSION = 1
KIND = "devicenag_export"
WeightsOrigin = Literal["trained", "random"]


@dataclass(frozen=True)
class FileEntry:
    """A file of the export."""

    file: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class LatencyEntry:
    """A latency with its 95 % interval.

    Attributes:
        artifact_sha256: What ran: compiled with fixed random weights while searching, with trained ones when
            verified; empty for tables.
        device: Its identity, with name and version of the runtime.
    """

    latency_ms: float
    ci_low_ms: float
    ci_high_ms: float
    standard_error_log: float
    grade: str
    artifact_sha256: str
    device: dict[str, Any]

    @classmethod
    def of(cls, measurement: Measurement) -> LatencyEntry:
        """The entry of a measurement."""
        return cls(
            latency_ms=measurement.latency_ms,
            ci_low_ms=measurement.ci_low_ms,
            ci_high_ms=measurement.ci_high_ms,
            standard_error_log=measurement.standard_error_log,
            grade=measurement.grade,
            artifact_sha256=measurement.artifact_sha256,
            device=measurement.device.to_json(),
        )


@dataclass(frozen=True)
class Winner:
    """An exported candidate.

    Attributes:
        name: What its files are called.
        campaign: Name and seed of the campaign, round and id of the candidate, and what proposed it.
        architecture, slots: In the space's own notation, and as choices.
        space: Its kind, the input shape (batch, height, width, channels), the classes and the space's own sizes.
        artifact: The `.tflite`.
        precision: Of the artifact.
        float_agreement: Share of validation images that it puts into the same class as its float32 form; None where it
            is float32 itself, or the campaign has no images.
        weights: `trained`, or `random` where the accuracy objective kept none: then the network answers nonsense.
        weights_file: The trained weights.
        measured_artifact_sha256: What was measured while searching: the same network with fixed random weights.
        parameters, multiply_adds: Of the network.
        accuracy: `value`, `unit`, `standard_error` (in that unit) and the objective's `details`; None without one.
        latency: Device -> as measured while searching.
        verified: Device -> as measured again.
        failures: Metric -> why there is no value.
        feasible: Whether it meets the goal's constraints; None while a value is missing.
        on_front: Whether it is on the campaign's front (or its best).
    """

    name: str
    campaign: dict[str, Any]
    architecture: str
    slots: tuple[int, ...]
    space: dict[str, Any]
    artifact: FileEntry
    precision: Precision
    float_agreement: float | None
    weights: WeightsOrigin
    weights_file: FileEntry | None
    measured_artifact_sha256: str | None
    parameters: int
    multiply_adds: int
    accuracy: dict[str, Any] | None
    latency: dict[str, LatencyEntry]
    verified: dict[str, LatencyEntry]
    failures: dict[str, dict[str, Any]]
    feasible: bool | None
    on_front: bool
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the `schema_version` first."""
        values = _finite(asdict(self))
        return {"schema_version": values.pop("schema_version"), **values}


@dataclass(frozen=True)
class Manifest:
    """A whole export.

    Attributes:
        campaign: Name of the campaign.
        seed: Its seed.
        goal: `maximize`, `minimize` and `subject_to`, as a configuration spells them.
        environment: Versions and platform of the process that started the campaign.
        winners: The exported candidates.
        files: Every file but the manifest itself.
    """

    campaign: str
    seed: int
    goal: dict[str, Any]
    environment: dict[str, Any]
    winners: tuple[Winner, ...]
    files: tuple[FileEntry, ...]
    kind: str = KIND
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, `kind` and `schema_version` first."""
        values = _finite(asdict(self))
        return {"kind": values.pop("kind"), "schema_version": values.pop("schema_version"), **values}


def _finite(value: Any) -> Any:
    """The same with None for what JSON has no word for: the open interval of a single block, a diverged loss."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def goal_json(goal: Goal) -> dict[str, Any]:
    """The goal as a configuration spells it, nothing left to defaults."""
    bounds = [str(constraint) for constraint in goal.subject_to]
    return {"maximize": goal.maximize, "minimize": list(goal.minimize), "subject_to": bounds}


def make_winner(
    run: Run,
    candidate: Candidate,
    name: str,
    network: Network,
    artifact: FileEntry,
    weights_file: FileEntry | None,
    float_agreement: float | None,
) -> Winner:
    """What is known of a candidate."""
    config, row, accuracy = run.state.config, candidate.row, candidate.accuracy
    verified = {device: run.verified.get((row.id, device)) for device in run.devices}
    return Winner(
        name=name,
        campaign={
            "name": config.name,
            "seed": config.seed,
            "candidate": row.id,
            "candidate_seed": row.seed,
            "round": row.round,
            "origin": row.origin,
        },
        architecture=row.architecture,
        slots=row.slots,
        space=_space(config),
        artifact=artifact,
        precision=config.measure.precision,
        float_agreement=float_agreement,
        weights="random" if weights_file is None else "trained",
        weights_file=weights_file,
        measured_artifact_sha256=candidate.network.artifact_sha256 if candidate.network else None,
        parameters=network.parameters,
        multiply_adds=network.multiply_adds,
        accuracy=None
        if accuracy is None
        else {
            "value": accuracy.accuracy,
            "unit": "percent" if run.accuracy_unit else "score",
            "standard_error": accuracy.standard_error,
            "details": accuracy.details,
        },
        latency={device: LatencyEntry.of(measurement) for device, measurement in candidate.latencies.items()},
        verified={device: LatencyEntry.of(found) for device, found in verified.items() if found is not None},
        failures={metric: failure.to_json() for metric, failure in candidate.failures.items()},
        feasible=run.state.is_feasible(candidate) if candidate.status == "measured" else None,
        on_front=row.id in {winner.row.id for winner in run.state.front},
    )


def _space(config: Config) -> dict[str, Any]:
    options = config.space.network_options()
    return {
        "kind": config.space.kind,
        "input_shape": list(options.input_shape),
        "classes": options.classes,
        "options": options.options,
    }


def pareto_rows(run: Run, names: dict[int, str]) -> list[dict[str, Any]]:
    """The campaign's front as rows; every column name has its unit.

    Args:
        run: The run.
        names: Candidate -> what its exported files are called.
    """
    unit = "percent" if run.accuracy_unit else "score"
    rows = []
    for candidate in run.state.front:
        accuracy, network = candidate.accuracy, candidate.network
        row: dict[str, Any] = {
            "candidate": candidate.row.id,
            "name": names.get(candidate.row.id),
            "architecture": candidate.row.architecture,
            f"accuracy_{unit}": accuracy.accuracy if accuracy else None,
            f"accuracy_standard_error_{unit}": accuracy.standard_error if accuracy else None,
        }
        for device in run.devices:
            row |= _latency_columns(
                device, candidate.latencies.get(device), run.verified.get((candidate.row.id, device))
            )
        row["parameters_count"] = network.parameters if network else None
        row["multiply_adds_count"] = network.multiply_adds if network else None
        rows.append({**row, "round": candidate.row.round, "origin": candidate.row.origin})
    return rows


def _latency_columns(device: str, measured: Measurement | None, verified: Measurement | None) -> dict[str, Any]:
    return {
        latency_metric(device): measured.latency_ms if measured else None,
        f"ci_low_ms[{device}]": measured.ci_low_ms if measured else None,
        f"ci_high_ms[{device}]": measured.ci_high_ms if measured else None,
        f"standard_error_log[{device}]": measured.standard_error_log if measured else None,
        f"grade[{device}]": measured.grade if measured else None,
        f"verified_latency_ms[{device}]": verified.latency_ms if verified else None,
    }
