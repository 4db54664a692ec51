"""Validation finds what was planted, and names file, row and column."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from profiling.dataset.checks import wrong_cells
from profiling.dataset.errors import DatasetError
from profiling.dataset.files import sha256_of
from profiling.dataset.manifest import read_manifest
from profiling.dataset.quality import QualityCollector
from profiling.dataset.row import DatasetRow
from profiling.dataset.schema import to_batch
from profiling.dataset.validate import Report, Validator
from tests.profiling.dataset.rows import CRASH, SOURCE, any_row, phone, row, write_set

FILE = "data/device_key=pixel-7/part-00000.parquet"


def found(folder: Path) -> list[tuple[str, str, int | None, str]]:
    """(severity, file, row, column) of everything."""
    return [(f.severity, f.file, f.row, f.column) for f in validated(folder).findings]


def validated(folder: Path) -> Report:
    return Validator(folder).run()


def edited(folder: Path, edit: Callable[[list[dict[str, Any]]], None], schema: pa.Schema | None = None) -> None:
    """Change the cells of the only file, as somebody with a notebook would, and its sha256 with them."""
    table = pq.read_table(folder / FILE, partitioning=None)
    cells = table.to_pylist()
    edit(cells)
    pq.write_table(pa.Table.from_pylist(cells, schema=schema or table.schema), folder / FILE)
    manifest = read_manifest(folder)
    file = replace(manifest.files[0], sha256=sha256_of(folder / FILE), rows=len(cells))
    replace(manifest, files=(file,)).write(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five latencies and a failure."""
    write_set(tmp_path / "set", [*(row(number) for number in range(5)), row(5, failure=CRASH)])
    return tmp_path / "set"


def test_a_right_set(folder: Path) -> None:
    report = validated(folder)
    assert (report.rows, report.findings) == (6, ())
    (device,) = report.devices
    assert (device.rows, device.measured, device.failures) == (6, 5, {"model/crash": 1})
    assert device.rejected == {"throttled": 5}
    assert device.phone_spread is None
    assert json.loads(json.dumps(report.to_json()))["counts"] == {"error": 0, "missing": 0, "warning": 0}


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("latency_ms", -1.0, "is -1, not above 0"),
        ("latency_ms", float("inf"), "is inf, no finite number"),
        ("latency_ms", 7.0, "usable blocks give"),
        ("latency_ms", None, "is missing, and there is no failure_code"),
        ("ci_low_ms", 5.0, "above latency_ms"),
        ("ci_high_ms", 0.5, "below latency_ms"),
        ("ci_high_ms", None, "is missing in a row with latency_ms"),
        ("standard_error_log", -0.1, "negative"),
        ("grade", "A+", "none of A, B, C, F"),
        ("grade", "F", "no estimate"),
        ("failure_code", "crash", "is there beside latency_ms"),
        ("precision", "float64", "none of float32"),
        ("threads_count", 0, "not above 0"),
        ("artifact_sha256", "abc", "no hash of 64"),
        ("serial_hash", "R58M42SECRET", "a serial must not be in a set"),
        ("device", None, "is missing"),
        ("device", "Pixel 8", "in the file of 'Pixel 7'"),
        ("source_id", "elsewhere", "no source of dataset.json"),
        ("network_options_json", "{cells: 5}", "is no JSON"),
        ("device_properties_json", "[]", "is no JSON object"),
        ("blocks", None, "is missing"),
        ("measured_at_unix_s", 4e12, "in the future"),
        ("schema_version", 2, "is 2, this program reads 1"),
    ],
)
def test_a_wrong_cell(folder: Path, column: str, value: Any, says: str) -> None:
    edited(folder, lambda cells: cells[3].update({column: value}))
    findings = [f for f in validated(folder).findings if f.column == column]
    (finding,) = findings
    assert (finding.severity, finding.file, finding.row) == ("error", FILE, 3)
    assert says in finding.problem
    assert str(finding).startswith(f"error: {FILE}, row 3, {column}: ")
    assert "SECRET" not in finding.problem


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"value_ms": 0.0}, "value_ms"),
        ({"status": "fine"}, "status"),
        ({"runs_count": 0}, "runs_count"),
        ({"min_ms": 50.0}, "min_ms"),
        ({"temp_c": 310.0}, "temp_c"),
        ({"conditions_json": "{"}, "conditions_json"),
    ],
)
def test_a_wrong_block(folder: Path, change: dict[str, Any], column: str) -> None:
    edited(folder, lambda cells: cells[2]["blocks"][4].update(change))  # the rejected one, which no estimate is made of
    assert found(folder) == [("error", FILE, 2, f"blocks[4].{column}")]


@given(any_row)
@settings(max_examples=100, deadline=None)
def test_no_row_is_too_strange_to_be_judged(any_: DatasetRow) -> None:
    (cells,) = to_batch([any_]).to_pylist()
    if not list(wrong_cells(cells, now_s=2e9)):
        QualityCollector().see(any_)


def test_an_estimate_out_of_rejected_blocks_only(folder: Path) -> None:
    def reject(cells: list[dict[str, Any]]) -> None:
        for block in cells[0]["blocks"]:
            block["status"] = "rejected"

    edited(folder, reject)
    (finding,) = validated(folder).findings
    assert finding.problem == "is there, though every block was rejected"


def test_a_duplicate_names_the_first(folder: Path) -> None:
    edited(folder, lambda cells: cells.append(dict(cells[1])))
    (finding,) = validated(folder).findings
    assert (finding.row, finding.column) == (6, "")
    assert finding.problem == f"is about the same as row 1 of {FILE}: a duplicate"
    assert validated(folder).devices[0].rows == 6


