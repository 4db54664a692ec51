"""The report of a collection on virtual phones behind the real adb server, one of which slows down for a while."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from device_agent.reference import reference_artifact
from device_agent.virtual import PROFILES, VirtualLab
from orchestrator.collect.collector import collect
from orchestrator.collect.config import parse_collection
from orchestrator.collect.events import Arrived, Event
from orchestrator.collect.status import status_of
from orchestrator.report.collection_page import read_collection, render_collection
from tests.orchestrator.report.test_report_page import Page

SLOWDOWN = 1.4


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases and salts of the test stay in the test."""
    monkeypatch.setenv("DEVICENAG_HOME", str(tmp_path / "home"))


@pytest.mark.slow
def test_a_phone_that_slows_down_without_a_word_is_marked_on_the_page(tmp_path: Path) -> None:
    kind = PROFILES["virtual8"].with_fixed_runs(0.02, noise=0.01)
    with VirtualLab(2, [kind, kind]) as lab:
        values: dict[str, Any] = {
            "name": "slows",
            "models": {
                "kind": "space",
                "space": {"kind": "nasbench201", "input": [1, 8, 8, 1], "channels": 4, "cells": 1},
                "count": 16,
            },
            "devices": [{"kind": "adb", "port": lab.port}],
            "measure": {"blocks": [2, 2], "block_seconds": 0.02, "warmup_seconds": 0.0, "min_runs": 5},
            "references": {"every": 2},
            "overlap": {"share": 0.25},
            "patience_s": 60.0,
        }
        pages: list[Page] = []

        def listen(event: Event) -> None:
            if not isinstance(event, Arrived):
                return
            done = status_of(tmp_path / "run").measured
            if done == 10:
                pages.append(Page(render_collection(read_collection(tmp_path / "run"))))  # while it runs
                lab.phones[0].slow_models[reference_artifact().sha256] = SLOWDOWN

        collect(parse_collection(values, source="test"), tmp_path / "run", listen)
        serials = lab.serials
    collection = read_collection(tmp_path / "run")
    page = Page(render_collection(collection))
    assert "running, last result" in pages[0].prose
    assert "figure-drift-0" in pages[0].figures
    drifts = {drift.phone: drift.events for drift in collection.quality.drifts}
    assert len(drifts) == 2
    (events,) = [events for events in drifts.values() if events]  # of the one phone that was slowed down
    assert events[0].log_ratio == pytest.approx(math.log(SLOWDOWN), abs=0.1)
    assert events[0].outcome == "new level"  # it stayed slow, and the chart began again
    assert events[0].marked > 0
    assert "marked as suspect" in page.prose
    assert len(collection.quality.measured.phones) == 2
    assert "figure-spread" in page.figures
    assert {f"figure-{kind}-{number}" for kind in ("temperatures", "clocks") for number in range(2)} <= set(
        page.figures
    )
    assert not any(serial in page.text for serial in serials)
