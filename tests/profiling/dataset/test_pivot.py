"""A set is a table of latencies by architecture."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from profiling.dataset.row import DatasetRow
from profiling.table import TableError, read_table
from tests.profiling.dataset.rows import CRASH, phone, row, write_set

TEXTS = [f"architecture {number}" for number in range(4)]


def architecture(number: int, device: str = "Pixel 7", **changes: object) -> DatasetRow:
    failure = CRASH if changes.pop("fails", False) else None
    return replace(row(number, phone(0, device), failure=failure), architecture=TEXTS[number], **changes)


def latencies(rows: list[DatasetRow]) -> dict[str, float]:
    return {each.architecture: each.latency_ms for each in rows if each.latency_ms is not None}


def close(one: object, other: dict[str, float]) -> bool:
    return isinstance(one, dict) and one.keys() == other.keys() and all(math.isclose(one[k], other[k]) for k in other)


def test_every_device_is_a_column_and_failures_are_missing(tmp_path: Path) -> None:
    slow = [architecture(number, "slow", fails=number == 1) for number in range(4)]
    fast = [architecture(number, "fast") for number in range(3)]
    write_set(tmp_path / "set", [*slow, *fast])
    table = read_table(tmp_path / "set")
    assert table.columns == ("fast", "slow")
    assert close(table.column("fast", above=0), latencies(fast))
    assert close(table.column("slow", above=0), latencies(slow))
    one_file = read_table(tmp_path / "set" / "data" / "device_key=slow" / "part-00000.parquet")
    assert one_file.columns == ("slow",)
    assert close(one_file.column("slow"), latencies(slow))


def test_settings_are_columns_of_their_own(tmp_path: Path) -> None:
    rows = [
        architecture(0),
        architecture(0, threads_count=4),
        architecture(1, precision="int8"),
        architecture(2, "other"),
    ]
    write_set(tmp_path / "set", rows)
    table = read_table(tmp_path / "set")
    assert table.columns == ("Pixel 7/cpu/1/float32", "Pixel 7/cpu/1/int8", "Pixel 7/cpu/4/float32", "other")
    assert list(table.column("Pixel 7/cpu/1/int8")) == [TEXTS[1]]
    with pytest.raises(TableError, match="no column 'Pixel 7'") as caught:
        table.column("Pixel 7")
    assert "Pixel 7/cpu/4/float32" in caught.value.hint


def test_different_networks_of_one_architecture_are_columns_of_their_own(tmp_path: Path) -> None:
    write_set(tmp_path / "set", [architecture(0), architecture(0, input_shape=(1, 224, 224, 3))])
    names = read_table(tmp_path / "set").columns
    assert names == (
        "Pixel 7/cpu/1/float32/nasbench201 1x224x224x3 10",
        "Pixel 7/cpu/1/float32/nasbench201 1x32x32x3 10",
    )


def test_phones_of_a_kind_are_averaged(tmp_path: Path) -> None:
    rows = [architecture(0), replace(architecture(0), serial_hash="1" * 16, latency_ms=2.0)]
    write_set(tmp_path / "set", rows)
    (value,) = read_table(tmp_path / "set").column("Pixel 7").values()
    assert value == pytest.approx(math.sqrt(2.0 * (rows[0].latency_ms or 0)))


def test_what_is_no_set_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TableError, match=r"is no data set: it has no dataset\.json"):
        read_table(tmp_path / "empty")
    write_set(tmp_path / "failures", [architecture(0, fails=True)])
    with pytest.raises(TableError, match="no rows"):
        read_table(tmp_path / "failures")
    write_set(tmp_path / "set", [architecture(0)])
    manifest = tmp_path / "set" / "dataset.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema_version": 9}))
    with pytest.raises(TableError, match="schema version 9, this program reads 1"):
        read_table(tmp_path / "set")
