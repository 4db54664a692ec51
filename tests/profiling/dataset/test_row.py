"""Rows: what a result becomes, and that Parquet gives back what it was given."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings

from profiling.dataset.row import KEY_COLUMNS, DatasetRow
from profiling.dataset.schema import COLUMNS, SCHEMA, SCHEMA_VERSION, row_of, to_batch
from profiling.records import Measurement
from profiling.statistics import estimate
from tests.profiling.dataset.rows import CRASH, PLAN, any_row, phone, row, subject


@given(any_row)
@settings(max_examples=60, deadline=None)
def test_parquet_gives_back_any_row(any_: DatasetRow) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_batches([to_batch([any_, any_])]), sink)
    table = pq.read_table(pa.BufferReader(sink.getvalue()))
    assert table.schema == SCHEMA
    assert [row_of(cells) for cells in table.to_pylist()] == [any_, any_]


def test_columns_are_the_fields_in_their_order_and_explained() -> None:
    assert [name for name, _, _ in COLUMNS][1:] == [field.name for field in fields(DatasetRow)]
    assert all(meaning for _, _, meaning in COLUMNS)
    assert set(KEY_COLUMNS) < set(SCHEMA.names)


def test_numbers_have_their_units_in_their_columns_names() -> None:
    block = SCHEMA.field("blocks").type.value_type
    numbers = [f.name for f in [*SCHEMA, *block] if pa.types.is_floating(f.type) or pa.types.is_integer(f.type)]
    units = ("_ms", "_s", "_c", "_khz", "_count", "_bytes", "_ratio", "_log", "_index", "_version")
    assert [name for name in numbers if not name.endswith(units) and name != "index"] == []


def test_a_measurement_becomes_a_row() -> None:
    made = row(3)
    (cells,) = to_batch([made]).to_pylist()
    assert cells["schema_version"] == SCHEMA_VERSION
    assert cells["ci_low_ms"] < cells["latency_ms"] < cells["ci_high_ms"]
    assert cells["grade"] == "B"
    assert cells["failure_code"] is None
    assert cells["runtime_sha256"] == "ab" * 32
    assert cells["reference_log_ratio"] == 0.004
    assert cells["blocks"][0]["temp_c"] == 31.5
    assert cells["blocks"][0]["frequency_khz"] == 2850000
    assert cells["blocks"][4]["reason"] == "throttled"
    assert "reference" not in cells["device_properties_json"]


def test_a_failure_is_a_row_without_latency() -> None:
    (cells,) = to_batch([row(0, failure=CRASH)]).to_pylist()
    assert (cells["latency_ms"], cells["grade"]) == (None, None)
    assert (cells["failure_kind"], cells["failure_code"]) == ("model", "crash")


def test_a_measurement_without_an_estimate_is_a_failure() -> None:
    blocks = tuple(replace(block, status="rejected", reason="hot") for block in row(1).blocks)
    nothing = estimate(blocks, PLAN, "", phone())
    made = DatasetRow.of(subject(1), phone(), PLAN, nothing, at=1.0, blocks=blocks)
    assert isinstance(nothing, Measurement)
    assert math.isnan(nothing.latency_ms)
    assert (made.latency_ms, made.standard_error_log, made.grade) == (None, None, "F")
    assert made.failure_code == "no_estimate"
    assert "hot" in made.failure_detail


def test_the_stamp_of_a_block_is_not_repeated() -> None:
    blocks = tuple(replace(block, conditions={"measured_on": "x y", "nan": math.nan}) for block in row(1).blocks)
    made = DatasetRow.of(subject(1), phone(), PLAN, CRASH, at=1.0, blocks=blocks)
    assert made.blocks[0].conditions == {"nan": None}


def test_keys_tell_subjects_apart_and_contents_tell_results_apart() -> None:
    one, again, other_phone = row(1), row(1, measured_at_unix_s=5.0), row(1, phone(1))
    assert one.key == again.key != other_phone.key
    assert one.content != again.content
    assert one.content == replace(one, source_id="another").content


def test_a_set_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    from profiling.dataset.files import Dataset
    from tests.profiling.dataset.rows import write_set

    rows = [row(number, phone(0, f"phone {number % 2}")) for number in range(600)]
    manifest = write_set(tmp_path / "set", rows)
    assert manifest.rows == 600
    back = list(Dataset.open(tmp_path / "set").rows())
    assert sorted(back, key=lambda each: each.measured_at_unix_s) == rows
