"""Records of measuring: blocks, measurements, devices, failures.

All are frozen and convert to plain JSON values and back (`to_json` / `from_json`), which is how the store and the
exports keep them. `SCHEMA_VERSION` grows when a field changes its meaning.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

SCHEMA_VERSION = 1

Grade = Literal["A", "B", "C", "F"]
FailureKind = Literal["model", "infrastructure", "timeout", "user"]


class Record:
    """JSON conversion for the frozen dataclasses below."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, nested records included."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The record that `to_json` wrote; unknown keys are ignored, so that newer files stay readable."""
        hints = typing.get_type_hints(cls)
        names = [item.name for item in dataclasses.fields(cls)]  # type: ignore[arg-type]
        return cls(**{name: _revive(hints[name], values[name]) for name in names if name in values})


def _revive(hint: Any, value: Any) -> Any:
    """Nested records and tuples of them from their JSON form."""
    if value is None:
        return None
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _revive(next(a for a in arguments if a is not type(None)), value)
    if isinstance(hint, type) and issubclass(hint, Record):
        return hint.from_json(value)
    if origin is tuple:
        return tuple(_revive(arguments[0], item) for item in value)
    return value


@dataclass(frozen=True)
class Failure(Record):
    """Why something could not be measured.

    Attributes:
        kind: `model` (this model on this runtime never works: do not retry), `infrastructure` (retry elsewhere or
            later), `timeout` (a hard deadline passed), `user` (the request itself is wrong).
        code: Short stable identifier, e.g. `unsupported_operator`, `crash`, `deadline`.
        detail: One sentence for people.
        stderr_tail: The end of what the runner printed on standard error.
    """

    kind: FailureKind
    code: str
    detail: str
    stderr_tail: str = ""


@dataclass(frozen=True)
class DeviceInfo(Record):
    """Identity of a device; `epoch` changes when its system does (a new build fingerprint is a new device).

    Attributes:
        name: How configs, metrics (`latency_ms[NAME]`) and people call it.
        kind: `host`, `table`, `adb`, `virtual`, ...
        model: Marketing or processor name.
        serial_hash: Salted hash of the serial; never the serial itself.
        epoch: What must be unchanged for latencies to be comparable.
        abi: e.g. `x86_64`, `arm64-v8a`.
        runtime: Name and version of what executes artifacts, e.g. `ai-edge-litert 2.3.0`.
        properties: Anything else worth keeping (cores, clusters, governor, memory).
    """

    name: str
    kind: str
    model: str = ""
    serial_hash: str = ""
    epoch: str = ""
    abi: str = ""
    runtime: str = ""
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Block(Record):
    """One process on the device that ran one artifact `runs` times: the unit of measurement.

    Attributes:
        index: Position within its measurement, from 0.
        runs: Timed inferences.
        statistic: What `value_ms` is: `median` of the runs, `mean` (old runners print no median), or `table`.
        value_ms: The block's latency.
        min_ms, p5_ms, mean_ms, p95_ms, max_ms, std_ms: Spread of the runs where the runner reports them.
        init_ms, first_ms: Start-up of the interpreter and the first inference.
        started_at: Seconds since the epoch.
        duration_s: Wall time of the block's process.
        status: `ok`, or `rejected` with `reason`; rejected blocks are kept but not used.
        reason: e.g. `throttled`, `affinity_changed`, `not_steady`.
        conditions: Read back around the block: threads, affinity, frequency_khz, temp_c, load.
    """

    index: int
    runs: int
    statistic: Literal["median", "mean", "table"]
    value_ms: float
    min_ms: float | None = None
    p5_ms: float | None = None
    mean_ms: float | None = None
    p95_ms: float | None = None
    max_ms: float | None = None
    std_ms: float | None = None
    init_ms: float | None = None
    first_ms: float | None = None
    started_at: float = 0.0
    duration_s: float = 0.0
    status: Literal["ok", "rejected"] = "ok"
    reason: str = ""
    conditions: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement(Record):
    """The estimate made from several blocks.

    Attributes:
        latency_ms: exp of the mean log block value.
        standard_error_log: Standard error of log latency (its square is the GP's noise variance).
        ci_low_ms, ci_high_ms: 95 % Student-t interval.
        blocks: Every block, the rejected ones included.
        grade: `A` target half-width met and quiet, `B` usable, `C` noisy or few blocks, `F` no estimate.
        reasons: Why the grade is not `A`.
        target_half_width: Relative half-width that the stop rule aimed at.
        artifact_sha256: What ran; empty on devices that are keyed by architecture.
        device: Where.
    """

    latency_ms: float
    standard_error_log: float
    ci_low_ms: float
    ci_high_ms: float
    blocks: tuple[Block, ...]
    grade: Grade
    reasons: tuple[str, ...]
    target_half_width: float
    artifact_sha256: str
    device: DeviceInfo
    schema_version: int = SCHEMA_VERSION

    @property
    def half_width(self) -> float:
        """Relative half-width of the interval on the log scale."""
        if not self.ci_low_ms > 0 or not math.isfinite(self.ci_high_ms):
            return math.inf
        return 0.5 * math.log(self.ci_high_ms / self.ci_low_ms)
