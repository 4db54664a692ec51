"""`nag compare` as its users meet it."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.errors import ConfigError, NagError
from tests.orchestrator.compare.runs import LEVELS_MS, PHONE, collection, updated


def nag(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["compare", *map(str, words)])
    if isinstance(result.exception, NagError):
        return result.exception.exit_code, str(result.exception)
    return result.exit_code, result.stdout


def test_what_is_printed(tmp_path: Path) -> None:
    before = collection(tmp_path / "before")
    newer = updated(PHONE, runtime="benchmark_model 2222")
    slow = collection(tmp_path / "slow", seed=1, phones=[newer], change={"net5.tflite": 1.2})
    code, out = nag(before, slow)
    assert code == 0
    assert "not the same system: runtime benchmark_model 1111 → benchmark_model 2222" in out
    assert "1 surely slower by more than 1.5%" in out
    assert "net5.tflite" in out.splitlines()[5]  # the slowest-grown first


def test_a_threshold_that_is_missed_is_exit_code_1(tmp_path: Path) -> None:
    before = collection(tmp_path / "before")
    slow = collection(tmp_path / "slow", seed=1, change={"net5.tflite": 1.2})
    assert nag(before, slow, "--max-slowdown", 5)[0] == 1
    assert nag(before, slow, "--max-slowdown", 30)[0] == 0
    code, out = nag(before, slow, "--max-slowdown", 5, "--json")
    assert code == 1
    assert json.loads(out)["schema_version"] == 1
    assert len(json.loads(out)["comparisons"][0]["models"]) == len(LEVELS_MS)


def test_wrong_usage_and_nothing_in_common(tmp_path: Path) -> None:
    before = collection(tmp_path / "before", models=["net0.tflite"])
    assert nag(before, before, "--device", "Pixel")[0] == ConfigError.exit_code == 2
    assert nag(before, tmp_path)[0] == 2
    assert nag(before, collection(tmp_path / "other", models=["net1.tflite"]))[0] == 3
