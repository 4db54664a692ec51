"""The closed loop on tables: budgets, determinism, interruption, failures, folders."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from device_agent.errors import DeviceError
from orchestrator.campaign.events import (
    AccuracyDone,
    BlockDone,
    Event,
    Finished,
    LatencyDone,
    Proposed,
    RoundDone,
    Settling,
)
from orchestrator.campaign.folder import STORE, RunFolder
from orchestrator.campaign.loop import candidate_seed, run_campaign, spread
from orchestrator.campaign.state import CampaignState, read_config, read_state
from orchestrator.errors import DevicesMissing, NagError, RunFolderBusy
from profiling.store import CampaignStore
from tests.orchestrator.campaign.tables import table_config, write_table


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("tables") / "table.csv")


def silent(_: Event) -> None:
    """Listens to nothing."""


def architectures(state: CampaignState) -> list[str]:
    return [candidate.row.architecture for candidate in state.candidates]


def test_a_campaign_spends_its_budget_and_measures_nothing_twice(table: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    state = run_campaign(table_config(table), tmp_path / "run", events.append)
    assert state.counts == {"measured": 14, "failed": 0, "running": 0}
    assert len(set(architectures(state))) == 14
    assert [len(event.candidates) for event in events if isinstance(event, Proposed)] == [8, 3, 3]
    assert isinstance(events[-1], Finished)
    assert "14 candidates" in events[-1].reason
    assert (state.progress[1:] >= state.progress[:-1]).all()
    assert state.progress[-1] > 0
    later = [candidate for candidate in state.candidates if candidate.row.round > 0]
    assert all(set(c.row.predictions) == {"accuracy", "latency_ms[phone]"} for c in later)


def test_the_same_seed_proposes_the_same(table: Path, tmp_path: Path) -> None:
    runs = [run_campaign(table_config(table, seed=seed), tmp_path / str(i), silent) for i, seed in enumerate((5, 5, 6))]
    assert architectures(runs[0]) == architectures(runs[1])
    assert architectures(runs[0]) != architectures(runs[2])


def test_a_larger_budget_continues_the_run(table: Path, tmp_path: Path) -> None:
    run_campaign(table_config(table, budget={"candidates": 11, "batch": 3, "initial": 8}), tmp_path, silent)
    whole = run_campaign(table_config(table), tmp_path / "whole", silent)
    continued = run_campaign(table_config(table), tmp_path, silent)
    assert architectures(continued) == architectures(whole)
    with CampaignStore.read(tmp_path / STORE) as store:
        assert read_config(store).budget.candidates == 14


@pytest.mark.parametrize("kind", [Proposed, BlockDone, LatencyDone, AccuracyDone, RoundDone])
@pytest.mark.parametrize("after", [1, 9])
def test_an_interrupted_campaign_goes_on_as_if_nothing_had_happened(
    table: Path, tmp_path: Path, kind: type[Event], after: int, uninterrupted: list[str]
) -> None:
    class Stop(Exception):
        pass

    seen = 0

    def interrupt(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, kind)
        if isinstance(event, kind) and seen == after:
            raise Stop

    try:
        run_campaign(table_config(table), tmp_path, interrupt)
    except Stop:
        pass
    else:
        assert seen < after  # there are fewer rounds than that
    assert architectures(run_campaign(table_config(table), tmp_path, silent)) == uninterrupted


@pytest.fixture(scope="module")
def uninterrupted(table: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return architectures(run_campaign(table_config(table), tmp_path_factory.mktemp("whole"), silent))


def test_what_the_table_lacks_becomes_a_failed_candidate(tmp_path: Path) -> None:
    sparse = write_table(tmp_path / "sparse.csv", count=8000)
    state = run_campaign(table_config(sparse), tmp_path / "run", silent)
    assert state.counts["measured"] + state.counts["failed"] == 14
    assert state.counts["failed"] > 0
    failure = next(c for c in state.candidates if c.status == "failed").failures["accuracy"]
    assert failure.code == "not_in_table"


@pytest.mark.parametrize(("bound", "feasible"), [(6.0, True), (0.5, False)])
def test_constrained_goals_and_that_nothing_meets_them_is_no_error(
    table: Path, tmp_path: Path, bound: float, feasible: bool
) -> None:
    goal = {"maximize": "accuracy", "subject_to": [f"latency_ms[phone] <= {bound}"]}
    state = run_campaign(table_config(table, goal=goal), tmp_path, silent)
    assert bool(state.front) is feasible
    if feasible:
        assert state.front[0].metrics["latency_ms[phone]"].value <= bound


def test_a_plateau_stops_it(table: Path, tmp_path: Path) -> None:
    goal = {"maximize": "accuracy", "subject_to": ["latency_ms[phone] <= 0.5"]}  # never met: never any progress
    budget = {"candidates": 100, "batch": 3, "initial": 8, "plateau_rounds": 2}
    events: list[Event] = []
    run_campaign(table_config(table, goal=goal, budget=budget), tmp_path, events.append)
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "no progress in 2 rounds"
    assert len(events[-1].state.rounds) == 2


def test_a_run_folder_belongs_to_one_process(table: Path, tmp_path: Path) -> None:
    config = table_config(table)
    with RunFolder.open(tmp_path, config, {}), pytest.raises(RunFolderBusy, match="another process"):
        RunFolder.open(tmp_path, config, {})
    RunFolder.open(tmp_path, config, {}).close()  # free again


def test_a_run_folder_of_another_campaign_is_refused(table: Path, tmp_path: Path) -> None:
    RunFolder.open(tmp_path, table_config(table), {}).close()
    with pytest.raises(NagError, match="seed changed"):
        RunFolder.open(tmp_path, table_config(table, seed=3), {})


def test_winners_to_verify_span_the_front() -> None:
    items: list[Any] = list(range(10))
    assert spread(items, 4) == [0, 3, 6, 9]
    assert spread(items, 1) == [0]
    assert spread(items, 0) == []
    assert spread(items[:2], 4) == [0, 1]


def test_candidate_seeds_differ() -> None:
    seeds = {candidate_seed(campaign, number) for campaign in range(10) for number in range(100)}
    assert len(seeds) == 1000


def test_a_broken_device_is_no_label(table: Path, tmp_path: Path) -> None:
    """An interpreter that does not start says nothing of a network: the run stops, and goes on once it is mended."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    config = table_config(
        table,
        space={"kind": "nasbench201", "input": [1, 8, 8, 1], "channels": 4, "cells": 1},
        devices=[{"kind": "host", "python": str(python)}],
        measure={"blocks": [1, 1], "block_seconds": 0.01, "warmup_seconds": 0.0},
        budget={"candidates": 3, "batch": 3, "initial": 3, "verify": 0},
    )
    with pytest.raises((DevicesMissing, DeviceError)):
        run_campaign(config, tmp_path / "run", silent)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    assert run_campaign(config, tmp_path / "run", silent).counts == {"measured": 3, "failed": 0, "running": 0}


