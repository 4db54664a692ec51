"""Campaigns whose pool comes from EDNAG, from local search, and from a mixture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.campaign.checks import require_same_campaign
from orchestrator.campaign.config import Config, parse_config
from orchestrator.campaign.events import Event
from orchestrator.campaign.loop import run_campaign
from orchestrator.errors import ConfigError, NagError
from orchestrator.report.page import render
from orchestrator.report.run import read_run
from tests.orchestrator.campaign.tables import table_config, write_table
from tests.orchestrator.campaign.test_config import values

MIXTURE = [{"kind": "ednag", "share": 0.7}, {"kind": "random", "share": 0.3}]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("tables") / "table.csv")


def silent(_: Event) -> None:
    """Listens to nothing."""


@pytest.mark.parametrize(
    ("generator", "names"),
    [
        ({"kind": "ednag", "pool": 32, "calls_per_architecture": 4}, {"ednag"}),
        ({"kind": "local_search", "pool": 32}, {"local_search"}),
        ({"kind": "mixture", "pool": 32, "parts": MIXTURE}, {"ednag", "random"}),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_a_campaign_runs_on_it_and_keeps_its_account(
    table: Path, tmp_path: Path, generator: dict[str, Any], names: set[str]
) -> None:
    state = run_campaign(table_config(table, generator=generator), tmp_path, silent)
    assert state.counts == {"measured": 14, "failed": 0, "running": 0}
    origins = Counter(candidate.row.origin for candidate in state.candidates)
    assert origins.keys() <= {"initial", "mutation", "sample"} | names
    assert origins.keys() & names, "the pool is of use"
    assert state.rounds[0]["generator"] == {}, "the initial design asks no generator"
    for index in (1, 2):
        account = state.rounds[index]["generator"]
        assert account["utility_calls"] > 0
        assert account["validity_unprojected"] == 1.0
        assert account["seconds"] > 0
    html = render(read_run(tmp_path))
    assert "generator: utility calls" in html
    assert f"generator {generator['kind'] if generator['kind'] != 'mixture' else 'ednag+random'}" in html


def test_a_list_of_generators_is_a_mixture() -> None:
    config = parse_config(values(generator=MIXTURE), source="test")
    assert (config.generator.kind, config.generator.label, config.generator.pool) == ("mixture", "ednag+random", 256)
    whole = parse_config(values(generator={"kind": "mixture", "pool": 256, "parts": MIXTURE}), source="test")
    assert whole == config, "written shortly"
    assert Config.model_validate(config.model_dump(mode="json")) == config, "as the run folder keeps it"
    assert config.generator.make(config.make_space()).name == "ednag+random"


def test_all_problems_of_a_mixture_are_named_at_once() -> None:
    wrong = [{"kind": "oracle", "share": 0}, {"kind": "random", "pool": 8, "strength": 3}]
    with pytest.raises(ConfigError) as caught:
        parse_config(values(generator=wrong, goal={"minimize": "latency_ms[pixel]"}), source="test")
    fields = {problem.field for problem in caught.value.problems}
    assert fields == {
        "generator[0].kind",
        "generator[0].share",
        "generator[1].pool",
        "generator[1].strength",
        "goal",
    }


def test_checkpoints_of_parts_are_relative_to_the_file_too(tmp_path: Path) -> None:
    parts = [{"kind": "diffusion_nag", "checkpoint": "own.safetensors"}, {"kind": "random"}]
    with pytest.raises((ConfigError, NagError), match=str(tmp_path / "own.safetensors")):
        parse_config(values(generator=parts), source="test", folder=tmp_path)


def test_a_run_is_continued_with_the_same_mixture_only(tmp_path: Path) -> None:
    before = parse_config(values(generator=MIXTURE), source="test")
    require_same_campaign(
        before, parse_config(values(generator=MIXTURE, budget={"candidates": 64}), source="test"), tmp_path
    )
    other = [{"kind": "ednag", "share": 0.6}, {"kind": "random", "share": 0.4}]
    with pytest.raises(NagError, match="generator changed"):
        require_same_campaign(before, parse_config(values(generator=other), source="test"), tmp_path)
