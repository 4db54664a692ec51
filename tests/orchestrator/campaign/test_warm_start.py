"""Campaigns that begin with what earlier ones measured: what is taken, what is not, and that it is kept."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.campaign.config import Config
from orchestrator.campaign.earlier import read_earlier
from orchestrator.campaign.events import Event, WarmStarted
from orchestrator.campaign.folder import STORE
from orchestrator.campaign.knowledge import knowledge_of
from orchestrator.campaign.loop import run_campaign
from orchestrator.campaign.state import CampaignState
from orchestrator.campaign.warm_start import WarmStart, gathered, read_warm_start
from orchestrator.collect.collector import collect
from orchestrator.collect.config import CollectConfig
from orchestrator.errors import DataError, RunFolderError
from orchestrator.space.nasbench201 import NASBench201
from profiling.records import DeviceInfo
from profiling.store import CampaignStore
from tests.orchestrator.campaign.tables import table_config, write_table

LATENCY = "latency_ms[phone]"
SMALL = {"candidates": 6, "batch": 3, "initial": 3}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("tables") / "table.csv")


@pytest.fixture(scope="module")
def earlier(table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CampaignState]:
    folder = tmp_path_factory.mktemp("earlier") / "run"
    return folder, run_campaign(table_config(table, seed=1), folder, silent)


def silent(_: Event) -> None:
    """Listens to nothing."""


def proposed(state: CampaignState) -> list[str]:
    return [candidate.row.architecture for candidate in state.candidates]


def test_earlier_measurements_teach_the_surrogates_and_are_no_candidates(
    table: Path, tmp_path: Path, earlier: tuple[Path, CampaignState]
) -> None:
    folder, before = earlier
    events: list[Event] = []
    cold = run_campaign(table_config(table, budget=SMALL), tmp_path / "cold", silent)
    warm = run_campaign(table_config(table, budget=SMALL), tmp_path / "warm", events.append, [folder])
    assert len(warm.candidates) == 6
    assert proposed(warm)[:3] == proposed(cold)[:3]
    assert proposed(warm)[3:] != proposed(cold)[3:]
    (told,) = [event for event in events if isinstance(event, WarmStarted)]
    assert {each.metric: each.count for each in told.verdicts} == {"accuracy": 14, LATENCY: 14}
    with CampaignStore.read(tmp_path / "warm" / STORE) as store:
        kept = read_warm_start(store)
    first = next(each for each in kept.values if each.metric == LATENCY)
    measured = {c.row.slots: c.latencies["phone"] for c in before.candidates}[first.slots]
    assert first.value == measured.latency_ms
    assert first.variance == pytest.approx(measured.standard_error_log**2)


def test_predictions_after_a_warm_start_are_surer(
    table: Path, tmp_path: Path, earlier: tuple[Path, CampaignState]
) -> None:
    budget = {"candidates": 4, "batch": 1, "initial": 3}
    deviations = []
    for name, runs in (("cold", []), ("warm", [earlier[0]])):
        state = run_campaign(table_config(table, budget=budget), tmp_path / name, silent, runs)
        deviations.append(state.candidates[-1].row.predictions[LATENCY]["sd"])
    assert deviations[1] < deviations[0]


def test_it_goes_on_as_it_began_when_the_earlier_run_is_gone(
    table: Path, tmp_path: Path, earlier: tuple[Path, CampaignState]
) -> None:
    source = tmp_path / "source"
    shutil.copytree(earlier[0], source)
    whole = run_campaign(table_config(table, budget={**SMALL, "candidates": 9}), tmp_path / "whole", silent, [source])
    run_campaign(table_config(table, budget=SMALL), tmp_path / "run", silent, [source])
    shutil.rmtree(source)
    for runs in ([source], []):
        resumed = run_campaign(table_config(table, budget={**SMALL, "candidates": 9}), tmp_path / "run", silent, runs)
        assert proposed(resumed) == proposed(whole)
    with pytest.raises(RunFolderError, match="began with what"):
        run_campaign(table_config(table, budget=SMALL), tmp_path / "run", silent, [earlier[0]])


def test_a_run_that_has_begun_cold_stays_so(table: Path, tmp_path: Path, earlier: tuple[Path, CampaignState]) -> None:
    run_campaign(table_config(table, budget=SMALL), tmp_path / "run", silent)
    with pytest.raises(RunFolderError, match="begun without a warm start"):
        run_campaign(table_config(table, budget=SMALL), tmp_path / "run", silent, [earlier[0]])


def test_another_system_is_a_hint_only_and_named(
    table: Path, tmp_path: Path, earlier: tuple[Path, CampaignState]
) -> None:
    other = write_table(tmp_path / "table.csv", seed=9)  # other latencies: another epoch; other accuracies, too
    events: list[Event] = []
    run_campaign(table_config(other, budget=SMALL), tmp_path / "run", events.append, [earlier[0]])
    (told,) = [event for event in events if isinstance(event, WarmStarted)]
    assert {each.metric: (each.count, each.hints) for each in told.verdicts} == {"accuracy": (0, 0), LATENCY: (0, 14)}
    assert "14 values as a hint only of latency_ms[phone] from" in str(told.verdicts[1])
    assert "14 of a system" in told.verdicts[1].reason


def test_hints_are_no_observations_but_prices(table: Path, earlier: tuple[Path, CampaignState]) -> None:
    info = next(iter(earlier[1].candidates[0].latencies.values())).device
    found = gather(earlier[0], table_config(table), replace(info, epoch="updated"))
    assert {metric for each in found.observations for metric in each.metrics} == {"accuracy"}
    knowledge = knowledge_of(table_config(table), NASBench201(), found, {"phone"})
    (belief,) = knowledge.prices[LATENCY]
    assert belief.prior.mean.sum() > 0
    assert not knowledge_of(table_config(table), NASBench201(), WarmStart(), {"phone"}).prices[LATENCY]


def test_other_networks_are_refused(table: Path, tmp_path: Path, earlier: tuple[Path, CampaignState]) -> None:
    config = table_config(table, space={"kind": "nasbench201", "input": [1, 16, 16, 3]})
    with pytest.raises(DataError, match=r"space\.input differs"):
        run_campaign(config, tmp_path / "run", silent, [earlier[0]])


def test_accuracies_of_another_objective_stay_out(
    table: Path, tmp_path: Path, earlier: tuple[Path, CampaignState]
) -> None:
    copy = shutil.copy(table, tmp_path / "copy.csv")
    config = table_config(table, accuracy={"kind": "table", "path": copy, "column": "accuracy"})
    found = gather(earlier[0], config)
    assert {each.metric for each in found.values} == {LATENCY}
    assert any("accuracy: differs" in each.reason for each in found.verdicts)


def test_phones_called_by_model_share_what_was_measured(table: Path, earlier: tuple[Path, CampaignState]) -> None:
    info = next(iter(earlier[1].candidates[0].latencies.values())).device
    same = replace(info, name="4711", serial_hash="another")
    assert gather(earlier[0], table_config(table), same).values  # the device is called `phone`, its model
    named = replace(same, name="phone", model="other")
    assert all(each.metric != LATENCY for each in gather(earlier[0], table_config(table), named).values)


def test_another_runtime_says_nothing(table: Path, earlier: tuple[Path, CampaignState]) -> None:
    info = next(iter(earlier[1].candidates[0].latencies.values())).device
    found = gather(earlier[0], table_config(table), replace(info, runtime="newer"))
    assert any("of table, where newer runs now" in each.reason for each in found.verdicts)


def test_a_collection_is_an_earlier_run_too(table: Path, tmp_path: Path) -> None:
    device = {"kind": "table", "path": str(table), "column": "phone", "noise": 0.01}
    models = [{"kind": "space", "space": {"kind": "nasbench201"}, "count": 20}]
    values = {"name": "collected", "models": models, "devices": [device]}
    collect(CollectConfig.model_validate(values), tmp_path / "collection")
    events: list[Event] = []
    run_campaign(table_config(table, budget=SMALL), tmp_path / "run", events.append, [tmp_path / "collection"])
    (told,) = [event for event in events if isinstance(event, WarmStarted)]
    assert [(each.metric, each.count, each.hints) for each in told.verdicts] == [(LATENCY, 20, 0)]


def gather(run: Path, config: Config, info: DeviceInfo | None = None) -> WarmStart:
    """What a campaign would take of a run, on a device that says of itself what is given."""
    (before,) = read_earlier(run)
    now = info or before.latencies[0].measurement.device
    return gathered([str(run)], [before], config, {"phone": (now,)})
