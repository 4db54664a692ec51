"""Trackers of a campaign."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.campaign.checks import require_same_campaign
from orchestrator.campaign.events import AccuracyDone, Event, LatencyDone, Proposed
from orchestrator.campaign.loop import run_campaign
from orchestrator.errors import ConfigError
from orchestrator.track import trackers
from orchestrator.track.config import TensorBoardConfig
from orchestrator.track.scalars import Scalar, scalars
from orchestrator.track.trackers import tracked
from profiling.records import Failure
from tests.orchestrator.campaign.tables import table_config, write_table

BUDGET = {"candidates": 6, "batch": 3, "initial": 3, "verify": 0}


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the extras were installed."""
    monkeypatch.setattr(TensorBoardConfig, "needs", "json")


class Recorder:
    """Stands for a tracker."""

    def __init__(self, fails: bool = False) -> None:
        self.seen: list[Scalar] = []
        self.fails = fails
        self.ended: list[type[BaseException] | None] = []

    @contextmanager
    def open(self, *_: Any) -> Iterator[trackers.Write]:
        def write(found: Sequence[Scalar]) -> None:
            if self.fails:
                raise OSError("the server is gone")
            self.seen += found

        try:
            yield write
        except BaseException as error:
            self.ended.append(type(error))
            raise
        self.ended.append(None)


def test_what_a_campaign_says_in_numbers(tmp_path: Path, installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, events = Recorder(), list[Event]()
    monkeypatch.setattr(trackers, "_opened", recorder.open)
    config = table_config(write_table(tmp_path / "table.csv"), budget=BUDGET, tracking={"kind": "tensorboard"})
    with tracked(config, tmp_path, events.append) as listen:
        state = run_campaign(config, tmp_path / "run", listen)
    names = {scalar.name for scalar in recorder.seen}
    assert names >= {"accuracy", "latency_ms/phone", "hypervolume", "candidates/measured", "proposal_seconds"}
    assert len([scalar for scalar in recorder.seen if scalar.name == "accuracy"]) == 6
    last = [scalar for scalar in recorder.seen if scalar.name == "hypervolume"][-1]
    assert (last.value, last.step) == (pytest.approx(state.progress[-1]), 6)
    assert len(events) > len(state.candidates)
    assert recorder.ended == [None]


def test_failures_are_no_numbers() -> None:
    failure = Failure("model", "crash", "it crashed")
    assert list(scalars(LatencyDone(1, "phone", failure))) == []
    assert list(scalars(AccuracyDone(1, failure))) == []
    assert list(scalars(Proposed(2, (1, 2), 0.5))) == [Scalar("proposal_seconds", 0.5, 2)]


def test_a_tracker_that_fails_is_left_alone_and_the_campaign_goes_on(
    tmp_path: Path, installed: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, events = Recorder(fails=True), list[Event]()
    monkeypatch.setattr(trackers, "_opened", recorder.open)
    config = table_config(write_table(tmp_path / "table.csv"), tracking=[{"kind": "tensorboard"}])
    with caplog.at_level(logging.WARNING), tracked(config, tmp_path, events.append) as listen:
        for candidate in range(3):
            listen(AccuracyDone(candidate, 90.0))
    assert len(events) == 3
    assert [record.getMessage() for record in caplog.records] == ["tensorboard: tracking ends here: the server is gone"]


def test_a_tracker_hears_of_an_interruption(tmp_path: Path, installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(trackers, "_opened", recorder.open)
    config = table_config(write_table(tmp_path / "table.csv"), tracking=[{"kind": "tensorboard"}])
    with pytest.raises(KeyboardInterrupt), tracked(config, tmp_path, lambda event: None):
        raise KeyboardInterrupt
    assert recorder.ended == [KeyboardInterrupt]


def test_without_trackers_the_listener_stays_what_it_is(tmp_path: Path) -> None:
    config = table_config(write_table(tmp_path / "table.csv"))

    def listen(event: Event) -> None:
        pass

    with tracked(config, tmp_path, listen) as same:
        assert same is listen


def test_a_missing_package_is_said_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TensorBoardConfig, "needs", "no_such_package")
    with pytest.raises(ConfigError, match=r"pip install 'devicenag\[tensorboard\]'"):
        table_config(write_table(tmp_path / "table.csv"), tracking={"kind": "tensorboard"})


def test_trackers_may_change_while_a_campaign_goes_on(tmp_path: Path, installed: None) -> None:
    table = write_table(tmp_path / "table.csv")
    require_same_campaign(table_config(table), table_config(table, tracking={"kind": "tensorboard"}), tmp_path)


@pytest.mark.skipif(not has("tensorboard"), reason="the extra tensorboard is not installed")
def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = table_config(write_table(tmp_path / "table.csv"), tracking={"kind": "tensorboard"})
    with tracked(config, tmp_path, lambda event: None) as listen:
        for candidate in range(3):
            listen(AccuracyDone(candidate, 90.0 + candidate))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(each.step, each.value) for each in events.Scalars("accuracy")] == [(0, 90.0), (1, 91.0), (2, 92.0)]


@pytest.mark.skipif(not has("mlflow"), reason="the extra mlflow is not installed")
def test_mlflow_has_one_run_for_a_campaign_however_often_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database would need more packages
    from mlflow import MlflowClient

    uri = (tmp_path / "mlruns").as_uri()
    config = table_config(write_table(tmp_path / "table.csv"), tracking={"kind": "mlflow", "uri": uri})
    for candidate in range(2):
        with tracked(config, tmp_path, lambda event: None) as listen:
            listen(AccuracyDone(candidate, 90.0 + candidate))
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("table")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["space"] == "nasbench201"
    assert [each.value for each in client.get_metric_history(run.info.run_id, "accuracy")] == [90.0, 91.0]
