"""`nag adapt --models`, `nag train latency --models` and `nag describe FILE`, as their users meet them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from device_agent.errors import InfrastructureError, ModelCrashed
from orchestrator.cli import measure
from orchestrator.collect.config import CollectConfig
from orchestrator.collect.records import ORIGINAL, CollectArtifact, CollectJob, CollectModel, Setting
from orchestrator.collect.store import STORE, CollectStore
from orchestrator.dataset.export import export_dataset
from orchestrator.predict.latency.models import ModelFile, read_models
from orchestrator.space.nasbench201 import NASBench201
from profiling.records import Block, DeviceInfo, Failure, Measurement
from tests.device_agent.scripted import ScriptedDevice
from tests.orchestrator.cli.command import Nag
from tests.orchestrator.predict.latency.model_folder import CORRUPT, ODD, latencies, write_folder

SPACE = NASBench201()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """13 different models and a copy."""
    return write_folder(tmp_path / "models")


def models_of(folder: Path) -> tuple[ModelFile, ...]:
    return read_models(folder)[0]


class Counting(ScriptedDevice):
    """Each artifact takes as long as it is large; some do not run."""

    def __init__(self) -> None:
        super().__init__([], name="counted", kind="host")
        self.blocks: list[str] = []
        self.refused: set[str] = set()
        self.lost_after: int | None = None

    def run_block(self, artifact: Any, plan: Any, index: int) -> Block:
        if artifact.sha256 in self.refused:
            raise ModelCrashed("an operator is not there", device="counted")
        if len(self.blocks) == self.lost_after:
            raise InfrastructureError("it is gone", device="counted")
        self.blocks.append(artifact.sha256)
        self._steps = [1.0 + len(artifact.data) / 1e4] * (index + 1)
        return super().run_block(artifact, plan, index)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """What `--device host` opens."""
    counting = Counting()

    @contextmanager
    def opened(*_: object, **__: object) -> Iterator[Counting]:
        yield counting

    monkeypatch.setattr(measure, "open_device", opened)
    return counting


def test_no_more_is_measured_than_asked_and_all_others_are_predicted(nag: Nag, folder: Path, device: Counting) -> None:
    write_folder(folder / "more", 3, odd=True)
    done = nag("adapt", "--models", "models", "--device", "host", "--samples", "6", "--out", "d.safetensors", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert len(set(device.blocks)) == len(printed["measured"]) == len(set(printed["measured"])) == 6
    assert len(printed["models"]) == 14 + 4
    for each in printed["models"]:
        assert 0 < each["low_ms"] <= each["latency_ms"] <= each["high_ms"]
    shown = {each["model"]: each for each in printed["models"]}
    assert sum(each["measured_ms"] is not None for each in shown.values()) >= 6
    assert shown["a0.tflite"]["latency_ms"] == shown["a13.tflite"]["latency_ms"]
    assert shown[f"more/{ODD}"]["unpriced"] == {"CUSTOM:Fancy": 1}
    assert list(printed["left_out"]) == [f"more/{CORRUPT}"]
    assert printed["evaluated"] == "each of the 6 from the others"
    assert "16 made-up devices stand in" in done.stderr
    assert f"left out: more/{CORRUPT} is damaged" in done.stderr
    assert not list(Path().glob("*.sqlite"))
    whole = len(device.blocks)
    again = nag("adapt", "--models", "models", "--adapted", "d.safetensors", "--json")
    assert [each["latency_ms"] for each in json.loads(again.stdout)["models"]] == [
        each["latency_ms"] for each in printed["models"]
    ]
    assert len(device.blocks) == whole, "nothing is measured for that"


def test_what_people_see(nag: Nag, folder: Path, device: Counting) -> None:
    done = nag("adapt", "--models", "models", "--device", "host", "--samples", "3")
    assert done.returncode == 0, done.stderr
    assert "14 models on host, from 3 measurements" in done.stdout
    assert sum("measured" in line for line in done.stdout.splitlines()) >= 3
    assert "3 measurements are too few" in done.stdout


def test_a_model_that_cannot_be_run_is_replaced_by_another(nag: Nag, folder: Path, device: Counting) -> None:
    command = ("adapt", "--models", "models", "--device", "host", "--samples", "4", "--out", "d.safetensors", "--json")
    first = json.loads(nag(*command).stdout)
    by_name = {model.name: model.sha256 for model in models_of(folder)}
    device.refused = {by_name[first["measured"][index]] for index in (0, 2)}
    device.blocks.clear()
    done = nag(*command)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert len(set(device.blocks)) == len(printed["measured"]) == 4
    assert printed["failed"] == {first["measured"][index]: "an operator is not there" for index in (0, 2)}
    assert {each["model"] for each in printed["models"] if each["runs"] is False} == set(printed["failed"])
    assert "cannot be run there; another is measured" in done.stderr
    device.refused = set(by_name.values())
    done = nag(*command)
    assert done.returncode == 3
    assert "can run none of the models" in done.stderr


def test_an_interrupted_command_goes_on(nag: Nag, folder: Path, device: Counting) -> None:
    command = ("adapt", "--models", "models", "--device", "host", "--samples", "5", "--out", "d.safetensors", "--json")
    whole = json.loads(nag(*command).stdout)
    every = len(device.blocks)
    by_name = {model.name: model.sha256 for model in models_of(folder)}
    device.refused = {by_name[whole["measured"][0]]}  # what showed drifts at first does not run
    device.blocks.clear()
    device.lost_after = 8
    done = nag(*command)
    assert done.returncode == 3
    assert "it is gone" in done.stderr
    assert "Traceback" not in done.stderr
    device.lost_after = None
    done = nag(*command)
    assert done.returncode == 0, done.stderr
    assert len(set(device.blocks)) == len(json.loads(done.stdout)["measured"]) == 5
    assert len(device.blocks) < every + 8, "what was measured before counts"


def write_table(path: Path, folder: Path, columns: dict[str, Any]) -> Path:
    names = [model.name for model in models_of(folder)]
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["arch", *columns])
        rows.writerows([name, *cells] for name, *cells in zip(names, *columns.values(), strict=True))
    return path


def test_a_held_out_column_of_a_table(nag: Nag, folder: Path, tmp_path: Path) -> None:
    columns = latencies(models_of(folder), 3, 21)
    write_table(tmp_path / "t.csv", folder, columns)
    done = nag("train", "latency", "--models", "models", "--table", "t.csv", "--out", "p.safetensors", "--json")
    assert done.returncode == 0, done.stderr
    trained = json.loads(done.stdout)
    assert [each["device"] for each in trained["devices"]][:3] == list(columns)
    assert len(trained["devices"]) == 3 + 16
    done = nag(
        "adapt", "--models", "models", "--table", "t.csv", "--column", "device 1",
        "--prior", "p.safetensors", "--samples", "5", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert "device 1" in printed["prior"]["left_out"]
    assert "device 1" not in printed["prior"]["devices"]
    assert len(printed["measured"]) == 5
    assert printed["evaluated"] in ("8 other models", "9 other models")  # the copy may be one of those looked up
    assert printed["spearman"] > 0.8


def collection(path: Path, folder: Path, cells_count: int = 2) -> Path:
    """A run that measured the folder's files (one of them failed), a file of another folder, and some cells."""
    source = {"kind": "folder", "path": str(folder)}
    cells = {"kind": "space", "space": {"kind": "nasbench201", "channels": 4, "cells": 1}, "count": 2}
    values = {"name": "run", "models": [source, cells], "devices": [{"kind": "host"}]}
    plan = [CollectModel(row, model.name, sha256=model.sha256) for row, model in enumerate(models_of(folder))]
    plan.append(CollectModel(len(plan), "elsewhere.tflite", sha256="ab" * 32))
    for row in SPACE.sample(cells_count, np.random.default_rng(0)):
        text = SPACE.architecture(row).text
        plan.append(CollectModel(len(plan), text, "nasbench201", text, source=1, sha256="cd" * 32))
    settings = [Setting("float32" if model.architecture else ORIGINAL, "cpu", 1) for model in plan]
    jobs = [CollectJob(row, *planned, "host") for row, planned in enumerate(zip(plan, settings, strict=True))]
    path.mkdir()
    with CollectStore.create(path / STORE, {}) as store:
        store.set_meta("config", CollectConfig.model_validate(values).model_dump(mode="json"))
        store.add_plan(plan, list(dict.fromkeys(settings)), jobs, ["host"])
        info = DeviceInfo("host", "host", "machine", "0a", "1")
        for row, job in enumerate(jobs):
            sha256 = job.model.sha256
            store.add_artifact(job.model, job.setting.precision, CollectArtifact(sha256, 1000))
            taken = Measurement(1.0 + row, 0.01, 0.9 + row, 1.1 + row, (), "A", (), 0.02, sha256, info)
            failed = Failure("model", "model_crashed", "no such operator")
            store.add_result(job, failed if row == 3 else taken, at=1000.0 + row, since=999.0)
    return path