def test_doubtful_rows_are_warnings(tmp_path: Path) -> None:
    rows = [row(0, drift_suspect=True), row(1, grade="C", grade_reasons=("noisy",))]
    write_set(tmp_path / "set", rows)
    assert found(tmp_path / "set") == [("warning", FILE, 0, "drift_suspect"), ("warning", FILE, 1, "grade")]
    assert validated(tmp_path / "set").devices[0].drift_suspects == 1


def test_columns_of_another_schema(folder: Path) -> None:
    def rename(cells: list[dict[str, Any]]) -> None:
        for each in cells:
            each["latency"] = each.pop("latency_ms")
            each["threads_count"] = str(each["threads_count"])

    schema = pq.read_schema(folder / FILE)
    schema = schema.remove(schema.get_field_index("latency_ms")).append(pa.field("latency", pa.float64()))
    index = schema.get_field_index("threads_count")
    edited(folder, rename, schema.set(index, pa.field("threads_count", pa.string())))
    report = validated(folder)
    assert {f.column: f.problem for f in report.findings} == {
        "latency_ms": "is missing",
        "latency": "is not of this schema",
        "threads_count": "is string, not int32",
    }


def test_files_that_are_missing_changed_damaged_or_strange(tmp_path: Path) -> None:
    def fresh(name: str) -> Path:
        write_set(tmp_path / name, [row(0)])
        return tmp_path / name

    missing, changed, cut, strange = map(fresh, ("missing", "changed", "cut", "strange"))
    (missing / FILE).unlink()
    assert found(missing) == [("missing", FILE, None, "")]
    pq.write_table(pq.read_table(changed / FILE, partitioning=None).slice(0, 0), changed / FILE)
    assert [f.problem for f in validated(changed).findings] == [
        "is not the file that was written: its sha256 is another",
        "has 0 rows, dataset.json says 1",
    ]
    (cut / FILE).write_bytes((cut / FILE).read_bytes()[:-50])
    assert "cannot be read" in validated(cut).findings[-1].problem
    (strange / "data" / "more.parquet").write_bytes(b"")
    assert found(strange) == [("error", "data/more.parquet", None, "")]


def test_a_partial_source_is_missing_something(tmp_path: Path) -> None:
    write_set(tmp_path / "set", [row(0)], sources=[replace(SOURCE, missing_count=7)])
    (finding,) = validated(tmp_path / "set").findings
    assert (finding.severity, finding.problem) == ("missing", "7 measurements of pixels have no result yet")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "it has no dataset.json"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"kind": "devicenag_export", "schema_version": 1}', "is of something else"),
        ('{"kind": "devicenag_dataset", "schema_version": 2}', "has schema version 2, this program reads 1"),
        ('{"kind": "devicenag_dataset", "schema_version": 1}', "lacks something"),
    ],
)
def test_what_is_no_set(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DatasetError, match=says):
        Validator(tmp_path)


def test_files_outside_the_folder_are_not_read(folder: Path) -> None:
    manifest = read_manifest(folder)
    replace(manifest, files=(replace(manifest.files[0], path="../set/" + FILE),)).write(folder)
    with pytest.raises(DatasetError, match="not in its folder"):
        Validator(folder)


def test_findings_are_counted_where_they_are_too_many_to_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profiling.dataset.validate.MOST_FINDINGS", 3)
    rows = [row(number, drift_suspect=True) for number in range(8)]
    write_set(tmp_path / "set", rows)
    report = validated(tmp_path / "set")
    assert (len(report.findings), report.counts["warning"]) == (3, 8)


def test_noise_is_no_spread_between_phones(tmp_path: Path) -> None:
    rows = []
    for number in range(200):
        rng = np.random.default_rng(number)
        for at in range(2):
            latency_ms = 2.0 * float(np.exp(rng.normal(0, 0.05)))
            made = row(number, phone(at), replicate_index=at, blocks=(), standard_error_log=0.05)
            rows.append(replace(made, latency_ms=latency_ms, ci_low_ms=0.8 * latency_ms, ci_high_ms=1.2 * latency_ms))
    write_set(tmp_path / "set", rows)
    spread = validated(tmp_path / "set").devices[0].phone_spread
    assert spread is not None
    assert spread.sd_log < 0.02  # their log ratios have a standard deviation of 0.07


def test_spread_between_phones(tmp_path: Path) -> None:
    def measured(number: int, at: int, ratio: float) -> DatasetRow:
        made = row(number, phone(at), replicate_index=at)
        blocks = tuple(
            replace(block, value_ms=block.value_ms * ratio, min_ms=None, max_ms=None) for block in made.blocks
        )
        scaled = {name: getattr(made, name) * ratio for name in ("latency_ms", "ci_low_ms", "ci_high_ms")}
        return replace(made, blocks=blocks, **scaled)

    rows = [measured(number, at, ratio) for number in range(10) for at, ratio in enumerate((1.0, 1.1))]
    write_set(tmp_path / "set", [*rows, measured(99, 0, 1.0)])
    (device,) = validated(tmp_path / "set").devices
    spread = device.phone_spread
    assert spread is not None
    assert (device.phones, spread.overlaps) == (2, 10)
    assert spread.sd_log == pytest.approx(0.0953 / 2**0.5, abs=2e-3)  # ln 1.1 between two phones
    assert list(spread.offsets_log.values()) == pytest.approx([-0.0477, 0.0477], abs=1e-3)
