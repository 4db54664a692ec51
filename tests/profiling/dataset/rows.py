"""Rows for tests: any that could be, and sets of believable ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from profiling.dataset.files import writing
from profiling.dataset.manifest import Manifest, Source
from profiling.dataset.row import DatasetRow, Subject
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo, Failure, Measurement
from profiling.statistics import estimate

SOURCE = Source("5e1ec7ed", "pixels", "collection", "devicenag 0.1.0", measure={"blocks": [3, 10]})
CRASH = Failure("model", "crash", "the runner died with signal 11")
PLAN = MeasurementPlan()


def phone(number: int = 0, device: str = "Pixel 7") -> DeviceInfo:
    """One of several phones of a kind."""
    runner = {"sha256": "ab" * 32, "abi": "arm64-v8a"}
    properties = {"soc": "Tensor G2", "runner": runner, "reference": {"log_ratio": 0.004, "count": 3}}
    return DeviceInfo(
        device, "adb", "Pixel 7", f"{number:016x}", "google/panther:14", "arm64-v8a", "benchmark_model", properties
    )


def subject(number: int, **changes: Any) -> Subject:
    """A model."""
    defaults: dict[str, Any] = {
        "source_id": SOURCE.id,
        "space": "nasbench201",
        "architecture": f"|nor_conv_3x3~0|+|{number}|",
        "slots": (number % 5, 1),
        "input_shape": (1, 32, 32, 3),
        "classes_count": 10,
        "artifact_sha256": f"{number:064x}",
        "purpose": "collect",
    }
    return Subject(**{**defaults, **changes})


def measured(latency_ms: float, device: DeviceInfo, seed: int = 0, *, noise: float = 0.005) -> Measurement:
    """A measurement of five blocks, one of them rejected."""
    values = latency_ms * np.exp(np.random.default_rng(seed).normal(0, noise, 5))
    blocks = [
        Block(
            index,
            200,
            "median",
            float(value),
            min_ms=0.9 * float(value),
            max_ms=2.0 * float(value),
            started_at=1.7e9 + index,
            status="rejected" if index == 4 else "ok",
            reason="throttled" if index == 4 else "",
            conditions={"threads": 1, "after": {"temp_c": 31.5, "frequency_khz": [1803000, 2850000]}},
        )
        for index, value in enumerate(values)
    ]
    return estimate(blocks, PLAN, "", device)


def row(number: int, device: DeviceInfo | None = None, *, failure: Failure | None = None, **changes: Any) -> DatasetRow:
    """A row: models become slower with their number."""
    device = device or phone()
    result = failure or measured(1.0 + 0.01 * number, device, number)
    blocks = () if isinstance(result, Failure) else result.blocks
    made = DatasetRow.of(subject(number), device, PLAN, result, at=1.7e9 + number, blocks=blocks)
    return replace(made, **changes)


def write_set(folder: Path, rows: Iterable[DatasetRow], *, sources: Sequence[Source] = (SOURCE,)) -> Manifest:
    """A set of these rows, in place of an earlier one."""
    with writing(folder, name="pixels", license="cc-by-4.0", replaces=sources[0].id) as writer:
        for source in sources:
            writer.add_source(source)
        for each in rows:
            writer.add(each)
    return writer.manifest


# Any row ------------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=20)
reals = st.floats(allow_nan=False, allow_infinity=False)
small = st.integers(-(2**31), 2**31 - 1)
large = st.integers(0, 2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | reals | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)

any_block = st.builds(
    Block,
    index=small,
    runs=small,
    statistic=st.sampled_from(["median", "mean", "table"]),
    value_ms=reals,
    **dict.fromkeys(
        ("min_ms", "p5_ms", "mean_ms", "p95_ms", "max_ms", "std_ms", "init_ms", "first_ms"), st.none() | reals
    ),
    started_at=reals,
    duration_s=reals,
    status=st.sampled_from(["ok", "rejected"]),
    reason=texts,
    conditions=st.dictionaries(texts, json_values, max_size=4),
)

_BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "slots": st.lists(small, max_size=4).map(tuple),
    "input_shape": st.lists(small, max_size=4).map(tuple),
    "affinity_cpus": st.lists(small, max_size=4).map(tuple),
    "grade_reasons": st.lists(texts, max_size=3).map(tuple),
    "classes_count": st.none() | small,
    "artifact_bytes": st.none() | large,
    "parameters_count": st.none() | large,
    "multiply_adds_count": st.none() | large,
    "threads_count": small,
    "replicate_index": small,
    "drift_suspect": st.booleans(),
    "measured_at_unix_s": reals,
    "blocks": st.lists(any_block, max_size=3).map(tuple),
    **dict.fromkeys(
        (
            "output_error_ratio", "target_half_width_ratio", "latency_ms", "ci_low_ms", "ci_high_ms",
            "standard_error_log", "reference_log_ratio",
        ),
        st.none() | reals,
    ),
}  # fmt: skip
any_row = st.fixed_dictionaries({name: _BY_NAME.get(name, texts) for name in DatasetRow.__dataclass_fields__}).map(
    lambda values: DatasetRow(**values)
)
