"""Records survive JSON."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo, Failure, Measurement

finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=20)
blocks = st.builds(
    Block,
    index=st.integers(0, 100),
    runs=st.integers(1, 1000),
    statistic=st.sampled_from(["median", "mean", "table"]),
    value_ms=finite,
    min_ms=st.none() | finite,
    status=st.sampled_from(["ok", "rejected"]),
    reason=texts,
    conditions=st.dictionaries(texts, st.integers() | texts | st.lists(st.integers())),
)
devices = st.builds(DeviceInfo, name=texts, kind=texts, properties=st.dictionaries(texts, st.integers()))
measurements = st.builds(
    Measurement,
    latency_ms=finite,
    standard_error_log=finite,
    ci_low_ms=finite,
    ci_high_ms=finite,
    blocks=st.lists(blocks, max_size=3).map(tuple),
    grade=st.sampled_from(["A", "B", "C", "F"]),
    reasons=st.lists(texts, max_size=2).map(tuple),
    target_half_width=finite,
    artifact_sha256=texts,
    device=devices,
)


@given(measurements | blocks | devices)
def test_a_record_comes_back_from_json_as_it_was(record: Measurement | Block | DeviceInfo) -> None:
    assert type(record).from_json(json.loads(json.dumps(record.to_json()))) == record


def test_unknown_keys_of_newer_files_are_ignored() -> None:
    assert Failure.from_json({"kind": "model", "code": "x", "detail": "d", "new": 1}) == Failure("model", "x", "d")
    assert MeasurementPlan.from_json({"affinity": [1, 2]}).affinity == (1, 2)


def test_half_width_is_that_of_the_log_interval() -> None:
    device = DeviceInfo(name="d", kind="table")
    measured = Measurement(1.0, 0.01, 0.98, 0.98 * math.exp(0.04), (), "A", (), 0.02, "", device)
    assert math.isclose(measured.half_width, 0.02)
    assert Measurement(1.0, 0.0, 0.0, math.inf, (), "F", (), 0.02, "", device).half_width == math.inf
