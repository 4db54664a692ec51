"""Records of measuring: blocks, measurements, devices, failures.

All are frozen and convert to plain JSON values and back (`to_json` / `from_json`), which is how the store and the
exports keep them. `SCHEMA_VERSION` grows when a field changes its meaning.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
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
        revivers = _revivers(cls)  # type: ignore[arg-type]  # classes are hashable, whatever mypy says of type[Self]
        return cls(**{name: revive(values[name]) for name, revive in revivers.items() if name in values})


_Reviver = Callable[[Any], Any]


@cache
def _revivers(cls: type[Record]) -> Mapping[str, _Reviver]:
    """Field -> what makes its value out of the JSON one. Looking at types takes far longer than at values."""
    hints = typing.get_type_hints(cls)
    return {item.name: _reviver(hints[item.name]) for item in dataclasses.fields(cls)}  # type: ignore[arg-type]


def _reviver(hint: Any) -> _Reviver:
    """Nested records and tuples of them from their JSON form; anything else is left as it is."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _reviver(next(a for a in arguments if a is not type(None)))
    if isinstance(hint, type) and issubclass(hint, Record):
        return _unless_none(hint.from_json)
    if origin is tuple:
        revive = _reviver(arguments[0])
        return _unless_none(tuple if revive is _same else lambda values: tuple(map(revive, values)))
    return _same


def _same(value: Any) -> Any:
    return value


def _unless_none(revive: _Reviver) -> _Reviver:
    return lambda value: None if value is None else revive(value)


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
