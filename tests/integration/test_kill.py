"""`kill -9` at random moments: nothing committed is lost or changed, nothing is left running."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sqlite3
from pathlib import Path

import pytest

from orchestrator.campaign.config import parse_config
from orchestrator.campaign.folder import STORE
from orchestrator.campaign.state import CampaignState, read_state
from profiling.store import CampaignStore
from tests.integration.killing import kill_within
from tests.orchestrator.campaign.tables import write_table

KILLS = 20
MODULES = ["orchestrator.campaign.loop", "botorch.models", "tests.orchestrator.campaign.tables"]


def work(values: dict[str, object], folder: str) -> None:
    """One process's share of the campaign; killed at a random moment, or not."""
    from orchestrator.campaign.loop import run_campaign

    run_campaign(parse_config(values, source="test"), Path(folder), lambda event: None)


def committed(store: Path) -> dict[tuple[str, ...], str]:
    """Every committed row of every table that is only appended to."""
    if not store.exists():
        return {}
    with sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True) as connection:
        return {
            (table, json.dumps(row[:key])): json.dumps(row[key:])
            for table, key in (("candidates", 1), ("rounds", 1), ("networks", 1), ("accuracies", 1), ("blocks", 4))
            for row in connection.execute(f"SELECT * FROM {table}").fetchall()
        } | {
            ("measurements", json.dumps(row[:3])): json.dumps(row[3:])
            for row in connection.execute("SELECT * FROM measurements").fetchall()
        }


def runners(mark: str) -> list[str]:
    """Command lines of living processes that mention the test's own folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            except OSError:  # it ended while we looked
                continue
            if mark in words:
                found.append(words)
    return found


@pytest.mark.slow
def test_killed_at_random_moments_it_goes_on_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch-of-this-test"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))  # deployed artifacts lie here, so runners can be told by it
    table = write_table(tmp_path / "table.csv")
    values: dict[str, object] = {
        "name": "killed",
        "space": {"kind": "nasbench201", "input": [1, 8, 8, 1], "channels": 4, "cells": 1},
        "generator": {"kind": "random", "pool": 64},
        "accuracy": {"kind": "table", "path": str(table), "column": "accuracy"},
        "devices": [{"kind": "host"}],
        "measure": {"blocks": [2, 2], "min_runs": 10, "block_seconds": 1e-6, "warmup_seconds": 0.0},
        "budget": {"candidates": 30, "batch": 4, "initial": 8, "verify": 2},
    }
    folder = tmp_path / "run"
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(MODULES)
    rng = random.Random(0)

    before: dict[tuple[str, ...], str] = {}
    killed = 0
    while True:
        worker = processes.Process(target=work, args=(values, str(folder)))
        worker.start()
        if killed < KILLS:
            killed += kill_within(worker, folder / STORE, "blocks", rng, 3)
        else:
            worker.join()
        after = committed(folder / STORE)
        assert before.items() <= after.items(), "a committed result was lost or changed"
        before = after
        if worker.exitcode == 0:
            break
        assert worker.exitcode == -signal.SIGKILL, f"exit code {worker.exitcode}"

    assert killed == KILLS
    state = final(folder, values)
    assert state.counts == {"measured": 30, "failed": 0, "running": 0}
    assert len({candidate.row.identity for candidate in state.candidates}) == 30
    assert runners(str(scratch)) == []


def final(folder: Path, values: dict[str, object]) -> CampaignState:
    with CampaignStore.read(folder / STORE) as store:
        return read_state(store, parse_config(values, source="test"))
