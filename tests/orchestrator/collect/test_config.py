"""Configurations of collections: everything wrong is told at once, before any device is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.collect.config import CollectConfig, load_collection, parse_collection, require_same_collection
from orchestrator.collect.plan import make_jobs
from orchestrator.collect.records import CollectModel
from orchestrator.errors import ConfigError, NagError

CONFIGS = Path(__file__).parents[3] / "configs"
SPACE = {"kind": "nasbench201", "input": [1, 8, 8, 1], "channels": 4, "cells": 1}


def collection(**changes: Any) -> CollectConfig:
    values: dict[str, Any] = {
        "name": "test",
        "models": {"kind": "space", "space": SPACE, "count": 4},
        "devices": [{"kind": "host"}],
    }
    return parse_collection({**values, **changes}, source="test")


def wrong(**changes: Any) -> dict[str, str]:
    """Field -> what is allowed, for a configuration that must be refused."""
    with pytest.raises(ConfigError) as caught:
        collection(**changes)
    return {problem.field: problem.allowed for problem in caught.value.problems}


def test_the_shipped_configuration_is_right() -> None:
    config = load_collection(CONFIGS / "collect_latency.yaml")
    assert config.device_names == ("Virtual 8", "Virtual 6")


def test_single_values_are_lists_of_one() -> None:
    config = collection(settings={"precision": "float32", "threads": [1, 4], "delegate": "none"})
    assert len(config.models) == 1
    assert (config.settings.precision, config.settings.delegate) == (("float32",), ("none",))


def test_this_machine_has_few_delegates() -> None:
    assert "settings.delegate" in wrong(settings={"delegate": ["cpu", "gpu"]})
    mixed = collection(settings={"delegate": ["cpu", "gpu"]}, devices=[{"kind": "host"}, {"kind": "virtual"}])
    models = [CollectModel(0, "m", "nasbench201", "m")]
    asked = {(job.device, job.setting.delegate) for job in make_jobs(mixed, models, {})}
    assert asked == {
        ("host", "cpu"), ("Virtual 8", "cpu"), ("Virtual 8", "gpu"), ("Virtual 6", "cpu"), ("Virtual 6", "gpu"),
    }  # fmt: skip


def test_every_wrong_field_is_told_at_once() -> None:
    problems = wrong(
        name="-",
        models=[{"kind": "space", "space": SPACE, "count": 0}, {"kind": "folder", "pth": "x"}, {"kind": "zip"}],
        settings={"precision": ["int4"], "threads": [1, 1]},
        measure={"threads": 2},
    )
    assert set(problems) == {
        "name", "models.0.count", "models.1.path", "models.1.pth", "models.2.kind",
        "settings.precision.0", "settings.threads", "measure.threads",
    }  # fmt: skip
    assert "pattern" in problems["models.1.pth"]  # the fields that exist there


def test_what_no_single_field_can_tell(tmp_path: Path) -> None:
    problems = wrong(
        models=[
            {"kind": "space", "space": {**SPACE, "widht": 3}, "count": 4},
            {"kind": "folder", "path": str(tmp_path)},
            {"kind": "folder", "path": str(tmp_path / "missing")},
        ],
        devices=[{"kind": "host"}, {"kind": "host"}],
    )
    assert {"devices", "models[0].space.widht", "models[2].path"} <= set(problems)
    assert wrong(models={"kind": "folder", "path": str(tmp_path)}).keys() == {"models[0].pattern"}


def test_block_tables_need_one_space(tmp_path: Path) -> None:
    (tmp_path / "a.tflite").touch()
    (tmp_path / "blocks.csv").touch()
    lut = {"kind": "lut", "path": str(tmp_path / "blocks.csv")}
    assert "devices" in wrong(models={"kind": "folder", "path": str(tmp_path)}, devices=[lut])


def test_a_folder_is_continued_by_its_own_collection_only(tmp_path: Path) -> None:
    require_same_collection(collection(), collection(patience_s=5, window=7), tmp_path)
    with pytest.raises(NagError, match="seed, overlap changed"):
        require_same_collection(collection(), collection(seed=1, overlap={"share": 0.5}), tmp_path)
