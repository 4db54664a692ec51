"""What can be wrong with a cell or a row of a set, by itself."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, get_args

from profiling.dataset.schema import SCHEMA_VERSION
from profiling.precision import PRECISIONS
from profiling.records import FailureKind, Grade

Cells = Mapping[str, Any]
Wrong = tuple[str, str]  # column, what is wrong with it

_REQUIRED = (
    "source_id", "architecture", "network_options_json", "precision", "purpose", "device", "device_properties_json",
    "delegate", "threads_count", "clock", "replicate_index", "drift_suspect", "measured_at_unix_s",
)  # fmt: skip
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "precision": (*PRECISIONS, "original"),
    "clock": ("wall", "cpu"),
    "grade": get_args(Grade),
    "failure_kind": get_args(FailureKind),
}
_HEXADECIMAL = {"artifact_sha256": 64, "runtime_sha256": 64, "serial_hash": 16}
_ABOVE_ZERO = ("latency_ms", "ci_low_ms", "ci_high_ms", "target_half_width_ratio", "threads_count", "classes_count")
_NOT_NEGATIVE = (
    "standard_error_log", "artifact_bytes", "parameters_count", "multiply_adds_count", "output_error_ratio",
    "replicate_index", "measured_at_unix_s",
)  # fmt: skip
_INTERVAL = ("ci_low_ms", "latency_ms", "ci_high_ms")
_BLOCK_ORDER = ("min_ms", "p5_ms", "value_ms", "p95_ms", "max_ms")
_TEMPERATURES_C = (-40.0, 150.0)
_CLOCKS_DIFFER_S = 86_400.0  # between the machine that measured and this one
_ROUNDING = 1e-9  # relative: an estimate made again from its blocks differs by less


def wrong_cells(cells: Cells, now_s: float) -> Iterator[Wrong]:
    """Everything that is wrong with a row.

    Args:
        cells: As `pyarrow` gives them; their types are those of the schema.
        now_s: Seconds since the epoch: nothing was measured after that.
    """
    if cells["schema_version"] != SCHEMA_VERSION:
        yield "schema_version", f"is {cells['schema_version']}, this program reads {SCHEMA_VERSION}"
        return
    for check in (_texts, _json, _numbers, _outcome, _interval, _blocks, _agreement):
        yield from check(cells)
    at = cells["measured_at_unix_s"]
    if at is not None and math.isfinite(at) and at > now_s + _CLOCKS_DIFFER_S:
        yield "measured_at_unix_s", f"is {at:.0f}, in the future"


def _texts(cells: Cells) -> Iterator[Wrong]:
    for column in _REQUIRED:
        if cells[column] is None:
            yield column, "is missing"
    for column, allowed in _CHOICES.items():
        if cells[column] is not None and cells[column] not in allowed:
            yield column, f"is {cells[column]!r}, none of {', '.join(allowed)}"
    for column, digits in _HEXADECIMAL.items():
        value = cells[column]
        if value is not None and re.fullmatch(f"[0-9a-f]{{{digits}}}", value) is None:
            secret = " (a serial must not be in a set)" if column == "serial_hash" else f": {value!r}"
            yield column, f"is no hash of {digits} hexadecimal digits{secret}"


def _json(cells: Cells) -> Iterator[Wrong]:
    blocks = enumerate(cells["blocks"] or ())
    texts = {
        "network_options_json": cells["network_options_json"],
        "device_properties_json": cells["device_properties_json"],
        **{f"blocks[{n}].conditions_json": block["conditions_json"] for n, block in blocks if block is not None},
    }
    for column, text in texts.items():
        try:
            if text is not None and not isinstance(json.loads(text), dict):
                yield column, "is no JSON object"
        except ValueError:
            yield column, "is no JSON"


def _numbers(cells: Cells) -> Iterator[Wrong]:
    checks: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
        (_ABOVE_ZERO, lambda value: value > 0, "not above 0"),
        (_NOT_NEGATIVE, lambda value: value >= 0, "negative"),
        (("reference_log_ratio",), lambda value: True, ""),
    )
    for columns, holds, otherwise in checks:
        for column in columns:
            if (value := cells[column]) is None:
                continue
            if not math.isfinite(value):
                yield column, f"is {value}, no finite number"
            elif not holds(value):
                yield column, f"is {value:g}, {otherwise}"


def _outcome(cells: Cells) -> Iterator[Wrong]:
    """A latency or a failure, and with each what belongs to it."""
    failed, measured = cells["failure_code"] is not None, cells["latency_ms"] is not None
    if not failed and not measured:
        yield "latency_ms", "is missing, and there is no failure_code"
    if failed and measured:
        yield "failure_code", "is there beside latency_ms"
    belonging = ("failure_kind",) if failed else ("ci_low_ms", "ci_high_ms", "standard_error_log", "grade")
    for column in belonging:
        if cells[column] is None and (failed or measured):
            yield column, f"is missing in a row with {'failure_code' if failed else 'latency_ms'}"
    if not failed and cells["grade"] == "F":
        yield "grade", "is F, no estimate, beside a latency"


def _interval(cells: Cells) -> Iterator[Wrong]:
    low, value, high = (cells[column] for column in _INTERVAL)
    if _finite(low, value) and low > value * (1 + _ROUNDING):
        yield "ci_low_ms", f"is {low:g}, above latency_ms ({value:g})"
    if _finite(high, value) and high < value * (1 - _ROUNDING):
        yield "ci_high_ms", f"is {high:g}, below latency_ms ({value:g})"


def _blocks(cells: Cells) -> Iterator[Wrong]:
    if cells["blocks"] is None:
        yield "blocks", "is missing; a row without blocks has an empty list"
    for number, block in enumerate(cells["blocks"] or ()):
        at = f"blocks[{number}]"
        if block is None:
            yield at, "is missing"
            continue
        if not _finite(block["value_ms"]) or block["value_ms"] <= 0:
            yield f"{at}.value_ms", f"is {block['value_ms']}, not above 0"
            continue
        if block["status"] not in ("ok", "rejected"):
            yield f"{at}.status", f"is {block['status']!r}, none of ok, rejected"
        if block["runs_count"] is None or block["runs_count"] < 1:
            yield f"{at}.runs_count", f"is {block['runs_count']}, not above 0"
        # A mean lies where outliers put it, beyond any quantile.
        order = [(name, block[name]) for name in _BLOCK_ORDER if block[name] is not None]
        if block["statistic"] != "mean":
            for (lower, low), (upper, high) in pairwise(order):
                if low > high * (1 + _ROUNDING):
                    yield f"{at}.{lower}", f"is {low:g}, above {upper} ({high:g})"
        for column in ("temp_c", "battery_c"):
            if (value := block[column]) is not None and not _TEMPERATURES_C[0] <= value <= _TEMPERATURES_C[1]:
                yield f"{at}.{column}", f"is {value:g}, no temperature that a phone has"


def _agreement(cells: Cells) -> Iterator[Wrong]:
    """The estimate is what its blocks give; looked-up rows without blocks have nothing to agree with."""
    used = [block["value_ms"] for block in cells["blocks"] or () if block is not None and block["status"] == "ok"]
    value = cells["latency_ms"]
    if not _finite(value) or value <= 0 or not cells["blocks"] or not all(_finite(each) and each > 0 for each in used):
        return
    if not used:
        yield "latency_ms", "is there, though every block was rejected"
        return
    expected = math.exp(sum(map(math.log, used)) / len(used))
    if not math.isclose(value, expected, rel_tol=_ROUNDING):
        yield "latency_ms", f"is {value:.6g}, but its {len(used)} usable blocks give {expected:.6g}"


def _finite(*values: Any) -> bool:
    return all(value is not None and math.isfinite(value) for value in values)
