"""Tasks in files, and their collection by training."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.errors import DataError
from orchestrator.generate.guides import make_score
from orchestrator.generate.pool import score
from orchestrator.predict.transfer.collect import CollectPlan, collect_tasks
from orchestrator.predict.transfer.tasks import ACCURACIES, IMAGES, read_images, read_task, read_tasks
from orchestrator.predict.transfer.train import TransferConfig, train_transfer
from orchestrator.space.nasbench201 import NASBench201
from tests.orchestrator.predict.transfer.synthetic import SPACE, task

_PLAN = CollectPlan(
    "nasbench201", ("digits",), (8, 8, 1), {"channels": 4, "cells": 1}, tasks=2, architectures=3, classes=(2, 3),
    images=10, epochs=1,
)  # fmt: skip


def _write(folder: Path, number: int) -> None:
    made = task(number, True)
    folder.mkdir(parents=True)
    np.savez(folder / IMAGES, x=made.images.x, y=made.images.y)
    rows = [f"{SPACE.architecture(row).text},{value}" for row, value in zip(made.slots, made.accuracies, strict=True)]
    (folder / ACCURACIES).write_text("arch,accuracy\n" + "\n".join(rows) + "\n")


def test_tasks_come_back_as_written(tmp_path: Path) -> None:
    _write(tmp_path / "one", 1)
    found, made = read_task(tmp_path / "one", SPACE), task(1, True)
    assert (found.slots == made.slots).all()
    assert np.allclose(found.accuracies, made.accuracies)
    assert (found.images.x == made.images.x).all()


@pytest.mark.parametrize(
    "text",
    ["", "arch\nx\n", "arch,accuracy\nnonsense,3\n", "arch,accuracy\n|none~0|,x\n", "arch,accuracy\n"],
    ids=["empty", "no accuracies", "no architecture", "no number", "nothing"],
)
def test_bad_accuracies_say_where(tmp_path: Path, text: str) -> None:
    _write(tmp_path / "one", 1)
    (tmp_path / "one" / ACCURACIES).write_text(text)
    with pytest.raises(DataError, match=r"accuracies\.csv") as caught:
        read_task(tmp_path / "one", SPACE)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.zeros((4, 8, 8), np.float32), [0, 1, 0, 1]),
        (np.zeros((4, 8, 8, 2), np.uint8), [0, 1, 0, 1]),
        (np.zeros((4, 8, 8), np.uint8), [0, 2, 0, 2]),
        (np.zeros((4, 8, 8), np.uint8), [0, 0, 0, 0]),
        (np.zeros((4, 8, 8), np.uint8), [0, 1]),
    ],
    ids=["float", "two channels", "a gap", "one class", "too few labels"],
)
def test_bad_images_are_refused(tmp_path: Path, x: np.ndarray, y: list[int]) -> None:
    np.savez(tmp_path / IMAGES, x=x, y=y)
    with pytest.raises(DataError):
        read_images(tmp_path / IMAGES)
    (tmp_path / IMAGES).write_bytes(b"PK nonsense")
    with pytest.raises(DataError):
        read_images(tmp_path / IMAGES)


def test_collecting_goes_on_where_it_stopped(tmp_path: Path) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    assert collect_tasks(_PLAN, NASBench201(), tmp_path / "tasks", stop=stop) == 2
    with pytest.raises(DataError, match="finished tasks"):
        read_tasks(tmp_path / "tasks", SPACE)
    assert collect_tasks(_PLAN, NASBench201(), tmp_path / "tasks") == 6
    tasks = read_tasks(tmp_path / "tasks", SPACE)
    assert [len(each.slots) for each in tasks] == [3, 3]
    with pytest.raises(DataError, match="another plan"):
        collect_tasks(replace(_PLAN, epochs=2), NASBench201(), tmp_path / "tasks")


def _collect(out: Path) -> None:
    collect_tasks(replace(_PLAN, architectures=2), NASBench201(), out)


def test_two_processes_share_the_work_and_find_the_same(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_collect, args=(tmp_path / "shared",)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    _collect(tmp_path / "alone")
    for one, other in zip(*(read_tasks(tmp_path / name, SPACE) for name in ("shared", "alone")), strict=True):
        assert (one.slots == other.slots).all()
        assert np.allclose(one.accuracies, other.accuracies)


def test_the_command_line_trains_and_tries(tmp_path: Path) -> None:
    for number in range(5):
        _write(tmp_path / "tasks" / f"task{number}", number)
    out = tmp_path / "a.safetensors"
    arguments = ["train", "accuracy", "--space", "nasbench201", "--tasks", str(tmp_path / "tasks"), "--out", str(out)]
    result = CliRunner().invoke(app, [*arguments, "--steps", "5", "--holdout", "2", "--json"])
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert values["tasks"] == 3
    assert set(values["spearman_by_evaluations"]) == {"0", "1", "5"}, "12 architectures leave 2 after 10: too few"
    assert out.is_file()


def test_generation_is_guided_on_images_alone(tmp_path: Path) -> None:
    for number in range(3):
        _write(tmp_path / "tasks" / f"task{number}", number)
    model = tmp_path / "a.safetensors"
    trained = ["train", "accuracy", "--space", "nasbench201", "--tasks", str(tmp_path / "tasks"), "--steps", "3"]
    assert CliRunner().invoke(app, [*trained, "--out", str(model)]).exit_code == 0
    asked = ["generate", "--space", "nasbench201", "--method", "random", "-n", "3", "--json"]
    result = CliRunner().invoke(app, [*asked, "--guide", f"accuracy:{model}@digits"])
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["architectures"]) == 3


def test_what_was_evaluated_on_the_data_set_is_believed(tmp_path: Path) -> None:
    for number in range(3):
        _write(tmp_path / "tasks" / f"task{number}", number)
    known = read_tasks(tmp_path / "tasks", SPACE)
    model = tmp_path / "a.safetensors"
    train_transfer(SPACE, known, TransferConfig(steps=3)).save(model, {})
    slots = SPACE.sample(30, np.random.default_rng(5))
    values = np.linspace(20.0, 90.0, len(slots))  # which nobody could have known
    rows = [f"{SPACE.architecture(row).text},{value}" for row, value in zip(slots, values, strict=True)]
    (tmp_path / "mine.csv").write_text("\n".join(["arch,top1", *rows]))
    before, after = (
        make_score(SPACE, f"accuracy:{model}@digits{evaluated}") for evaluated in ("", f"@{tmp_path / 'mine.csv'}:top1")
    )
    errors = [np.abs(score(each, slots, SPACE) - values).mean() for each in (before, after)]
    assert errors[1] < 0.8 * errors[0]
    (tmp_path / "mine.csv").write_text("\n".join(["arch,top1", *rows[:2], f"{SPACE.architecture(slots[5]).text},240"]))
    with pytest.raises(DataError, match="240"):
        make_score(SPACE, f"accuracy:{model}@digits@{tmp_path / 'mine.csv'}:top1")
