from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.objective.registry import ObjectiveConfig, make_objective
from orchestrator.space.base import NetworkOptions
from orchestrator.space.nasbench201 import NASBench201

ADAPTER: TypeAdapter[ObjectiveConfig] = TypeAdapter(ObjectiveConfig)
NETWORK = NetworkOptions((1, 8, 8, 1), 10, {"channels": 4, "cells": 1})


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "training", "epochs": 2},
        {"kind": "table", "path": "table.csv", "column": "valid"},
        {"kind": "proxy"},
        {"kind": "command", "argv": ["true"]},
    ],
)
def test_every_kind_is_made(options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "table.csv").write_text(f"arch,valid\n{NASBench201().at(0)},90\n")
    monkeypatch.chdir(tmp_path)
    objective = make_objective(ADAPTER.validate_python(options), NASBench201(), NETWORK)
    assert objective.name == options["kind"]
    objective.close()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"kind": "train"}, "kind"),
        ({"kind": "training", "epoch": 3}, "epoch"),
        ({"kind": "training", "epochs": 0}, "epochs"),
        ({"kind": "training", "learning_rate": float("nan")}, "learning_rate"),
        ({"kind": "training", "validation": 0.6, "test": 0.5}, "validation"),
        ({"kind": "training", "device": "gpu"}, "device"),
        ({"kind": "table", "path": "x.csv"}, "column"),
        ({"kind": "ofa_predictor"}, "weights"),
        ({"kind": "proxy", "proxy": "best"}, "proxy"),
        ({"kind": "command", "argv": []}, "argv"),
        ({"kind": "command", "argv": "rm -rf x"}, "argv"),
        ({"kind": "command", "argv": ["true"], "timeout_s": 0}, "timeout_s"),
    ],
)
def test_wrong_fields_are_named(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        ADAPTER.validate_python(options)


def test_a_config_needs_no_torch() -> None:
    code = "import sys, orchestrator.objective.registry as r; assert r.ProxyConfig(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
