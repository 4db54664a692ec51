"""`nag collect`, as its users meet it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from device_agent.device import Artifact
from device_agent.reference import reference_artifact
from device_agent.table import TableDevice
from orchestrator.cli.collect_view import duration
from orchestrator.collect.collector import Collector
from orchestrator.collect.store import CollectStore, store_path
from profiling.plan import MeasurementPlan
from profiling.records import Measurement
from tests.orchestrator.campaign.tables import write_table
from tests.orchestrator.cli.command import Nag
from tests.orchestrator.collect.test_config import SPACE


def write_config(folder: Path, **changes: Any) -> str:
    """A collection on a table, as a file."""
    write_table(folder / "table.csv")
    values: dict[str, Any] = {
        "name": "small",
        "models": {"kind": "space", "space": SPACE, "count": 12, "distinct": "architecture"},
        "devices": [{"kind": "table", "path": "table.csv", "column": "phone"}],
    }
    (folder / "small.yaml").write_text(yaml.safe_dump({**values, **changes}))
    return "small.yaml"


def test_collect_and_status(nag: Nag, tmp_path: Path) -> None:
    config = write_config(tmp_path)
    done = nag("collect", config, "--set", "models.count=9")
    assert done.returncode == 0, done.stderr
    assert "small: finished, 9 of 9 results (100.0 %), 9 models" in done.stdout
    assert done.stdout.endswith("report   runs/small/report.html\n")
    assert "small" in (tmp_path / "runs/small/report.html").read_text()
    assert "\x1b" not in done.stderr
    values = json.loads(nag("status", "runs/small", "--json").stdout)
    assert (values["state"], values["measurements"], values["missing"]) == ("finished", 9, 0)
    assert [device["device"] for device in values["devices"]] == ["phone"]
    assert "phone" in nag("status", "runs/small").stdout
    assert json.loads(nag("collect", config, "--set", "models.count=9", "--json").stdout) == values


def test_from_a_collection_to_a_data_set_to_a_table_device(nag: Nag, tmp_path: Path) -> None:
    assert nag("collect", write_config(tmp_path), "--out", "run").returncode == 0
    done = nag("export", "run", "--dataset", "set", "--license", "cc-by-4.0")
    assert (done.returncode, done.stdout) == (0, "12 rows of 1 device in set\n")
    checked = nag("dataset", "validate", "set", "--strict")
    assert checked.returncode == 0, checked.stdout
    device = TableDevice.of_column(tmp_path / "set", "phone")
    with CollectStore.read(store_path(tmp_path / "run")) as store:
        collected = list(store.results())
    assert device.info.properties["architectures"] == len(collected) == 12
    for each in collected:
        assert isinstance(each.result, Measurement)
        again = device.run_block(Artifact("", b"", each.job.model.name), MeasurementPlan(), 0)
        assert again.value_ms == pytest.approx(each.result.latency_ms)
    again = nag("collect", write_config(tmp_path, devices=[{"kind": "table", "path": "set", "column": "phone"}]))
    # The same architectures, in the same order, all of which the set knows.
    assert again.returncode == 0, again.stdout


def test_wrong_configurations_are_told_before_anything_is_made(nag: Nag, tmp_path: Path) -> None:
    config = write_config(tmp_path, settings={"threads": 0}, overlap={"shares": 1})
    done = nag("collect", config)
    assert done.returncode == 2
    assert "2 wrong fields" in done.stderr
    assert "settings.threads" in done.stderr
    assert not (tmp_path / "runs").exists()
    many = nag("collect", write_config(tmp_path), "--set", "models.count=20000")
    assert many.returncode == 2
    assert "at most 15625: it has no more architectures" in many.stderr


def test_corrupt_files_are_named_and_end_in_3(nag: Nag, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "broken.tflite").write_bytes(reference_artifact().data[:999])
    sources = [
        {"kind": "folder", "path": "models"},
        {"kind": "space", "space": SPACE, "count": 3, "distinct": "architecture"},
    ]
    done = nag("collect", write_config(tmp_path, models=sources))
    assert done.returncode == 3
    assert "left out: broken.tflite: the file is damaged or incomplete" in done.stdout
    (tmp_path / "models" / "late.tflite").write_bytes(reference_artifact().data)
    again = nag("collect", "small.yaml")
    assert again.returncode == 3
    assert "going on, 1 model left out; late.tflite is new in the folder and no part of this collection" in again.stderr


def test_interrupted_it_says_how_to_go_on(nag: Nag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Collector._commit

    def stop(self: Collector, *arguments: Any) -> None:
        commit(self, *arguments)
        os.kill(os.getpid(), signal.SIGINT)

    config = write_config(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Collector, "_commit", stop)
        done = nag("collect", config, "--out", "run")
    assert done.returncode == 130
    assert "nag collect small.yaml --out run" in done.stderr
    assert json.loads(nag("status", "run", "--json").stdout)["state"] == "interrupted"
    assert nag("collect", config, "--out", "run").returncode == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99, "99 s"), (120, "2 min"), (5400, "90 min"), (12_000, "3 h 20 min"), (352_800, "4 d 2 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
