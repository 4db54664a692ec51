"""Merging: every measurement once, its source kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from profiling.dataset.errors import DatasetError
from profiling.dataset.files import Dataset
from profiling.dataset.merge import merge
from profiling.dataset.validate import Validator
from tests.profiling.dataset.rows import CRASH, SOURCE, phone, row, write_set

OTHER = replace(SOURCE, id="0dd1ab", name="other lab")


def test_two_labs(tmp_path: Path) -> None:
    mine = [row(number) for number in range(3)]
    theirs = [row(number, phone(9, "Galaxy"), source_id=OTHER.id) for number in range(4)]
    theirs.append(row(0, phone(8), source_id=OTHER.id))
    write_set(tmp_path / "mine", mine)
    write_set(tmp_path / "theirs", theirs, sources=[OTHER])
    manifest, merged = merge(tmp_path / "all", [tmp_path / "mine", tmp_path / "theirs"])
    assert (merged.rows, merged.repeated, merged.superseded) == (8, 0, 0)
    assert manifest.sources == (SOURCE, OTHER)
    assert manifest.license == "cc-by-4.0"
    rows = list(Dataset.open(tmp_path / "all").rows())
    assert sorted(rows, key=repr) == sorted([*mine, *theirs], key=repr)
    assert Validator(tmp_path / "all").run().findings == ()
    assert "Several runs were merged" in (tmp_path / "all" / "README.md").read_text()


def test_one_measurement_that_came_two_ways_is_taken_once(tmp_path: Path) -> None:
    write_set(tmp_path / "one", [row(0), row(1)])
    write_set(tmp_path / "copy", [row(1, source_id=OTHER.id), row(2, source_id=OTHER.id)], sources=[OTHER])
    manifest, merged = merge(tmp_path / "all", [tmp_path / "one", tmp_path / "copy"])
    assert (manifest.rows, merged.repeated) == (3, 1)


def test_of_two_exports_of_a_run_the_first_stays(tmp_path: Path) -> None:
    partial = replace(SOURCE, missing_count=1)
    write_set(tmp_path / "old", [row(0), row(1, failure=CRASH)], sources=[partial])
    write_set(tmp_path / "new", [row(0), row(1), row(2)])
    manifest, merged = merge(tmp_path / "all", [tmp_path / "new", tmp_path / "old"])
    assert (merged.rows, merged.repeated, merged.superseded) == (3, 1, 1)
    assert manifest.sources == (SOURCE,)
    assert all(each.latency_ms is not None for each in Dataset.open(tmp_path / "all").rows())


def test_merging_again_changes_nothing(tmp_path: Path) -> None:
    write_set(tmp_path / "one", [row(0), row(1, failure=CRASH)])
    merge(tmp_path / "first", [tmp_path / "one"])
    manifest, merged = merge(tmp_path / "second", [tmp_path / "first", tmp_path / "one"])
    assert (merged.rows, merged.repeated) == (2, 2)
    first = Dataset.open(tmp_path / "first").manifest
    assert (manifest.files, manifest.sources) == (first.files, first.sources)


def test_licences_that_differ_need_a_decision(tmp_path: Path) -> None:
    write_set(tmp_path / "one", [row(0)])
    merge(tmp_path / "two", [tmp_path / "one"], license="mit")
    with pytest.raises(DatasetError, match="different licences") as caught:
        merge(tmp_path / "all", [tmp_path / "one", tmp_path / "two"])
    assert "--license" in caught.value.hint
    assert not (tmp_path / "all").exists()
    assert merge(tmp_path / "all", [tmp_path / "one", tmp_path / "two"], license="mit")[0].license == "mit"


def test_a_damaged_set_leaves_nothing(tmp_path: Path) -> None:
    write_set(tmp_path / "one", [row(0)])
    write_set(tmp_path / "bad", [row(1)])
    next((tmp_path / "bad").rglob("*.parquet")).write_bytes(b"PAR1 no more")
    with pytest.raises(DatasetError, match="cannot be read"):
        merge(tmp_path / "all", [tmp_path / "one", tmp_path / "bad"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "one"]


def test_a_wrong_row_is_named(tmp_path: Path) -> None:
    write_set(tmp_path / "one", [row(0), row(1, latency_ms=90.0)])
    with pytest.raises(DatasetError, match=r"part-00000\.parquet, row 1, ci_high_ms: is .*, below latency_ms \(90\)"):
        merge(tmp_path / "all", [tmp_path / "one"])
    assert not (tmp_path / "all").exists()


def test_a_forgotten_folder_for_the_merged_set_costs_nothing(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        write_set(tmp_path / name, [row(0)])
    with pytest.raises(DatasetError, match="one is not empty"):
        merge(tmp_path / "one", [tmp_path / "two", tmp_path / "three"])
    assert Dataset.open(tmp_path / "one").manifest.name == "pixels"
