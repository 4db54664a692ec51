"""`nag` as a user runs it: real processes, real files, exit codes, streams."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.orchestrator.campaign.tables import write_table

ROOT = Path(__file__).resolve().parents[2]
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"


def nag(*arguments: str | Path, timeout_s: float = 1000) -> subprocess.CompletedProcess[str]:
    """Run `nag` and wait."""
    command = [sys.executable, "-m", "orchestrator.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, cwd=ROOT)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small campaign that trains and measures for real."""
    path = tmp_path_factory.mktemp("campaign") / "small.yaml"
    values = {
        "name": "small",
        "space": {"kind": "nasbench201", "input": [1, 8, 8, 1], "channels": 4, "cells": 1},
        "generator": {"kind": "diffusion_nag", "pool": 64},
        "accuracy": {"kind": "training", "dataset": "digits", "epochs": 1},
        "devices": [{"kind": "host"}],
        # So few runs are never rejected as unsteady, however busy the computer is.
        "measure": {"blocks": [2, 3], "min_runs": 10, "block_seconds": 1e-6, "warmup_seconds": 0.0},
        "budget": {"candidates": 7, "batch": 3, "initial": 4, "verify": 1},
    }
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def run(campaign: Path) -> Path:
    """Its finished run folder."""
    folder = campaign.parent / "run"
    done = nag("run", campaign, "--out", folder)
    assert done.returncode == 0, done.stderr
    assert "7 measured, 0 failed" in done.stdout
    assert str(folder / "report.html") in done.stdout
    assert "candidate 0: accuracy" in done.stderr  # plain lines where stderr is no terminal
    assert "\x1b" not in done.stderr
    return folder


def test_status_of_a_finished_run(run: Path) -> None:
    values = json.loads(nag("status", run, "--json").stdout)
    assert values["state"] == "finished"
    assert values["candidates"]["measured"] == 7
    assert values["measurements"] == 7
    assert values["hypervolume"] > 0
    assert set(values["best"]) == {"id", "architecture", "accuracy", "latency_ms"}
    assert "finished" in nag("status", run).stdout


def test_running_again_changes_nothing_and_a_larger_budget_goes_on(run: Path, campaign: Path) -> None:
    before = json.loads(nag("status", run, "--json").stdout)
    assert nag("run", campaign, "--out", run).returncode == 0
    assert json.loads(nag("status", run, "--json").stdout) == before
    more = nag("run", campaign, "--out", run, "--set", "budget.candidates=9", "--json")
    assert json.loads(more.stdout)["candidates"]["measured"] == 9


def test_the_report_is_one_self_contained_page(run: Path) -> None:
    done = nag("report", run)
    assert done.returncode == 0, done.stderr
    assert (run / "report.html").stat().st_size > 100_000


def test_exported_winners_run_with_their_trained_weights(run: Path, tmp_path: Path) -> None:
    done = nag("export", run, "--out", tmp_path / "winners", "--json")
    assert done.returncode == 0, done.stderr
    models = sorted((tmp_path / "winners").glob("*.tflite"))
    assert models
    measured = json.loads(nag("measure", models[0], "--max-blocks", "20", "--target", "0.4", "--json").stdout)
    assert 0 < measured["ci_low_ms"] <= measured["latency_ms"] <= measured["ci_high_ms"]
    assert {"standard_error_log", "blocks", "grade", "device", "artifact_sha256", "runtime"} <= set(measured)


def test_describe_names_the_artifact_of_an_architecture() -> None:
    done = nag("describe", "--space", "nasbench201", "--arch", CELL, "--json")
    values = json.loads(done.stdout)
    assert values["architecture"] == CELL
    assert values["parameters"] == sum(layer["parameters"] for layer in values["layers"])
    assert len(values["artifact_sha256"]) == 64