def test_a_measurement_without_a_value_hides_no_front(table: Path, tmp_path: Path) -> None:
    before = run_campaign(table_config(table), tmp_path, silent)
    first = before.candidates[0]
    useless = replace(first.latencies["phone"], grade="F", latency_ms=math.nan, reasons=("not_steady: 9",))
    with CampaignStore.open(tmp_path / STORE) as store:
        store.add_round(14, {}, [replace(first.row, id=14, round=14, identity="another")])
        store.add_accuracy(14, first.accuracy.to_json() if first.accuracy else {})
        store.add_measurement(14, "phone", useless)
        after = read_state(store, read_config(store))
    failed = after.candidates[14]
    assert (failed.status, failed.failures["latency_ms[phone]"].detail) == ("failed", "not_steady: 9")
    assert architectures(after)[:14] == architectures(before)
    assert after.progress[-1] == before.progress[-1]


SHORT = {"candidates": 11, "batch": 3, "initial": 8}


def blocks_of(folder: Path, state: CampaignState) -> dict[int, int]:
    with CampaignStore.read(folder / STORE) as store:
        return {each.row.id: len(store.blocks(each.row.id, "phone")) for each in state.candidates}


def noisy(table: Path, **measure: Any) -> dict[str, Any]:
    device = {"kind": "table", "path": str(table), "column": "phone", "noise": 0.01, "block_noise": 0.02}
    return {"devices": [device], "measure": {"blocks": [3, 10], "target_half_width": 0.015, **measure}}


def test_measurements_go_on_only_where_they_matter(table: Path, tmp_path: Path) -> None:
    everywhere = run_campaign(table_config(table, **noisy(table)), tmp_path / "tight", silent)
    events: list[Event] = []
    config = table_config(table, **noisy(table, loose_half_width=0.1))
    state = run_campaign(config, tmp_path / "auto", events.append)
    targets = {each.row.id: each.latencies["phone"].target_half_width for each in state.candidates}
    assert all(targets[each.row.id] == 0.015 for each in state.front)
    assert 0.1 in targets.values()
    blocks, more = blocks_of(tmp_path / "auto", state), blocks_of(tmp_path / "tight", everywhere)
    assert all(2 <= blocks[each] <= 4 for each, target in targets.items() if target == 0.1)
    assert sum(blocks.values()) < sum(more.values())
    asked = sum(event.measurements for event in events if isinstance(event, Settling))
    assert sum(target == 0.015 for target in targets.values()) == asked < len(state.candidates)
    assert sum(isinstance(event, LatencyDone) for event in events) == len(state.candidates) + asked
    assert [each.row.id for each in state.measured] == [each.row.id for each in state.candidates], "order of arrival"


class Fault(RuntimeError):
    """Ends a campaign in the middle of a measurement."""


@pytest.mark.parametrize("stop_after", [5, 26, 40])
def test_a_measurement_that_was_to_go_on_does_after_a_fault(table: Path, tmp_path: Path, stop_after: int) -> None:
    config = table_config(table, **noisy(table, loose_half_width=0.1), budget=SHORT)
    whole = run_campaign(config, tmp_path / "whole", silent)
    blocks = 0

    def fail(event: Event) -> None:
        nonlocal blocks
        blocks += isinstance(event, BlockDone)
        if blocks == stop_after:
            raise Fault

    with pytest.raises(Fault):
        run_campaign(config, tmp_path / "run", fail)
    again = run_campaign(config, tmp_path / "run", silent)
    assert architectures(again) == architectures(whole)
    assert blocks_of(tmp_path / "run", again) == blocks_of(tmp_path / "whole", whole)
