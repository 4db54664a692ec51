"""`nag run` with EDNAG, local search and a mixture, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.test_cli import nag
from tests.orchestrator.campaign.tables import write_table

MIXTURE = [{"kind": "local_search", "share": 2}, {"kind": "random", "share": 1}]


def write_config(folder: Path, generator: Any) -> Path:
    """A small campaign on a table."""
    write_table(folder / "table.csv")
    values = {
        "name": "small",
        "space": {"kind": "nasbench201"},
        "generator": generator,
        "accuracy": {"kind": "table", "path": "table.csv", "column": "accuracy"},
        "devices": [{"kind": "table", "path": "table.csv", "column": "phone"}],
        "budget": {"candidates": 10, "batch": 3, "initial": 7},
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize(
    ("generator", "says"),
    [
        ({"kind": "ednag", "pool": 24, "calls_per_architecture": 4}, "generator ednag"),
        ({"kind": "local_search", "pool": 24}, "generator local_search"),
        (MIXTURE, "generator local_search+random"),
    ],
    ids=["ednag", "local_search", "mixture"],
)
def test_a_campaign_ends_with_a_report_that_says_what_proposed(tmp_path: Path, generator: Any, says: str) -> None:
    done = nag("run", write_config(tmp_path, generator), "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "10 measured, 0 failed" in done.stdout
    report = (tmp_path / "run" / "report.html").read_text()
    assert says in report
    assert "generator: validity unprojected" in report
    assert json.loads(nag("status", tmp_path / "run", "--json").stdout)["state"] == "finished"


def test_every_wrong_part_of_a_mixture_is_named(tmp_path: Path) -> None:
    wrong = [{"kind": "magic"}, {"kind": "random", "share": -1}]
    done = nag("run", write_config(tmp_path, wrong), "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "generator[0].kind: got 'magic'" in done.stderr
    assert "generator[1].share: got -1" in done.stderr
    assert "Traceback" not in done.stderr


def test_shares_can_be_set_on_the_command_line(tmp_path: Path) -> None:
    config = write_config(tmp_path, MIXTURE)
    done = nag("run", config, "--out", tmp_path / "run", "--set", "generator.1.share=0")
    assert done.returncode == 2
    assert "generator[1].share: got 0" in done.stderr