def test_generate_prints_distinct_legal_architectures() -> None:
    done = nag("generate", "--space", "nasbench201", "--method", "diffusion_nag", "-n", "32", "--seed", "1", "--json")
    values = json.loads(done.stdout)
    assert len(set(values["architectures"])) == 32
    assert values["summary"]["validity_unprojected"] >= 0.99
    again = nag("generate", "--space", "nasbench201", "--method", "diffusion_nag", "-n", "32", "--seed", "1", "--json")
    assert json.loads(again.stdout)["architectures"] == values["architectures"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "missing.yaml"], "readable YAML"),
        (["status", "nowhere"], "is no run folder"),
        (["report", "nowhere"], "is no run folder"),
        (["export", "nowhere", "--out", "x"], "is no run folder"),
        (["measure", "missing.tflite"], "missing.tflite"),
        (["measure", "pyproject.toml", "--device", "table:latencies.csv"], "table:FILE:COLUMN"),
        (["describe", "--space", "nasbench201", "--arch", "|conv~0|"], "no NAS-Bench-201 architecture"),
        (["describe", "--space", "resnet", "--arch", "x"], "nasbench201"),
        (["generate", "--space", "resnet", "--method", "random", "-n", "1"], "nasbench201"),
        (["run"], "Missing argument"),
        (["fly"], "No such command"),
    ],
)
def test_a_users_mistake_is_one_clear_message_and_exit_code_2(arguments: list[str], said: str) -> None:
    done = nag(*arguments)
    assert done.returncode == 2, done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_file_that_is_no_model_is_refused_by_the_runtime() -> None:
    done = nag("measure", "pyproject.toml")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_ctrl_c_saves_the_state_and_the_same_command_goes_on(campaign: Path, tmp_path: Path) -> None:
    folder = tmp_path / "interrupted"
    command = [sys.executable, "-m", "orchestrator.cli.main", "run", str(campaign), "--out", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        for line in process.stderr:  # wait for the first result
            if line.startswith("candidate"):
                break
        os.kill(process.pid, signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(timeout=1000) == 130
    assert "everything measured is saved" in rest
    assert f"--out {folder}" in rest
    assert "Traceback" not in rest
    assert json.loads(nag("status", folder, "--json").stdout)["state"] == "interrupted"
    assert nag("run", campaign, "--out", folder).returncode == 0
    assert json.loads(nag("status", folder, "--json").stdout)["state"] == "finished"


def test_a_second_process_on_the_run_folder_is_told(campaign: Path, tmp_path: Path) -> None:
    folder = tmp_path / "busy"  # for longer than the questions take
    arguments = ["run", str(campaign), "--out", str(folder), "--set", "budget.candidates=500"]
    command = [sys.executable, "-m", "orchestrator.cli.main", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.stderr.readline()  # the second line comes when the folder is its own
        second = nag(*arguments)
        state = json.loads(nag("status", folder, "--json").stdout)["state"]
        os.kill(process.pid, signal.SIGTERM)
        process.stderr.read()
        assert process.wait(timeout=1000) == 130
    assert second.returncode == 2
    assert "another process" in second.stderr
    assert state == "running"


def test_campaigns_on_a_users_own_table(tmp_path: Path) -> None:
    table = write_table(tmp_path / "mine.csv")
    values = {
        "name": "mine",
        "space": {"kind": "nasbench201"},
        "accuracy": {"kind": "table", "path": "mine.csv", "column": "accuracy"},
        "devices": [{"kind": "table", "path": "mine.csv", "column": "phone"}],
        "goal": {"maximize": "accuracy", "subject_to": ["latency_ms[phone] <= 0.01"]},
        "budget": {"candidates": 9, "batch": 3, "initial": 6},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    done = nag("run", tmp_path / "mine.yaml", "--out", tmp_path / "run")
    assert done.returncode == 1, done.stderr  # nothing meets 0.01 ms: done, but the goal was missed
    assert "No candidate meets the goal" in done.stdout
    assert nag("measure", "pyproject.toml", "--device", f"table:{table}:phone").returncode != 0
