"""Runs that several tests look at; they are written once and never changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.orchestrator.report.runs import write_run

BOUND = {"maximize": "accuracy", "subject_to": ["latency_ms[host] <= 0.05"]}


@pytest.fixture(scope="session")
def pareto_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Accuracy against the latency of one device, with trained weights."""
    return write_run(tmp_path_factory.mktemp("pareto"), weights=True)


@pytest.fixture(scope="session")
def constrained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The best accuracy within 0.05 ms; no weights were kept."""
    return write_run(tmp_path_factory.mktemp("constrained"), goal=BOUND)


@pytest.fixture(scope="session")
def two_device_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two devices, one of them in the goal."""
    devices = [{"kind": "host"}, {"kind": "host", "name": "slow phone"}]
    return write_run(tmp_path_factory.mktemp("two"), devices=devices, goal={"minimize": "latency_ms[host]"})
