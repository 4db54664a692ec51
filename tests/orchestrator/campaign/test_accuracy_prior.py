"""A campaign that begins with what other data sets say of accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.campaign.config import Config, parse_config
from orchestrator.campaign.events import Event, Started
from orchestrator.campaign.knowledge import knowledge_of
from orchestrator.campaign.loop import run_campaign
from orchestrator.campaign.warm_start import WarmStart
from orchestrator.cli.watch import line
from orchestrator.errors import ConfigError, DataError
from orchestrator.predict.transfer.train import TransferConfig, train_transfer
from orchestrator.report.run import read_run
from orchestrator.report.sections import prediction_section
from tests.orchestrator.campaign.tables import write_table
from tests.orchestrator.predict.transfer.synthetic import SPACE, images, task


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prior") / "accuracy.safetensors"
    tasks = [task(number, bool(number % 2)) for number in range(6)]
    train_transfer(SPACE, tasks, TransferConfig(steps=30)).save(path, {})
    return path


def write_images(path: Path, *, broad: bool) -> Path:
    drawn = images(broad, 3, 60, per_class=20)
    np.savez(path, x=drawn.x, y=drawn.y)
    return path


def config(folder: Path, dataset: Path | str, **changes: Any) -> Config:
    table = folder / "table.csv"
    values: dict[str, Any] = {
        "name": "prior",
        "space": {"kind": "nasbench201", "input": [1, 16, 16, 1], "classes": 3, "channels": 4, "cells": 1},
        "generator": {"kind": "random", "pool": 16},
        "accuracy": {"kind": "training", "dataset": str(dataset), "epochs": 1},
        "devices": [{"kind": "table", "path": str(table if table.exists() else write_table(table)), "column": "phone"}],
        "budget": {"candidates": 6, "batch": 2, "initial": 3, "verify": 0},
    }
    return parse_config({**values, **changes}, source="test")


def proposed(state: Any) -> Sequence[tuple[int, ...]]:
    return [each.row.slots for each in state.candidates]


def test_a_campaign_proposes_by_it_from_the_first_round(prior: Path, tmp_path: Path) -> None:
    """Pools are what suits broad stripes, by the tasks that the prior was trained on."""
    dataset = write_images(tmp_path / "broad.npz", broad=True)
    lines: list[str | None] = []

    def listen(event: Event) -> None:
        lines.extend([line(event)] if isinstance(event, Started) else [])

    told = run_campaign(config(tmp_path, dataset, accuracy_prior=str(prior)), tmp_path / "told", listen)
    plain = run_campaign(config(tmp_path, dataset), tmp_path / "plain", listen)
    pools = [np.mean(np.array(proposed(state)[:3]) == 4) for state in (told, plain)]
    assert pools[0] > pools[1]
    assert len(told.measured) == 6
    assert [str(prior) in str(each) for each in lines] == [True, False]
    assert str(prior) in prediction_section(read_run(tmp_path / "told")).text
    assert str(prior) not in prediction_section(read_run(tmp_path / "plain")).text


def test_it_looks_at_the_images(prior: Path, tmp_path: Path) -> None:
    slots = SPACE.sample(200, np.random.default_rng(0))
    pools, convolutions = (slots == 4).sum(axis=1), (slots == 3).sum(axis=1)
    for broad, better, worse in ((True, pools, convolutions), (False, convolutions, pools)):
        seen = write_images(tmp_path / f"{broad}.npz", broad=broad)
        believed = knowledge_of(config(tmp_path, seen, accuracy_prior=str(prior)), SPACE, WarmStart(), ()).accuracy
        assert believed is not None
        expected = believed.of(slots, SPACE)
        assert np.corrcoef(expected, better)[0, 1] > np.corrcoef(expected, worse)[0, 1]
        assert believed.doubt > 0
        assert believed.rest > 0


def test_none_is_the_default(tmp_path: Path) -> None:
    assert config(tmp_path, "digits", accuracy_prior="none") == config(tmp_path, "digits")
    assert knowledge_of(config(tmp_path, "digits"), SPACE, WarmStart(), ()).accuracy is None


def test_a_table_needs_to_be_told_of_its_images(prior: Path, tmp_path: Path) -> None:
    seen = write_images(tmp_path / "a.npz", broad=True)
    table = {"kind": "table", "path": str(write_table(tmp_path / "t.csv")), "column": "accuracy"}
    with pytest.raises(ConfigError, match=r"accuracy_prior.dataset: .*names none"):
        config(tmp_path, seen, accuracy=table, accuracy_prior=str(prior))
    named = {"checkpoint": str(prior), "dataset": str(seen)}
    told = knowledge_of(config(tmp_path, seen, accuracy=table, accuracy_prior=named), SPACE, WarmStart(), ())
    assert told.accuracy is not None


def test_what_cannot_be_used_is_named_before_anything_runs(prior: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"accuracy_prior.checkpoint: .*an existing file"):
        config(tmp_path, "digits", accuracy_prior=str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match=r"accuracy_prior: .*percent"):
        config(tmp_path, "digits", accuracy={"kind": "proxy"}, accuracy_prior=str(prior))
    with pytest.raises(ConfigError, match=r"accuracy_prior: .*mobilenetv3"):
        config(tmp_path, "digits", space={"kind": "mobilenetv3"}, accuracy_prior=str(prior))
    other = tmp_path / "other.safetensors"
    other.write_bytes(prior.read_bytes()[:100])
    with pytest.raises(ConfigError, match=r"accuracy_prior: .*nag train accuracy|accuracy_prior: .*again"):
        config(tmp_path, "digits", accuracy_prior=str(other))


def test_images_that_cannot_be_looked_at_are_refused(prior: Path, tmp_path: Path) -> None:
    drawn = images(True, 3, 61)
    np.savez(tmp_path / "float.npz", x=drawn.x.astype(np.float32), y=drawn.y)
    with pytest.raises(DataError, match="uint8"):
        knowledge_of(config(tmp_path, tmp_path / "float.npz", accuracy_prior=str(prior)), SPACE, WarmStart(), ())
