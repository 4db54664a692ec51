"""Whole nights on virtual phones, on which nothing is computed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from device_agent.virtual import PROFILES, VirtualLab
from orchestrator.cli.main import app
from orchestrator.nightly.night import read_night
from orchestrator.space.base import NetworkOptions
from orchestrator.space.registry import make_space
from profiling.tflite import emit
from profiling.weights import random_weights

NETWORKS = NetworkOptions((1, 8, 8, 1), 10, {"channels": 4, "cells": 1})


@pytest.fixture
def lab() -> Iterator[VirtualLab]:
    quick = dataclasses.replace(PROFILES["virtual8"].with_fixed_runs(0.0, 10.0, 0.005), noise=0.0)
    with VirtualLab(1, [quick]) as made:
        yield made


@pytest.fixture
def config(lab: VirtualLab, tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    space = make_space("nasbench201")
    for index, slots in enumerate(([1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2], [3, 3, 3, 3, 3, 3])):
        network = space.network(space.architecture(slots), NETWORKS)
        (tmp_path / "models" / f"net{index}.tflite").write_bytes(emit(network, random_weights(network)))
    path = tmp_path / "nightly.yaml"
    path.write_text(f"""
name: farm
models: {{kind: folder, path: models}}
references: 1
devices: [{{kind: adb, port: {lab.port}}}]
measure: {{blocks: [3, 3], min_runs: 1, block_seconds: 0.01, warmup_seconds: 0}}
passes: {{night: 1, baseline: 2, again: 1, controls: 2}}
patience_s: 60
""")
    return path


def nag(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_regression_is_found_where_it_is_and_a_corrupt_file_is_named(
    lab: VirtualLab, config: Path, tmp_path: Path
) -> None:
    code, out, _ = nag("nightly", config, "--out", tmp_path / "first")
    assert code == 0, out
    assert "no baseline" in out
    assert read_night(tmp_path / "first").passes == ("passes/1", "passes/2")

    slow = (tmp_path / "models" / "net1.tflite").read_bytes()
    lab.phones[0].slow_models[hashlib.sha256(slow).hexdigest()] = 1.15
    (tmp_path / "models" / "broken.tflite").write_bytes(b"nothing")
    code, out, err = nag("nightly", config, "--baseline", tmp_path / "first", "--out", tmp_path / "second", "--json")
    values = json.loads(out)
    assert code == values["exit_code"] == 1
    assert "something looks slower" in err
    (phone,) = values["phones"]
    found = {model["model"]: model for model in phone["models"]}
    assert {name for name, model in found.items() if model["status"] == "slower"} == {"net1.tflite"}
    assert found["net1.tflite"]["own_change"]["ci_low_ratio"] > 1.05
    assert found["broken.tflite"]["status"] == "failed"
    assert len(values["alarms"]) == 1
    assert values["alarms"][0].startswith("net1.tflite on Virtual 8")
    assert all((tmp_path / "second" / name).is_file() for name in ("report.html", "junit.xml", "nightly.prom"))

    code, out, _ = nag("compare", tmp_path / "first", tmp_path / "second", "--max-slowdown", "5")
    assert code == 1
    assert "net1.tflite" in out


def test_a_phone_that_is_gone_is_missing(lab: VirtualLab, config: Path, tmp_path: Path) -> None:
    words = ["nightly", config, "--set", "passes.baseline=1", "--out", tmp_path / "first"]
    assert nag(*words)[0] == 0
    lab.phones[0].unplug()
    words = ["nightly", config, "--set", "patience_s=1", "--baseline", tmp_path / "first"]
    code, out, _ = nag(*words, "--out", tmp_path / "second", "--json")
    values = json.loads(out)
    assert code == values["exit_code"] == 3
    assert [phone["status"] for phone in values["phones"]] == ["missing"]
    assert values["alarms"] == []
    assert "not all was measured" in values["notes"][0]


def test_the_same_folder_goes_on(config: Path, tmp_path: Path) -> None:
    words = ["nightly", config, "--set", "passes.baseline=1", "--out", tmp_path / "first"]
    assert nag(*words)[0] == 0
    started = read_night(tmp_path / "first").started_at
    code, _, err = nag(*words)
    assert code == 0
    assert "pass 1 of 1" not in err  # it is done
    assert read_night(tmp_path / "first").started_at == started
