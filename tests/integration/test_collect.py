"""A collection on phones (virtual ones, behind the real adb server), and one that is killed at random moments."""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from device_agent.reference import reference_artifact
from device_agent.virtual import VirtualLab
from orchestrator.collect.collector import collect
from orchestrator.collect.config import CollectConfig, parse_collection
from orchestrator.collect.events import Arrived, Event
from orchestrator.collect.records import CollectedResult
from orchestrator.collect.status import status_of
from orchestrator.collect.store import STORE, CollectStore, store_path
from profiling.records import Failure, Measurement
from tests.device_agent.models import edited, small_artifact
from tests.integration.killing import kill_within
from tests.orchestrator.campaign.tables import write_table

SPACE = {"kind": "nasbench201", "input": [1, 8, 8, 1], "channels": 4, "cells": 1}
KILLS = 6
COUNT = 1000  # more than all the killed processes together come to, on the fastest computer


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases and salts of the test stay in the test."""
    monkeypatch.setenv("DEVICENAG_HOME", str(tmp_path / "home"))


def config(**changes: Any) -> CollectConfig:
    values: dict[str, Any] = {
        "name": "phones",
        "models": {"kind": "space", "space": SPACE, "count": 4},
        "measure": {"blocks": [2, 2], "block_seconds": 0.02, "warmup_seconds": 0.0, "min_runs": 5},
        "references": {"every": 4},
    }
    return parse_collection({**values, **changes}, source="test")


def results(run: Path) -> list[CollectedResult]:
    with CollectStore.read(store_path(run)) as store:
        return list(store.results())


def test_phones_of_a_model_share_the_work_and_overlap(tmp_path: Path) -> None:
    phones = {"kind": "virtual", "count": 2, "profiles": ["virtual8"]}
    collect(config(devices=[phones], overlap={"share": 0.5}), tmp_path)
    status = status_of(tmp_path)
    assert (status.state, status.planned, status.measured) == ("finished", 6, 6)
    assert len(status.tallies[0].phones) == 2
    pairs: dict[str, set[str]] = {}
    for collected in results(tmp_path):
        assert isinstance(collected.result, Measurement)
        assert "reference" in collected.result.device.properties  # measured on this phone, some time before
        assert collected.result.blocks
        if collected.job.overlap:
            pairs.setdefault(collected.job.model.name, set()).add(collected.result.device.serial_hash)
    assert [len(hashes) for hashes in pairs.values()] == [2, 2]


@pytest.mark.slow
def test_a_phone_that_dies_for_good_leaves_partial_data_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "whole.tflite").write_bytes(reference_artifact().data)
    (models / "nowhere.tflite").write_bytes(edited(small_artifact(), custom_operator="NoRuntimeHasThis").data)
    sources = [{"kind": "folder", "path": str(models)}, {"kind": "space", "space": SPACE, "count": 4}]
    with VirtualLab(2) as lab:
        asked = config(devices=[{"kind": "adb", "port": lab.port}], models=sources, patience_s=8.0)

        def unplug(event: Event) -> None:
            if isinstance(event, Arrived) and status_of(tmp_path / "run").measured == 3:
                dying.unplug()

        dying = lab.phones[0]
        collect(asked, tmp_path / "run", unplug)
        partial = status_of(tmp_path / "run")
        gone, well = sorted(partial.tallies, key=lambda tally: -tally.missing)
        assert partial.state == "partial"
        assert gone.device == dying.profile.model
        assert 0 < gone.missing < 6
        assert "could be used for 8 s" in partial.reasons[gone.device]
        assert (well.measured, well.failed, well.missing) == (5, 1, 0)
        before = results(tmp_path / "run")

        lab.replug(dying)
        collect(asked, tmp_path / "run")
    after = results(tmp_path / "run")
    assert [collected for collected in after if collected in before] == before
    assert status_of(tmp_path / "run").complete
    refused = [c for c in after if isinstance(c.result, Failure)]
    assert {c.job.model.name for c in refused} == {"nowhere.tflite"}
    assert all(isinstance(c.result, Failure) and c.result.kind == "model" for c in refused)
    assert len(refused) == 2  # on every model of phone


def work(values: dict[str, Any], run: str) -> None:
    """One process's share of the collection; killed at a random moment, or not."""
    collect(parse_collection(values, source="test"), Path(run))


def committed(store: Path) -> dict[tuple[str, str], str]:
    """Every row that is only ever added."""
    if not store.exists():
        return {}
    with sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True) as connection:
        return {
            (name, json.dumps(row[:key])): repr(row[key:])
            for name, key in (("models", 1), ("settings", 1), ("results", 1))
            for row in connection.execute(f"SELECT * FROM {name}").fetchall()
        }


@pytest.mark.slow
def test_killed_at_random_moments_it_goes_on_and_nothing_is_lost(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.csv")
    values: dict[str, Any] = {
        "name": "killed",
        "models": {"kind": "space", "space": SPACE, "count": COUNT, "distinct": "architecture"},
        "devices": [{"kind": "table", "path": str(table), "column": "phone", "noise": 0.01}],
    }
    run = tmp_path / "run"
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["orchestrator.collect.collector", "tests.integration.test_collect", "pandas"])
    rng = random.Random(0)
    before: dict[tuple[str, str], str] = {}
    killed = 0
    while True:
        worker = processes.Process(target=work, args=(values, str(run)))
        worker.start()
        if killed < KILLS:
            killed += kill_within(worker, run / STORE, "results", rng, 40)
        else:
            worker.join()
        after = committed(run / STORE)
        assert before.items() <= after.items(), "a committed result was lost or changed"
        before = after
        if worker.exitcode == 0:
            break
        assert worker.exitcode == -signal.SIGKILL, f"exit code {worker.exitcode}"
    status = status_of(run)
    assert killed == KILLS
    assert (status.state, status.measured, status.missing) == ("finished", COUNT, 0)
    assert len(results(run)) == COUNT
