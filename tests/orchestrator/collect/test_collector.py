"""Collecting: every job gets a result or a reason, whatever devices and models do."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from device_agent.backend import Enough, MeasurementJob, MeasurementResult, OnBlock
from device_agent.gate import HostGate
from device_agent.journal import Journal
from device_agent.lease import Lease
from device_agent.reference import reference_artifact
from orchestrator.collect.collector import Collector, collect
from orchestrator.collect.config import CollectConfig
from orchestrator.collect.events import Arrived, Event, PutOff, Rested, Woke
from orchestrator.collect.folder import CollectFolder
from orchestrator.collect.records import CollectedResult
from orchestrator.collect.status import status_of
from orchestrator.collect.store import STORE, CollectStore, store_path
from orchestrator.errors import NagError, RunFolderBusy, RunFolderError
from orchestrator.rig import JOURNAL, Rig
from profiling.database import StoreError
from profiling.records import DeviceInfo, Failure, Measurement
from tests.orchestrator.campaign.tables import write_table
from tests.orchestrator.collect.results import measurement
from tests.orchestrator.collect.test_config import SPACE, collection

LOST = Failure("infrastructure", "device_lost", "it was unplugged")
GONE = Failure("infrastructure", "no_device", "nobody saw it")
REFUSED = Failure("model", "unsupported_operator", "no such operator")
Answer = Callable[[MeasurementJob], MeasurementResult]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases and salts of the test stay in the test."""
    monkeypatch.setenv("DEVICENAG_HOME", str(tmp_path / "home"))


class Phones:
    """A backend whose phones answer at once, as the test says."""

    def __init__(self, answer: Answer, *infos: DeviceInfo) -> None:
        self.infos = list(infos)
        self.jobs: list[MeasurementJob] = []
        self._answer = answer

    def submit(self, job: MeasurementJob, on_block: OnBlock | None = None) -> Future[MeasurementResult]:
        self.jobs.append(job)
        future: Future[MeasurementResult] = Future()
        try:
            future.set_result(self._answer(job))
        except Exception as error:
            future.set_exception(error)
        return future

    def inventory(self) -> tuple[DeviceInfo, ...]:
        return tuple(self.infos)

    def await_devices(self, enough: Enough, timeout_s: float) -> tuple[DeviceInfo, ...]:
        return tuple(self.infos)

    def close(self) -> None:
        pass


HOST = DeviceInfo("host", "host")


def work(
    run: Path, config: CollectConfig, backend: Phones, listen: Callable[[Event], None] = lambda event: None
) -> None:
    """What `collect` does, on such a backend."""
    with CollectFolder.open(run, config) as folder:
        Collector(folder.config, folder.store, Rig(backend, frozenset(), HostGate()), listen).run()


def results(run: Path) -> list[CollectedResult]:
    with CollectStore.read(store_path(run)) as store:
        return list(store.results())


def table(tmp_path: Path, **changes: Any) -> CollectConfig:
    """A collection on a table: the real backend, without any artifact."""
    if not (tmp_path / "table.csv").exists():
        write_table(tmp_path / "table.csv")
    device = {"kind": "table", "path": str(tmp_path / "table.csv"), "column": "phone", "noise": 0.01}
    return collection(**{"devices": [device], "models": {"kind": "space", "space": SPACE, "count": 30}, **changes})


def test_every_job_gets_its_result_from_the_table(tmp_path: Path) -> None:
    seen: list[Event] = []
    collect(table(tmp_path), tmp_path / "run", seen.append)
    found = results(tmp_path / "run")
    assert len(found) == len([event for event in seen if isinstance(event, Arrived)]) == 30
    assert len({collected.job.model.name for collected in found}) == 30
    assert all(isinstance(collected.result, Measurement) for collected in found)
    status = status_of(tmp_path / "run")
    assert (status.state, status.measured, status.missing, status.complete) == ("finished", 30, 0, True)
    collect(table(tmp_path), tmp_path / "run")  # nothing is left to do
    assert results(tmp_path / "run") == found


def test_a_model_that_no_device_can_run_does_not_stop_the_others(tmp_path: Path) -> None:
    backend = Phones(lambda job: REFUSED if len(backend.jobs) == 2 else measurement(device="host"), HOST)
    work(tmp_path, collection(), backend)
    found = [collected.result for collected in results(tmp_path)]
    assert found.count(REFUSED) == 1
    status = status_of(tmp_path)
    assert (status.measured, status.failed, status.complete) == (3, 1, True)
    assert status.tallies[0].failures == {"unsupported_operator": 1}


