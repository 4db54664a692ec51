"""`nag status` of a night, and configurations that are given to the wrong verb."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.orchestrator.cli.command import Nag
from tests.orchestrator.nightly.nights import night

NIGHTLY = """
name: farm
models: {kind: space, count: 2, space: {kind: nasbench201, input: [1, 8, 8, 1], channels: 4, cells: 1}}
devices: [{kind: host}]
passes: {night: 1}
"""


def test_status_of_a_night_is_that_of_its_passes(nag: Nag, tmp_path: Path) -> None:
    night(tmp_path / "run", 2, 1)
    done = nag("status", "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("farm: interrupted, night of 1970-01-01 00:16 UTC\npasses/1    ")
    assert "again/1     " in done.stdout
    values = json.loads(nag("status", "run", "--json").stdout)
    assert (values["kind"], values["state"]) == ("night", "interrupted")
    assert [each["folder"] for each in values["passes"]] == ["passes/1", "passes/2", "again/1"]
    assert all(each["measurements"] for each in values["passes"])


@pytest.mark.parametrize(
    ("verb", "hint"),
    [("collect", "is this a configuration for nag nightly? It has 'passes'"), ("run", "for nag nightly?")],
)
def test_a_configuration_for_another_verb_is_recognised(nag: Nag, tmp_path: Path, verb: str, hint: str) -> None:
    (tmp_path / "farm.yaml").write_text(NIGHTLY)
    done = nag(verb, "farm.yaml")
    assert done.returncode == 2
    assert hint in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_collection_has_no_winners_but_latencies(nag: Nag, tmp_path: Path) -> None:
    night(tmp_path / "run", 1)
    done = nag("export", "run/passes/1", "--out", "winners")
    assert done.returncode == 2
    assert "is a collection, not a campaign" in done.stderr
    assert "nag export run/passes/1 --dataset DIR" in done.stderr