def test_runs_and_data_sets_are_sources(nag: Nag, folder: Path, tmp_path: Path) -> None:
    run = collection(tmp_path / "run", folder)
    export_dataset(run, tmp_path / "set")
    for source in ("run", "set"):
        done = nag("train", "latency", "--models", "models", "--latency", source, "--synthetic", "0", "--json")
        assert done.returncode == 0, done.stderr
        trained = json.loads(done.stdout)
        # 13 different files but for one that failed (the first and its copy are one), and two cells.
        assert [(each["device"], each["models"]) for each in trained["devices"]] == [("host", 12 + 2)]
        assert trained["unmatched"] == {"files that are not in the folder": 1}
        assert "1 measurements are of files that are not in the folder" in done.stderr
    assert Path("latency_models.safetensors").stat().st_size < 4 * 2**20


def test_a_set_of_files_alone_is_a_table(nag: Nag, folder: Path, tmp_path: Path) -> None:
    export_dataset(collection(tmp_path / "run", folder, cells_count=0), tmp_path / "set")
    done = nag("adapt", "--models", "models", "--table", "set", "--column", "host", "--samples", "0", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["evaluated"] == "13 other models"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("adapt", "--models", "none", "--device", "host"), 2, "no such folder"),
        (("adapt", "--models", "models"), 2, "one of them"),
        (("adapt", "--models", "models", "--device", "host", "--samples", "40"), 2, "at most 13"),
        (("adapt", "--models", "models", "--device", "host", "--clock", "sun"), 2, "wall; or cpu"),
        (("adapt", "--adapted", "x.safetensors"), 2, "only with --models"),
        (("adapt", "--models", "models", "--adapted", "x.safetensors"), 2, "no checkpoint at x.safetensors"),
        (("adapt", "--models", "models", "--table", "t.csv", "--column", "a"), 2, "has no latency of any file"),
        (("adapt", "--models", "models", "--table", "t.csv", "--column", "z"), 2, "no column 'z'"),
        (("train", "latency"), 2, "--space/--models"),
        (("train", "latency", "--models", "models", "--latency", "models"), 2, "holds neither a campaign nor"),
        (("train", "latency", "--models", "models", "--synthetic", "0"), 2, "no devices to learn from"),
        (("train", "latency", "--models", "models", "--table", "t.csv", "--devices", "z"), 2, "no column 'z'"),
        (("describe", "t.csv"), 2, "is no .tflite file"),
        (("describe", "none.tflite"), 2, "cannot be opened"),
        (("describe", "models/a0.tflite", "--space", "nasbench201"), 2, "nothing beside a file"),
        (("describe",), 2, "or a .tflite file instead"),
    ],
)
def test_a_wrong_command_says_what_and_what_to_do(
    nag: Nag, folder: Path, device: Counting, arguments: tuple[str, ...], code: int, said: str
) -> None:
    Path("t.csv").write_text("arch,a\nb.tflite,1\nc.tflite,2\n")
    done = nag(*arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    assert not device.blocks


def test_describe_says_what_a_file_takes(nag: Nag, folder: Path) -> None:
    write_folder(folder / "more", 2, odd=True)
    model = models_of(folder)[0]
    printed = json.loads(nag("describe", f"models/{model.name}", "--json").stdout)
    assert printed["multiply_adds"] == model.multiply_adds
    assert printed["artifact_sha256"] == model.sha256
    assert [each["operation"] for each in printed["layers"]][:1] == ["CONV_2D"]
    done = nag("describe", f"models/more/{ODD}")
    assert "CUSTOM:Fancy" in done.stdout
    assert "not priced: CUSTOM:Fancy, once" in done.stdout
    done = nag("describe", f"models/more/{CORRUPT}")
    assert done.returncode == 2
    assert "is damaged or incomplete" in done.stderr
