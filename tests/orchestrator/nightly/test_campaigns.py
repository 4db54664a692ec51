"""Campaigns of a night."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.compare.latencies import read_latencies
from tests.orchestrator.campaign.tables import table_config, write_table


@pytest.fixture
def config(tmp_path: Path) -> Path:
    campaign = table_config(
        write_table(tmp_path / "table.csv"), budget={"candidates": 6, "batch": 3, "initial": 3, "verify": 0}
    )
    (tmp_path / "campaign.yaml").write_text(yaml.safe_dump(campaign.model_dump(mode="json")))
    path = tmp_path / "nightly.yaml"
    path.write_text("name: loops\ncampaigns: [campaign.yaml]\nreferences: 0\ndevices: [{kind: host}]\n")
    return path


def nag(*words: object) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, [str(word) for word in (*words, "--json")])
    return result.exit_code, json.loads(result.stdout)


def test_campaigns_run_to_their_end_and_are_held_against_the_baselines(config: Path, tmp_path: Path) -> None:
    code, first = nag("nightly", config, "--out", tmp_path / "first")
    assert code == 0
    (campaign,) = first["campaigns"]
    assert (campaign["status"], campaign["baseline_hypervolume"]) == ("same", None)
    assert campaign["hypervolume"] > 0
    code, second = nag("nightly", config, "--out", tmp_path / "second", "--baseline", tmp_path / "first")
    assert code == 0
    assert second["campaigns"][0]["baseline_hypervolume"] == pytest.approx(campaign["hypervolume"])
    run = read_latencies(tmp_path / "second")
    assert (run.kind, {latency.setting for latency in run.latencies}) == (
        "nightly",
        {"float32, cpu, 1 thread, campaign table"},
    )


def test_a_campaign_that_finds_nothing_fails_the_night(config: Path, tmp_path: Path) -> None:
    text = (tmp_path / "campaign.yaml").read_text()
    values = yaml.safe_load(text)
    values["goal"] = {"maximize": "accuracy", "subject_to": ["latency_ms[phone] <= 0.0000001"]}
    (tmp_path / "campaign.yaml").write_text(yaml.safe_dump(values))
    code, night = nag("nightly", config, "--out", tmp_path / "first")
    assert code == 1
    assert night["alarms"] == ["campaign table: nothing that it measured meets its goal"]
