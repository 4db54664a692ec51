"""The export: working artifacts with the trained weights, true manifests, all or nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from orchestrator.cli import report as verbs
from orchestrator.errors import DataError, ExportError, NagError, RunFolderError
from orchestrator.report.export import check_artifact, export_run
from orchestrator.report.manifest import Manifest
from orchestrator.report.run import read_run
from profiling.tflite import emit
from profiling.weights import load_weights, random_weights
from tests.orchestrator.report.runs import SPACE, RunWriter, make_config


@pytest.fixture(scope="module")
def exported(pareto_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Path]:
    out = tmp_path_factory.mktemp("exports") / "winners"
    return export_run(pareto_run, out), out


def test_the_front_is_exported_with_its_trained_weights(pareto_run: Path, exported: tuple[Manifest, Path]) -> None:
    manifest, out = exported
    state = read_run(pareto_run).state
    assert [winner.campaign["candidate"] for winner in manifest.winners] == [c.row.id for c in state.front]
    for winner, candidate in zip(manifest.winners, state.front, strict=True):
        assert winner.weights == "trained"
        assert candidate.accuracy is not None
        assert candidate.accuracy.weights is not None
        network = SPACE.network(SPACE.architecture(candidate.row.slots), state.config.space.network_options())
        data = (out / winner.artifact.file).read_bytes()
        assert data == emit(network, load_weights(pareto_run / candidate.accuracy.weights))
        assert data != emit(network, random_weights(network))
        assert hashlib.sha256(data).hexdigest() == winner.artifact.sha256
        assert winner.weights_file is not None
        copied = (out / winner.weights_file.file).read_bytes()
        assert copied == (pareto_run / candidate.accuracy.weights).read_bytes()


def test_the_manifest_tells_what_was_measured(pareto_run: Path, exported: tuple[Manifest, Path]) -> None:
    manifest, _ = exported
    run = read_run(pareto_run)
    first, candidate = manifest.winners[0], run.state.front[0]
    assert candidate.network is not None
    assert candidate.accuracy is not None
    latency, measured = first.latency["host"], candidate.latencies["host"]
    assert (latency.latency_ms, latency.ci_low_ms, latency.ci_high_ms) == (
        measured.latency_ms,
        measured.ci_low_ms,
        measured.ci_high_ms,
    )
    assert latency.device["runtime"] == "ai-edge-litert 2.3.0"
    assert first.verified["host"].latency_ms == run.verified[candidate.row.id, "host"].latency_ms
    assert first.measured_artifact_sha256 == candidate.network.artifact_sha256 != first.artifact.sha256
    assert (first.parameters, first.multiply_adds) == (candidate.network.parameters, candidate.network.multiply_adds)
    assert first.accuracy is not None
    assert first.accuracy["value"] == candidate.accuracy.accuracy
    assert (first.accuracy["unit"], first.accuracy["standard_error"]) == ("percent", 0.8)
    assert first.space == {
        "kind": "nasbench201",
        "input_shape": [1, 8, 8, 3],
        "classes": 10,
        "options": {"channels": 4, "cells": 1},
    }
    assert (first.feasible, first.on_front, first.schema_version) == (True, True, 1)
    assert manifest.goal == {"maximize": "accuracy", "minimize": ["latency_ms[host]"], "subject_to": []}


def test_the_folder_holds_exactly_what_the_manifest_lists(exported: tuple[Manifest, Path]) -> None:
    manifest, out = exported
    stored = json.loads((out / "manifest.json").read_text())
    assert stored == manifest.to_json()
    assert {entry["file"] for entry in stored["files"]} | {"manifest.json"} == {path.name for path in out.iterdir()}
    for entry in stored["files"]:
        data = (out / entry["file"]).read_bytes()
        assert (entry["sha256"], entry["bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
    for winner in stored["winners"]:
        assert json.loads((out / f"{winner['name']}.json").read_text()) == winner
    assert not list(out.parent.glob(".*"))  # nothing is left of the preparation


def test_both_tables_hold_the_front(pareto_run: Path, exported: tuple[Manifest, Path]) -> None:
    _, out = exported
    front = read_run(pareto_run).state.front
    csv, parquet = pd.read_csv(out / "pareto.csv"), pd.read_parquet(out / "pareto.parquet")
    assert list(csv.columns) == list(parquet.columns)
    assert list(parquet["architecture"]) == [candidate.row.architecture for candidate in front]
    for table in (csv, parquet):
        latencies = [candidate.latencies["host"].latency_ms for candidate in front]
        assert np.allclose(table["latency_ms[host]"], latencies)
        assert (table["ci_low_ms[host]"] < table["latency_ms[host]"]).all()
        assert {"accuracy_percent", "accuracy_standard_error_percent", "parameters_count"} <= set(table.columns)
    assert list(parquet["verified_latency_ms[host]"].notna())[:3] == [True, True, False]


def test_without_kept_weights_the_manifest_says_random(constrained_run: Path, tmp_path: Path) -> None:
    (winner,) = export_run(constrained_run, tmp_path / "out").winners
    assert winner.weights == "random"
    assert winner.weights_file is None
    assert winner.artifact.sha256 == winner.measured_artifact_sha256  # the very bytes that were measured
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_named_candidates_are_exported_whatever_became_of_them(constrained_run: Path, tmp_path: Path) -> None:
    manifest = export_run(constrained_run, tmp_path / "out", candidates=[8, 3, 8])
    failed, other = manifest.winners
    assert failed.campaign["candidate"] == 8
    assert failed.failures["latency_ms[host]"]["code"] == "crash"
    assert failed.feasible is None
    assert failed.latency == {}
    assert other.campaign["candidate"] == 3
    assert other.feasible is False
    assert not other.on_front


def test_an_earlier_export_is_replaced(pareto_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    before = export_run(pareto_run, out, candidates=[0, 1])
    (out / "notes.txt").write_text("mine")
    after = export_run(pareto_run, out, candidates=[1])
    assert {path.name for path in out.iterdir()} == {entry.file for entry in after.files} | {
        "manifest.json",
        "notes.txt",
    }
    assert before.winners[1] == after.winners[0]


def test_nothing_feasible_is_exit_code_1_and_writes_nothing(tmp_path: Path) -> None:
    goal = {"maximize": "accuracy", "subject_to": ["latency_ms[host] <= 0.0001"]}
    writer = RunWriter(tmp_path / "run", make_config(goal=goal))
    candidates = writer.propose(2)
    with pytest.raises(ExportError, match="no candidate is complete"):
        export_run(tmp_path / "run", tmp_path / "out")
    writer.finish(candidates)
    writer.close()
    with pytest.raises(ExportError, match="none of the 2 measured") as caught:
        export_run(tmp_path / "run", tmp_path / "out")
    assert caught.value.exit_code == 1
    assert "--candidate" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_unknown_candidate_is_named(pareto_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no candidate 99, -1") as caught:
        export_run(pareto_run, tmp_path / "out", candidates=[0, 99, -1])
    assert "0..19" in caught.value.hint


def test_a_foreign_folder_is_left_alone(pareto_run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(DataError, match="no earlier export"):
        export_run(pareto_run, tmp_path)
    (tmp_path / "manifest.json").write_text('{"kind": "other"}')
    with pytest.raises(DataError, match="no earlier export"):
        export_run(pareto_run, tmp_path)
    with pytest.raises(DataError, match="is a file"):
        export_run(pareto_run, tmp_path / "thesis.tex")
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.tex", "manifest.json"}


@pytest.mark.parametrize("damage", ["missing", "garbage", "foreign"])
def test_unusable_weights_are_named_and_nothing_is_written(pareto_run: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(pareto_run, tmp_path / "run")
    winners = [candidate.row.id for candidate in read_run(pareto_run).state.front]
    weights = tmp_path / "run" / "candidates" / str(winners[-1]) / "weights.safetensors"
    other = tmp_path / "run" / "candidates" / str(winners[0]) / "weights.safetensors"
    if damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(b"garbage" if damage == "garbage" else other.read_bytes())
    with pytest.raises(RunFolderError, match=f"candidate {winners[-1]}"):
        export_run(tmp_path / "run", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_artifacts_that_do_not_work_are_refused() -> None:
    with pytest.raises(ExportError, match="does not run"):
        check_artifact(b"no flatbuffer at all", "x")
    network = SPACE.network(SPACE.at(0), make_config().space.network_options())
    weights = random_weights(network)
    check_artifact(emit(network, weights), "x")
    last = list(weights)[-1]
    weights[last].bias[:] = np.nan
    with pytest.raises(ExportError, match="not finite"):
        check_artifact(emit(network, weights), "x")


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(verbs.report)
    app.command()(verbs.export)
    return app


def test_the_verbs_print_data_on_standard_output(app: typer.Typer, pareto_run: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["report", str(pareto_run)])
    assert shown.exit_code == 0
    assert Path(shown.stdout.strip()) == pareto_run / "report.html"
    arguments = ["export", str(pareto_run), "--out", str(tmp_path / "out"), "--candidate", "3", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert json.loads(done.stdout) == json.loads((tmp_path / "out" / "manifest.json").read_text())
    listed = CliRunner().invoke(app, arguments[:-1])
    assert "demo-0003.tflite" in listed.stdout


@pytest.mark.parametrize("verb", [["report"], ["export", "--out", "unused"]])
def test_a_missing_run_is_a_friendly_error(app: typer.Typer, verb: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*verb, str(tmp_path / "nothing")])
    assert isinstance(done.exception, NagError)
    assert "no run folder" in str(done.exception)
    assert "nag run" in done.exception.hint


def test_a_night_has_a_page_of_its_own(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "nightly.json").write_text("{}")
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert isinstance(done.exception, NagError)
    assert str(tmp_path / "report.html") in done.exception.hint
