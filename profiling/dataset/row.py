"""DatasetRow: one latency, or the reason why there is none, with everything it takes to judge it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo, Failure, Grade, Measurement, Record

# Who ran a block is a column of its own; the stamp that agents put into conditions would repeat it.
_STAMP = "measured_on"

# What a row is about. Two rows of one source that agree in these are a duplicate.
KEY_COLUMNS = (
    "source_id",
    "space",
    "architecture",
    "input_shape",
    "classes_count",
    "network_options_json",
    "precision",
    "device",
    "serial_hash",
    "device_epoch",
    "delegate",
    "threads_count",
    "affinity_cpus",
    "clock",
    "purpose",
    "replicate_index",
)


@dataclass(frozen=True)
class Subject:
    """What was measured, before it is known where and how fast.

    Attributes:
        source_id: Which of the set's sources the row comes from.
        space: Kind of the search space; empty for model files.
        architecture: Canonical text, or the name of the model file.
        slots: Its choices; empty for model files.
        input_shape: Batch, height, width, channels; empty where unknown.
        classes_count: Outputs of the classifier; None where unknown.
        network_options_json: Sizes that the space builds its networks with, as a JSON object.
        precision: Of the artifact: `float32`, `float16`, `int8`, or `original`, a model file as it is.
        artifact_sha256: The `.tflite` that ran; empty where nothing was compiled.
        artifact_bytes, parameters_count, multiply_adds_count: Of the artifact and its network, where known.
        output_error_ratio: Distance of its outputs from the float32 model's, relative; None where that says nothing.
        purpose: Why it was measured: `search` or `verify` by a campaign, `collect`, or `overlap` on a second phone.
        replicate_index: Which of several phones of a kind that measured it, from 0.
    """

    source_id: str
    space: str
    architecture: str
    slots: tuple[int, ...] = ()
    input_shape: tuple[int, ...] = ()
    classes_count: int | None = None
    network_options_json: str = "{}"
    precision: str = "float32"
    artifact_sha256: str = ""
    artifact_bytes: int | None = None
    parameters_count: int | None = None
    multiply_adds_count: int | None = None
    output_error_ratio: float | None = None
    purpose: str = "search"
    replicate_index: int = 0


@dataclass(frozen=True)
class DatasetRow(Record):
    """One row; its fields are the columns of the set, in order, with units in their names.

    Texts that are not known are empty here and null in Parquet; numbers that are not known are None. Every number is
    finite. Either `latency_ms` is there, or `failure_code`.

    Attributes:
        device: What latencies are called by: the phones' model, a host's name.
        serial_hash: Which of the phones; salted by the lab that measured it, never the serial itself.
        device_epoch: What must be unchanged for latencies to be comparable: a build fingerprint.
        device_properties_json: Cores, memory, processor, as a JSON object.
        runtime, runtime_sha256: What executed the artifact; the file's hash where it is one file.
        affinity_cpus: Logical CPUs it was pinned to by request; empty: the device's own choice.
        clock: `wall` or `cpu`.
        target_half_width_ratio: Relative half-width that the measurement aimed at.
        latency_ms, ci_low_ms, ci_high_ms: The estimate and its 95 % interval.
        standard_error_log: Standard error of log latency.
        grade, grade_reasons: `A` to `F`, and why it is not `A`.
        failure_kind, failure_code, failure_detail: Why there is no latency.
        drift_suspect: The device's reference model was drifting around this measurement.
        reference_log_ratio: Of the last reference model before it, to what the device's chart expected.
        measured_at_unix_s: When the result arrived.
        blocks: Every block, rejected ones included.
    """

    source_id: str
    space: str
    architecture: str
    slots: tuple[int, ...]
    input_shape: tuple[int, ...]
    classes_count: int | None
    network_options_json: str
    precision: str
    artifact_sha256: str
    artifact_bytes: int | None
    parameters_count: int | None
    multiply_adds_count: int | None
    output_error_ratio: float | None
    purpose: str
    replicate_index: int
    device: str
    device_kind: str
    device_model: str
    serial_hash: str
    device_epoch: str
    device_abi: str
    device_properties_json: str
    runtime: str
    runtime_sha256: str
    delegate: str
    threads_count: int
    affinity_cpus: tuple[int, ...]
    clock: Literal["wall", "cpu"]
    target_half_width_ratio: float | None
    latency_ms: float | None
    ci_low_ms: float | None
    ci_high_ms: float | None
    standard_error_log: float | None
    grade: Grade | Literal[""]
    grade_reasons: tuple[str, ...]
    failure_kind: str
    failure_code: str
    failure_detail: str
    drift_suspect: bool
    reference_log_ratio: float | None
    measured_at_unix_s: float
    blocks: tuple[Block, ...]

    @classmethod
    def of(
        cls,
        subject: Subject,
        device: DeviceInfo,
        plan: MeasurementPlan,
        result: Measurement | Failure,
        *,
        at: float,
        blocks: Iterable[Block] = (),
        drift_suspect: bool = False,
    ) -> Self:
        """The row of a result.

        A measurement without an estimate (grade `F`) is a failure, `no_estimate`, that keeps its grade and reasons.

        Args:
            subject: What was measured.
            device: Where, under the name that the set is to call it by.
            plan: How.
            result: What came of it; blocks inside it are not looked at.
            at: When it arrived, seconds since the epoch.
            blocks: Its blocks.
            drift_suspect: See the attribute.
        """
        measurement = result if isinstance(result, Measurement) else None
        failure = result if isinstance(result, Failure) else _no_estimate(result)
        properties = dict(device.properties)
        reference, runner = properties.pop("reference", None), properties.get("runner")
        properties.pop("reproducibility_sd_log", None)  # changes from one measurement to the next, like the reference
        usable = measurement is not None and failure is None
        return cls(
            **vars(subject),
            device=device.name,
            device_kind=device.kind,
            device_model=device.model,
            serial_hash=device.serial_hash,
            device_epoch=device.epoch,
            device_abi=device.abi,
            device_properties_json=dump(properties),
            runtime=device.runtime,
            runtime_sha256=str(runner.get("sha256", "")) if isinstance(runner, Mapping) else "",
            delegate=plan.delegate,
            threads_count=plan.threads,
            affinity_cpus=tuple(plan.affinity),
            clock=plan.clock,
            target_half_width_ratio=measurement.target_half_width if measurement else plan.target_half_width,
            latency_ms=measurement.latency_ms if measurement and usable else None,
            ci_low_ms=_finite(measurement.ci_low_ms) if measurement and usable else None,
            ci_high_ms=_finite(measurement.ci_high_ms) if measurement and usable else None,
            standard_error_log=_finite(measurement.standard_error_log) if measurement and usable else None,
            grade=measurement.grade if measurement else "",
            grade_reasons=tuple(measurement.reasons) if measurement else (),
            failure_kind=failure.kind if failure else "",
            failure_code=failure.code if failure else "",
            failure_detail=failure.detail if failure else "",
            drift_suspect=drift_suspect,
            reference_log_ratio=_finite(reference.get("log_ratio")) if isinstance(reference, Mapping) else None,
            measured_at_unix_s=at,
            blocks=tuple(_unstamped(block) for block in blocks),
        )

    @property
    def key(self) -> bytes:
        """What the row is about, as 16 bytes: equal for duplicates within a source."""
        return digest([getattr(self, name) for name in KEY_COLUMNS])

    @property
    def content(self) -> bytes:
        """What the row says, whatever source says it, as 16 bytes: equal for one measurement that came two ways."""
        return digest({**vars(self), "source_id": ""})

    @property
    def half_width(self) -> float | None:
        """Relative half-width of the interval, on the log scale."""
        if self.ci_low_ms is None or self.ci_high_ms is None:
            return None
        return 0.5 * math.log(self.ci_high_ms / self.ci_low_ms)


def dump(values: Mapping[str, Any]) -> str:
    """A JSON object, the same text for the same values; numbers that JSON has no word for are null."""
    try:
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(_plain(values), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _no_estimate(measurement: Measurement) -> Failure | None:
    if measurement.grade != "F" and math.isfinite(measurement.latency_ms):
        return None
    return Failure("infrastructure", "no_estimate", "; ".join(measurement.reasons))


def _unstamped(block: Block) -> Block:
    conditions = {name: value for name, value in block.conditions.items() if name != _STAMP}
    return replace(block, conditions=_plain(conditions))


def _plain(value: Any) -> Any:
    """The same as JSON will give it back."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _finite(value) if isinstance(value, float) else value


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def digest(value: Any) -> bytes:
    """16 bytes that are equal for equal JSON values and records."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=vars)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
