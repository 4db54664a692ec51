"""`nag export --dataset` and `nag dataset`, as their users meet them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.orchestrator.cli.command import Nag
from tests.orchestrator.report.runs import CRASH, RunWriter, make_config
from tests.profiling.dataset.rows import SOURCE, row, write_set


def test_export_then_validate(nag: Nag, tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", make_config())
    *measured, broken = writer.propose(3)
    for candidate in measured:
        writer.latency(candidate, "host")
    writer.latency(broken, "host", failure=CRASH)
    writer.close()
    done = nag("export", "run", "--dataset", "set", "--license", "cc-by-4.0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 rows of 1 device in set\n", "")
    again = nag("export", "run", "--dataset", "set", "--json")
    assert json.loads(again.stdout)["kind"] == "devicenag_dataset"
    assert "no licence was chosen" in again.stderr
    checked = nag("dataset", "validate", "set")
    assert checked.returncode == 0
    assert "1 model/crash" in checked.stdout
    assert "warning: dataset.json, license: no licence was chosen" in checked.stdout
    assert nag("dataset", "validate", "set", "--strict").returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "run"),
        ("export", "run", "--out", "a", "--dataset", "b"),
        ("export", "run", "--dataset", "b", "--candidate", "3"),
    ],
)
def test_export_wants_one_kind_of_export(nag: Nag, arguments: tuple[str, ...]) -> None:
    done = nag(*arguments)
    assert done.returncode == 2
    assert "--out, --dataset: got" in done.stderr


def test_exit_codes_of_validate(nag: Nag, tmp_path: Path) -> None:
    write_set(tmp_path / "right", [row(0)])
    write_set(tmp_path / "wrong", [replace(row(0), ci_low_ms=9.0), row(1)])
    write_set(tmp_path / "partial", [row(0)], sources=[replace(SOURCE, missing_count=3)])
    assert nag("dataset", "validate", "right").returncode == 0
    wrong = nag("dataset", "validate", "wrong")
    assert wrong.returncode == 1
    place = "error: data/device_key=pixel-7/part-00000.parquet, row 0, ci_low_ms: is 9, above latency_ms"
    assert place in wrong.stdout
    assert wrong.stdout.endswith("2 rows: 1 error\n")
    partial = nag("dataset", "validate", "partial", "--json")
    assert partial.returncode == 3
    report = json.loads(partial.stdout)
    assert report["counts"] == {"error": 0, "missing": 1, "warning": 0}
    assert report["devices"][0]["device"] == "Pixel 7"
    absent = nag("dataset", "validate", "absent")
    assert absent.returncode == 2
    assert "error: absent is no data set: it has no dataset.json\n  hint: " in absent.stderr


def test_merge(nag: Nag, tmp_path: Path) -> None:
    write_set(tmp_path / "one", [row(0), row(1)])
    write_set(tmp_path / "two", [row(1), row(2)])
    done = nag("dataset", "merge", "all", "one", "two", "--name", "both")
    assert done.returncode == 0
    assert done.stdout == "3 rows of 1 device in all\n1 rows left out: they were there already\n"
    as_json = nag("dataset", "merge", "again", "one", "two", "--json")
    assert {key: value for key, value in json.loads(as_json.stdout).items() if key != "manifest"} == {
        "rows": 3,
        "repeated": 1,
        "superseded": 0,
    }
    refused = nag("dataset", "merge", "one", "two")
    assert refused.returncode == 2
    assert "one is not empty" in refused.stderr
