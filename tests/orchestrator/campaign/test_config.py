"""Configurations: everything wrong is told at once, with the field, the value got and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.campaign.checks import require_same_campaign
from orchestrator.campaign.config import load_config, parse_config
from orchestrator.collect.config import load_collection
from orchestrator.errors import ConfigError, NagError
from orchestrator.nightly.config import load_nightly
from tests.orchestrator.predict.block_tables import block_latencies, write_block_table
from tests.orchestrator.predict.test_ofa_accuracy import write_predictor

ROOT = Path(__file__).resolve().parents[3]


def values(**changes: Any) -> dict[str, Any]:
    """A small valid configuration, changed."""
    base: dict[str, Any] = {
        "name": "test",
        "space": {"kind": "nasbench201", "input": [1, 16, 16, 1]},
        "generator": {"kind": "random"},
        "accuracy": {"kind": "training", "dataset": "digits"},
        "devices": [{"kind": "host"}],
        "goal": {"maximize": "accuracy", "minimize": "latency_ms[host]"},
    }
    return {**base, **changes}


def problems(**changes: Any) -> dict[str, str]:
    """Field -> what is allowed, for a configuration that must be refused."""
    with pytest.raises(ConfigError) as caught:
        parse_config(values(**changes), source="test")
    return {problem.field: problem.allowed for problem in caught.value.problems}


def test_a_valid_configuration_has_defaults() -> None:
    config = parse_config(values(), source="test")
    assert config.measure.plan().min_blocks == 3
    assert config.parsed_goal().metrics == ("accuracy", "latency_ms[host]")


def test_a_spaces_own_options_are_told_from_its_networks() -> None:
    config = parse_config(values(space={"kind": "mobilenetv3", "resolutions": [160, 192], "width": 1.2}), source="test")
    assert config.make_space().choices[-1] == ("160", "192")
    assert config.space.network_options().options == {"width": 1.2}
    assert config.space.input == (1, 224, 224, 3)
    assert parse_config(config.model_dump(mode="json"), source="again") == config


def test_without_costs_every_device_is_minimised() -> None:
    config = parse_config(values(goal={"maximize": "accuracy"}), source="test")
    assert config.parsed_goal().minimize == ("latency_ms[host]",)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configurations_are_valid(path: Path) -> None:
    kinds = {"collect": load_collection, "nightly": load_nightly}
    load = next((load for kind, load in kinds.items() if path.name.startswith(kind)), load_config)
    assert load(path).name == path.stem


def test_every_wrong_field_is_named_at_once(tmp_path: Path) -> None:
    wrong = values(
        seed=-1,
        budgets={},
        measure={"target_half_width": 2, "blocks": [5, 3], "thread": 1},
        budget={"candidates": "many"},
    )
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(wrong))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    fields = [problem.field for problem in caught.value.problems]
    expected = {"seed", "budgets", "measure.target_half_width", "measure.blocks", "measure.thread", "budget.candidates"}
    assert set(fields) == expected
    text = str(caught.value)
    assert "6 wrong fields" in text
    assert "'many'" in text
    assert "blocks, target_half_width" in text  # the fields that exist beside the unknown one


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"space": {"kind": "resnet"}}, "space.kind"),
        ({"space": {"kind": "nasbench201", "chanels": 8}}, "space.chanels"),
        ({"space": {"kind": "nasbench201", "channels": 0}}, "space.channels"),
        ({"space": {"kind": "nasbench201", "input": [1, 2, 2, 3]}}, "space.input"),
        ({"generator": {"kind": "oracle"}}, "generator.kind"),
        ({"devices": []}, "devices"),
        ({"devices": [{"kind": "fax"}]}, "devices.0.kind"),
        ({"devices": [{"kind": "host"}, {"kind": "host"}]}, "devices"),
        ({"goal": {"minimize": "latency_s[host]"}}, "goal.minimize"),
        ({"goal": {"minimize": "latency_ms[pixel]"}}, "goal"),
        ({"goal": {"subject_to": ["latency_ms[host] <= fast"]}}, "goal.subject_to[0]"),
        ({"budget": {"candidates": 4, "initial": 8}}, "budget.initial"),
        ({"accuracy": {"kind": "guess"}}, "accuracy.kind"),
        ({"accuracy": {"kind": "ofa_predictor", "weights": "w.npz"}}, "accuracy.kind"),
        ({"space": {"kind": "nasbench201", "resolutions": [160]}}, "space.resolutions"),
        ({"space": {"kind": "mobilenetv3", "channels": 8}}, "space.channels"),
        ({"space": {"kind": "mobilenetv3", "width": "wide"}}, "space.width"),
        ({"space": {"kind": "mobilenetv3", "resolutions": [160, "large"]}}, "space.resolutions"),
        ({"space": {"kind": "mobilenetv3", "resolutions": 160}}, "space.resolutions"),
        ({"space": {"kind": ["mobilenetv3"]}}, "space.kind"),
        ({"measure": {"target_half_width": 0.02, "loose_half_width": 0.01}}, "measure.loose_half_width"),
        ({"latency_prior": 5}, "latency_prior"),
        ({"latency_prior": "nowhere.safetensors"}, "latency_prior"),
    ],
)
def test_one_wrong_thing_is_named(changes: dict[str, Any], field: str) -> None:
    assert field in problems(**changes)


def test_the_benchmark_on_mobilenetv3_needs_nothing_but_its_data(tmp_path: Path) -> None:
    path = ROOT / "configs" / "benchmark" / "mobilenetv3_note10.yaml"
    with pytest.raises(ConfigError, match=r"accuracy\.weights: got 'nothing'"):
        load_config(path)
    weights = write_predictor(tmp_path / "weights.npz")
    table = write_block_table(tmp_path / "lut.csv", block_latencies(width=1.2, resolutions=(224,), classes=1000))
    given = [f"accuracy.weights={weights}", f"devices.0.path={table}"]
    assert load_config(path, given).parsed_goal().metrics == ("accuracy", "latency_ms[note10]")
    with pytest.raises(ConfigError) as caught:  # a wrong file is told before anything runs
        load_config(path, [f"accuracy.weights={table}", given[1]])
    assert [problem.field for problem in caught.value.problems] == ["accuracy.weights"]
    with pytest.raises(ConfigError) as caught:
        load_config(path, [*given, "space.input=[1, 64, 64, 3]"])
    assert "space.input" in [problem.field for problem in caught.value.problems]


def test_a_missing_table_is_told_before_anything_runs(tmp_path: Path) -> None:
    device = {"kind": "table", "path": str(tmp_path / "none.csv"), "column": "pixel3"}
    assert problems(devices=[device], goal={"minimize": "latency_ms[pixel3]"}) == {
        "devices[0].path": "an existing file or folder"
    }


@pytest.mark.parametrize(
    ("text", "what"),
    [("a: [", "well-formed YAML"), ("- 1\n- 2\n", "a mapping"), ("\x00", "well-formed YAML")],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=what):
        load_config(path)
    with pytest.raises(ConfigError, match="readable"):
        load_config(tmp_path / "missing.yaml")


def test_overrides_reach_nested_fields_and_lists(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(values()))
    config = load_config(path, ["budget.candidates=9", "devices.0.name=desk", "goal.minimize=latency_ms[desk]"])
    assert config.budget.candidates == 9
    assert config.devices[0].name == "desk"
    for wrong in ("budget", "=3", "name.x=1", "devices.7.name=y"):
        with pytest.raises(ConfigError):
            load_config(path, [wrong])


def test_only_the_budget_of_a_run_may_change(tmp_path: Path) -> None:
    before = parse_config(values(), source="test")
    more = parse_config(values(budget={"candidates": 64}), source="test")
    require_same_campaign(before, more, tmp_path)
    for other in (values(seed=1), values(budget={"initial": 4})):
        with pytest.raises(NagError, match=r"seed|budget\.initial"):
            require_same_campaign(before, parse_config(other, source="test"), tmp_path)


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("arch,pixel3\n")
    path = tmp_path / "c.yaml"
    device = {"kind": "table", "path": "table.csv", "column": "pixel3"}
    path.write_text(yaml.safe_dump(values(devices=[device], goal={})))
    assert load_config(path).devices[0].path == tmp_path / "table.csv"  # type: ignore[union-attr]