def test_artifacts_are_compiled_in_every_precision_and_compared(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_quantizer", reason="devicenag[quantize] is not installed")
    backend = Phones(lambda job: measurement(), HOST)
    settings = {"precision": ["float32", "float16", "int8"], "threads": [1, 2]}
    models = {"kind": "space", "space": SPACE, "count": 1}
    work(tmp_path, collection(settings=settings, models=models), backend)
    artifacts = {c.job.setting.precision: c.artifact for c in results(tmp_path) if c.artifact is not None}
    assert len({job.artifact.sha256 for job in backend.jobs}) == len(artifacts) == 3
    assert {job.plan.threads for job in backend.jobs} == {1, 2}
    assert artifacts["float32"].output_error is None
    assert artifacts["float32"].multiply_adds == artifacts["int8"].multiply_adds
    assert artifacts["int8"].multiply_adds
    assert 0 < (artifacts["float16"].output_error or 0) < (artifacts["int8"].output_error or 0) < 0.5


def test_a_folder_with_a_corrupt_and_a_changed_file(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    whole = reference_artifact().data
    (models / "whole.tflite").write_bytes(whole)
    (models / "broken.tflite").write_bytes(whole[:5000])
    (models / "changes.tflite").write_bytes(whole)
    config = collection(models={"kind": "folder", "path": str(models)})
    with CollectFolder.open(tmp_path / "run", config):
        (models / "changes.tflite").write_bytes(whole + b"!")
    work(tmp_path / "run", config, Phones(lambda job: measurement(), HOST))
    found = {collected.job.model.name: collected for collected in results(tmp_path / "run")}
    assert found.keys() == {"whole.tflite", "changes.tflite"}
    assert found["whole.tflite"].job.setting.precision == "original"
    failure = found["changes.tflite"].result
    assert isinstance(failure, Failure)
    assert failure.code == "file_changed"
    status = status_of(tmp_path / "run")
    assert [model.name for model in status.skipped] == ["broken.tflite"]
    assert (status.state, status.complete) == ("finished", False)


def test_a_device_that_dies_leaves_partial_data_and_a_reason(tmp_path: Path) -> None:
    seen: list[Event] = []
    config = collection(models={"kind": "space", "space": SPACE, "count": 20}, devices=[{"kind": "host"}])
    backend = Phones(lambda job: measurement() if len(backend.jobs) <= 6 else GONE, HOST)
    work(tmp_path, config, backend, seen.append)
    status = status_of(tmp_path)
    assert (status.state, status.measured) == ("partial", 6)
    assert status.missing == 14
    assert status.reasons == {"host": "nobody saw it"}
    assert len([event for event in seen if isinstance(event, Rested)]) == 1
    assert len(backend.jobs) < 12  # it was not asked for everything
    work(tmp_path, config, Phones(lambda job: measurement(), HOST))
    assert status_of(tmp_path).state == "finished"
    assert len(results(tmp_path)) == 20


def test_a_device_that_comes_back_goes_on_while_others_work(tmp_path: Path) -> None:
    """One of two devices is gone for a while."""
    hosts = [{"kind": "host"}, {"kind": "host", "name": "other"}]
    models = {"kind": "space", "space": SPACE, "count": 30}
    seen: list[Event] = []

    def answer(job: MeasurementJob) -> MeasurementResult:
        asked = [earlier for earlier in backend.jobs if earlier.device == "other"]
        return GONE if job.device == "other" and len(asked) < 3 else measurement()

    backend = Phones(answer, HOST, replace(HOST, name="other"))
    work(tmp_path, collection(devices=hosts, models=models, patience_s=0.001), backend, seen.append)
    assert [type(event) for event in seen if isinstance(event, Rested | Woke)][:2] == [Rested, Woke]
    assert status_of(tmp_path).state == "finished"


def test_what_a_device_failed_at_is_tried_again_under_another_name(tmp_path: Path) -> None:
    seen: list[Event] = []
    backend = Phones(lambda job: LOST if len(backend.jobs) == 1 else measurement(), HOST)
    work(tmp_path, collection(), backend, seen.append)
    assert len([event for event in seen if isinstance(event, PutOff)]) == 1
    names = [job.job_id for job in backend.jobs]
    assert len(set(names)) == len(names) == 5
    assert names[0].split(".") == [names[-1].split(".")[0], "0"]
    assert names[-1].endswith(".1")
    assert status_of(tmp_path).complete


def test_only_a_window_is_under_way(tmp_path: Path) -> None:
    """Of the phones of a model so many for each; of this machine one, for nothing is compiled while it measures."""
    most: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    lock, full = threading.Lock(), threading.Event()

    class Slow(Phones):
        """Answers once the phones have all the jobs that they may have."""

        def submit(self, job: MeasurementJob, on_block: OnBlock | None = None) -> Future[MeasurementResult]:
            future: Future[MeasurementResult] = Future()
            with lock:
                self.jobs.append(job)
                waiting[job.device] += 1
                most[job.device] = max(most[job.device], waiting[job.device])
                if waiting["Virtual 8"] == 6:
                    full.set()

            def answer() -> None:
                full.wait(30)
                with lock:
                    waiting[job.device] -= 1
                future.set_result(measurement())

            threading.Thread(target=answer).start()
            return future

    phones = [DeviceInfo(f"Virtual 8 {digest}", "virtual", "Virtual 8", digest) for digest in "ab"]
    devices = [{"kind": "host"}, {"kind": "virtual", "count": 2, "profiles": ["virtual8"]}]
    backend = Slow(lambda job: measurement(), HOST, *phones)
    config = collection(models={"kind": "space", "space": SPACE, "count": 9}, devices=devices, overlap={"share": 0})
    work(tmp_path, config.model_copy(update={"window": 3}), backend)
    assert len(results(tmp_path)) == 18
    assert most == {"host": 1, "Virtual 8": 6}


def test_a_full_disk_ends_it_and_loses_nothing(tmp_path: Path) -> None:
    config = table(tmp_path)
    count = 0

    def fill(event: Event) -> None:
        nonlocal count
        count += isinstance(event, Arrived)
        if count == 5:
            connection = folder.store._connection
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")

    with CollectFolder.open(tmp_path / "run", config) as folder:
        big = replace(measurement(), reasons=("x" * 20_000,))
        rig = Rig(Phones(lambda job: big, HOST), frozenset({"phone"}), HostGate())
        with pytest.raises(StoreError, match="full") as caught:
            Collector(folder.config, folder.store, rig, fill).run()
    assert "run the same command again" in caught.value.hint
    kept = len(results(tmp_path / "run"))
    assert 5 <= kept < 30
    assert status_of(tmp_path / "run").state == "interrupted"
    collect(config, tmp_path / "run")
    assert len(results(tmp_path / "run")) == 30


def test_marks_of_drift_that_were_not_taken_over_are(tmp_path: Path) -> None:
    config = table(tmp_path)
    collect(config, tmp_path / "run")
    with Journal(tmp_path / "run" / JOURNAL) as journal:  # as after a kill between the journal's commit and the store's
        lease = Lease("another", 1)
        journal.begin_session(lease)
        journal.record("7.1", measurement(), lease)
        assert journal.suspect_since_last_good(lease, "it was hot") == ("7.1",)
    collect(config, tmp_path / "run")
    assert [c.job.id for c in results(tmp_path / "run") if c.suspect == "it was hot"] == [7]


def test_killed_before_it_had_planned_it_plans(tmp_path: Path) -> None:
    config = table(tmp_path)
    (tmp_path / "run").mkdir()
    with CollectStore.create(tmp_path / "run" / STORE, {"config": config.model_dump(mode="json")}):
        pass
    assert status_of(tmp_path / "run").state == "interrupted"
    collect(config, tmp_path / "run")
    assert status_of(tmp_path / "run").measured == 30


def test_a_folder_belongs_to_one_collection_and_one_process(tmp_path: Path) -> None:
    config = table(tmp_path)
    with CollectFolder.open(tmp_path / "run", config):
        assert status_of(tmp_path / "run").state == "running"
        with pytest.raises(RunFolderBusy):
            collect(config, tmp_path / "run")
    assert status_of(tmp_path / "run").state == "interrupted"
    with pytest.raises(NagError, match="seed changed"):
        collect(table(tmp_path, seed=5), tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / JOURNAL).touch()
    with pytest.raises(RunFolderError, match="no collection"):
        collect(config, tmp_path / "other")
