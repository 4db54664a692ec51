"""`nag generate` and `nag train score`, as their users meet them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from orchestrator.generate.tensor_file import read_tensors
from orchestrator.space.nasbench201 import NASBench201
from tests.orchestrator.cli.command import Nag

NAG = (sys.executable, "-c", "from orchestrator.cli.main import main; main()")
SPACE = NASBench201()
DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
PREDICTOR, BLOCKS = DATA / "ofa_acc_predictor_weights.npz", DATA / "ofa_note10_latency_lut.csv.gz"


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
    summary = printed["summary"]
    assert summary["utility_calls"] == 64
    assert summary["within_budget"] >= 12
    assert summary["fastest_latency_ms"] <= 3.5
    predicted = printed["predicted"]
    assert set(predicted) == {f"{table}:accuracy", "latency_ms"}
    convolutions = [np.isin(SPACE.parse(text).slots, (2, 3)).sum() for text in printed["architectures"]]
    assert np.abs(np.array(predicted["latency_ms"]) - convolutions - 1).mean() < 0.5


def test_a_budget_that_nothing_meets_is_admitted(nag: Nag, table: Path) -> None:
    done = nag(
        "generate", "--space", "nasbench201", "--method", "random", "-n", "8", "--latency-budget", "0.5",
        "--device", f"table:{table}:latency", "--json",
    )  # fmt: skip
    assert done.returncode == 1
    printed = json.loads(done.stdout)
    assert len(printed["architectures"]) == 8
    summary = printed["summary"]
    assert summary["within_budget"] == 0
    assert summary["fastest"] in printed["architectures"]
    assert f"0 of 8 meet the budget of 0.5 ms on table:{table}:latency; the nearest is" in done.stderr
    assert f"{summary['fastest']} at {summary['fastest_latency_ms']:.4g} ms" in done.stderr


def test_a_mixture_says_who_made_what(nag: Nag, table: Path) -> None:
    done = nag(
        "generate", "--space", "nasbench201", "--method", "diffusion_nag:0.75,random:0.25", "-n", "16",
        "--guide", f"{table}:accuracy", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert len(set(printed["architectures"])) == 16
    assert printed["origins"].count("diffusion_nag") >= 12
    assert printed["summary"]["method"] == "diffusion_nag+random"


@pytest.mark.skipif(not DATA.is_dir(), reason="the OFA predictor and the Note10 table (shared/data) are not here")
@pytest.mark.parametrize(("budget", "kept"), [("35", 8), ("5", 0)])
def test_on_mobilenetv3_predictor_and_block_table_guide(nag: Nag, budget: str, kept: int) -> None:
    done = nag(
        "generate", "--space", "mobilenetv3", "--method", "regularized_evolution", "-n", "8",
        "--set", "calls_per_architecture=40", "--guide", f"ofa:{PREDICTOR}",
        "--latency-budget", budget, "--device", f"lut:{BLOCKS}@1.2", "--json",
    )  # fmt: skip
    assert done.returncode == (0 if kept else 1), done.stderr
    printed = json.loads(done.stdout)
    assert printed["summary"]["utility_calls"] == 320
    assert printed["summary"]["within_budget"] == kept
    assert kept == 0 or max(printed["predicted"][f"ofa:{PREDICTOR}"]) > 82


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--method", "divination"], "generator.kind: got 'divination'"),
        (["--latency-budget", "3"], "both or neither"),
        (["--latency-budget", "3", "--device", "host"], "table:FILE:COLUMN or lut:FILE[@WIDTH]"),
        (["--latency-budget", "3", "--device", "lut:absent.csv"], "this is for mobilenetv3"),
        (
            ["--space", "mobilenetv3", "--latency-budget", "3", "--device", "lut:absent.csv"],
            "absent.csv: cannot be read",
        ),
        (["--space", "mobilenetv3", "--latency-budget", "3", "--device", "lut:a.csv@wide"], "lut:FILE[@WIDTH]"),
        (["--guide", "ofa:absent.npz"], "this is for mobilenetv3"),
        (["--space", "mobilenetv3", "--guide", "ofa:absent.npz"], "absent.npz: cannot be read"),
        (["--set", "steps"], "OPTION=VALUE"),
        (["--method", "diffusion_nag:much,random:0.3"], "KIND:SHARE"),
        (["--method", "diffusion_nag:0.7,divination:0.3"], "kind: got 'divination'"),
        (["--method", "random:1,diffusion_nag:1", "--set", "steps=3"], "with a single method"),
        (["--accuracy-quantile", "0.9"], "with dinas"),
        (["--set", "stepz=3"], "generator.stepz: got 3"),
        (["--set", "steps=many"], "generator.steps: got 'many'"),
        (["--guide", "absent.csv:accuracy"], "absent.csv"),
        (["--guide", "nonsense"], "FILE:COLUMN"),
        (["--method", "diffusion_nag", "--checkpoint", "absent.safetensors"], "no checkpoint at absent.safetensors"),
        (["--method", "random", "--checkpoint", "a.safetensors"], "generator.checkpoint"),
    ],
)
def test_wrong_usage_is_explained(nag: Nag, arguments: list[str], says: str) -> None:
    method = [] if "--method" in arguments or "--set" in arguments else ["--method", "random"]
    space = [] if "--space" in arguments else ["--space", "nasbench201"]
    done = nag("generate", *space, *method, *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert not done.stdout
    assert "Traceback" not in done.stderr


def test_train_interrupt_resume_and_use(nag: Nag, tmp_path: Path) -> None:
    train = ("train", "score", "--space", "nasbench201", "--batch", "16", "--out", "own.safetensors", "--json")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        [*NAG, *train, "--steps", "200"],
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
    _, said = running.communicate(timeout=280)
    assert running.returncode == 130
    assert "--resume" in said
    assert (tmp_path / "own.training.safetensors").exists()

    again = nag(*train, "--steps", "200")
    assert again.returncode == 2
    assert "unfinished training" in again.stderr

    resumed = nag(*train, "--steps", "200", "--resume")
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


def test_train_on_what_is_good(nag: Nag, table: Path) -> None:
    options = ("train", "score", "--space", "nasbench201", "--steps", "3", "--batch", "8", "--channels", "8", "--json")
    measured = nag(*options, "--weights", f"{table}:accuracy", "--temperature", "0.5", "--for-its-work")
    assert measured.returncode == 0, measured.stderr
    for wrong in (
        ("--weights", str(table)),
        ("--weights", f"{table}:accuracy", "--architectures", str(table)),
        ("--weights", "ofa:absent.npz"),
        ("--channels", "10"),
    ):
        done = nag(*options, *wrong, "--out", "c.safetensors")
        assert done.returncode == 2, wrong
        assert "Traceback" not in done.stderr


@pytest.mark.skipif(not PREDICTOR.exists(), reason="the OFA predictor (shared/data) is not here")
def test_train_on_what_a_predictor_likes(nag: Nag, tmp_path: Path) -> None:
    trained = nag(
        "train", "score", "--space", "mobilenetv3", "--steps", "2", "--batch", "8", "--channels", "8", "--layers", "1",
        "--weights", f"ofa:{PREDICTOR}", "--for-its-work", "--draws", "64", "--json", "--out", "own.safetensors",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert "64 architectures (tilted_draws)" in trained.stderr
    assert json.loads(trained.stdout)["novelty"] is None
    command = read_tensors(tmp_path / "own.safetensors")[1]["provenance"]["command"]
    assert f"--weights ofa:{PREDICTOR.name} --temperature 0.1 --for-its-work" in command
    used = nag("generate", "--space", "mobilenetv3", "-n", "4", "--set", "checkpoint=own.safetensors")
    assert used.returncode == 0, used.stderr


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
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
