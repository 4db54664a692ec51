"""`nag generate` and `nag train score`, as their users meet them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.cli.main import main
from orchestrator.space.nasbench201 import NASBench201

NAG = (sys.executable, "-c", "from orchestrator.cli.main import main; main()")
SPACE = NASBench201()


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Nag = Callable[..., Done]


@pytest.fixture
def nag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs a command in this process, on one thread, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["nag", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Accuracy counts 3x3 convolutions, latency all convolutions."""
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["arch", "accuracy", "latency"])
        for slots in np.unique(SPACE.sample(80, np.random.default_rng(0)), axis=0):
            convolutions = int((slots == 3).sum()), int(np.isin(slots, (2, 3)).sum())
            rows.writerow([SPACE.architecture(slots).text, 50 + 5 * convolutions[0], 1 + convolutions[1]])
    return path


def test_generate_prints_architectures_and_a_summary(nag: Nag) -> None:
    done = nag("generate", "--space", "nasbench201", "--method", "diffusion_nag", "-n", "64", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert len({SPACE.parse(text) for text in printed["architectures"]}) == 64
    summary = printed["summary"]
    assert summary["validity_unprojected"] >= 0.99
    assert summary["uniqueness"] >= 0.95
    assert 0.3 < summary["novelty"] < 0.7
    assert summary["seconds"] > 0


def test_generate_is_guided_by_tables_within_a_budget(nag: Nag, table: Path) -> None:
    done = nag(
        "generate", "--space", "nasbench201", "-n", "16", "--guide", f"{table}:accuracy",
        "--latency-budget", "3.5", "--device", f"table:{table}:latency", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    best = [np.array(SPACE.parse(text).slots) for text in printed["architectures"][:5]]
    assert np.mean([(slots == 3).sum() for slots in best]) >= 1.5
    assert all(np.isin(slots, (2, 3)).sum() <= 3 for slots in best)
    assert printed["summary"]["utility_calls"] == 64


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--method", "dinas"], "generator.kind: got 'dinas'"),
        (["--latency-budget", "3"], "both or neither"),
        (["--latency-budget", "3", "--device", "host"], "table:FILE:COLUMN"),
        (["--guide", "absent.csv:accuracy"], "absent.csv"),
        (["--guide", "nonsense"], "FILE:COLUMN"),
        (["--checkpoint", "absent.safetensors"], "no checkpoint at absent.safetensors"),
        (["--method", "random", "--checkpoint", "a.safetensors"], "generator.checkpoint"),
    ],
)
def test_wrong_usage_is_explained(nag: Nag, arguments: list[str], says: str) -> None:
    done = nag("generate", "--space", "nasbench201", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert not done.stdout
    assert "Traceback" not in done.stderr


def test_train_interrupt_resume_and_use(nag: Nag, tmp_path: Path) -> None:
    train = ("train", "score", "--space", "nasbench201", "--batch", "16", "--out", "own.safetensors", "--json")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        [*NAG, *train, "--steps", "60"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("step"):
            running.send_signal(signal.SIGINT)
            break
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "--resume" in said
    assert (tmp_path / "own.training.safetensors").exists()

    again = nag(*train, "--steps", "60")
    assert again.returncode == 2
    assert "unfinished training" in again.stderr

    resumed = nag(*train, "--steps", "60", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["validity_unprojected"] >= 0.99
    assert [path.name for path in tmp_path.iterdir()] == ["own.safetensors"]

    used = nag("generate", "--space", "nasbench201", "-n", "4", "--checkpoint", "own.safetensors")
    assert used.returncode == 0, used.stderr
    assert len(used.stdout.splitlines()) == 4


def test_train_on_ones_own_architectures(nag: Nag, tmp_path: Path, table: Path) -> None:
    (tmp_path / "mine.txt").write_text("\n".join(SPACE.at(index).text for index in range(20)) + "\n\n")
    options = ("--space", "nasbench201", "--steps", "3", "--batch", "8", "--json")
    plain = nag("train", "score", *options, "--architectures", "mine.txt", "--out", "a.safetensors")
    assert plain.returncode == 0, plain.stderr
    assert json.loads(plain.stdout)["novelty"] is None
    weighted = nag("train", "score", *options, "--architectures", f"{table}:accuracy", "--out", "b.safetensors")
    assert weighted.returncode == 0, weighted.stderr
    (tmp_path / "bad.txt").write_text("|nonsense~0|\n")
    for wrong in ("bad.txt", "absent.txt", f"{table}:absent"):
        done = nag("train", "score", *options, "--architectures", wrong, "--out", "c.safetensors")
        assert done.returncode == 2, wrong
        assert "Traceback" not in done.stderr


def test_help_does_not_import_torch(tmp_path: Path) -> None:
    for verb in (["--help"], ["generate", "--help"], ["train", "--help"], ["train", "score", "--help"]):
        code = f"""
import sys
from orchestrator.cli.main import app
try:
    app({verb!r}, standalone_mode=False)
except SystemExit:
    pass
assert "torch" not in sys.modules, "torch was imported"
"""
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
