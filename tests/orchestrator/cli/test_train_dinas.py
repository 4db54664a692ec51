"""`nag train dinas`, and what it made in `nag generate`, as their users meet them."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.cli.main import main
from orchestrator.generate.dinas import train
from orchestrator.generate.dinas.calibration import Calibration
from orchestrator.space.nasbench201 import NASBench201

SPACE = NASBench201()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Accuracy counts 3x3 convolutions, latency all convolutions."""
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["arch", "accuracy", "phone"])
        for slots in np.unique(SPACE.sample(260, np.random.default_rng(0)), axis=0):
            convolutions = int((slots == 3).sum()), int(np.isin(slots, (2, 3)).sum())
            rows.writerow([SPACE.architecture(slots).text, 50 + 5 * convolutions[0], 1 + convolutions[1]])
    return path


def _nag(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command, run in this process."""
    torch.set_num_threads(1)
    monkeypatch.setattr(sys, "argv", ["nag", *arguments])
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capfd.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_train_and_use(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "calibrate", lambda *_: Calibration(0.05, (1.0,)))  # an untrained network takes long
    labels = ["--accuracy", f"{table}:accuracy", "--latency", f"{table}:phone"]
    command = ["train", "dinas", "--space", "nasbench201", *labels, "--batch", "16", "--references", "4", "--json"]
    code, out, err = _nag([*command, "--steps", "3", "--out", "own.safetensors"], monkeypatch, capfd)
    assert code == 0, err
    printed = json.loads(out)
    assert printed["margin"] == 0.05
    assert len({SPACE.parse(text) for text in printed["references"]}) == 4
    used = ["generate", "--space", "nasbench201", "--method", "dinas", "--checkpoint", "own.safetensors", "-n", "6"]
    code, out, err = _nag([*used, "--json"], monkeypatch, capfd)
    assert code == 0, err
    assert len({SPACE.parse(text) for text in json.loads(out)["architectures"]}) == 6


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--accuracy", "absent.csv:a", "--latency", "absent.csv:b"], "absent.csv"),
        (["--accuracy", "nonsense", "--latency", "absent.csv:b"], "FILE:COLUMN"),
        (["--accuracy", "ofa:weights.npz", "--latency", "absent.csv:b"], "mobilenetv3"),
        (["--accuracy", "{table}:accuracy", "--latency", "lut:blocks.csv@1.2"], "mobilenetv3"),
        (["--accuracy", "{table}:accuracy", "--latency", "{table}:absent"], "no column 'absent'"),
    ],
)
def test_wrong_usage_is_explained(
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    given = [each.format(table=table) for each in arguments]
    code, out, err = _nag(["train", "dinas", "--space", "nasbench201", *given], monkeypatch, capfd)
    assert code == 2
    assert says in err
    assert not out
    assert "Traceback" not in err
