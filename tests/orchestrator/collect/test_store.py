"""The store of a collection."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.collect.records import CollectArtifact, CollectJob, CollectModel
from orchestrator.collect.store import CollectStore, store_path
from orchestrator.errors import RunFolderError
from profiling.database import StoreError
from profiling.records import Failure
from tests.orchestrator.collect.results import SETTINGS, measurement, planned_store

REFUSED = Failure("model", "unsupported_operator", "no such operator")


def test_results_come_back_as_they_were_with_their_jobs(tmp_path: Path) -> None:
    with planned_store(tmp_path) as store, CollectStore.read(store_path(tmp_path)) as reader:
        first, second = store.waiting("Pixel 7", -1, 2)
        artifact = CollectArtifact("ab" * 32, 1000, 7, 70, None)
        store.add_artifact(first.model, first.setting.precision, artifact)
        store.mark_suspect([first.id], "the phone was hot")  # a mark may arrive before its result
        assert store.add_result(first, measurement(), at=100.0, since=90.0)
        assert store.add_result(second, REFUSED, at=101.0, since=90.0)
        assert not store.add_result(first, REFUSED, at=102.0, since=90.0)  # the first one stays
        one, two = reader.results()
    assert (one.job, one.artifact, one.result, one.at) == (first, artifact, measurement(), 100.0)
    assert one.suspect == "the phone was hot"
    assert (two.job, two.artifact, two.result, two.suspect) == (second, None, REFUSED, "")


def test_jobs_wait_until_they_have_a_result(tmp_path: Path) -> None:
    with planned_store(tmp_path) as store:
        jobs = store.waiting("host", -1, 100)
        assert len(jobs) == 6
        assert [job.id for job in jobs] == sorted(job.id for job in jobs)
        store.add_result(jobs[1], measurement(), at=1.0, since=0.0)
        store.put_off(jobs[0], Failure("infrastructure", "device_lost", "it was unplugged"))
        assert store.missing("host") == {"": 4, "device_lost: it was unplugged": 1}
        assert store.waiting("host", -1, 2) == (replace(jobs[0], attempts=1), jobs[2])
        assert store.waiting("host", jobs[2].id, 1) == (jobs[3],)
        assert store.waiting("nothing", -1, 1) == ()


def test_tallies_count_and_know_the_pace(tmp_path: Path) -> None:
    with planned_store(tmp_path) as store:
        jobs = store.waiting("host", -1, 100)
        for index, job in enumerate(jobs[:4]):
            store.add_result(job, REFUSED if index == 3 else measurement(), at=10.0 + 2 * (index + 1), since=10.0)
        phone, host = sorted(store.tallies(), key=lambda tally: tally.device)
        assert (host.planned, host.measured, host.failed, host.missing) == (6, 3, 1, 2)
        assert host.failures == {"unsupported_operator": 1}
        assert host.phones == {"Pixel 7 0a1b": 3}
        assert (host.interval_s, host.left_s) == (pytest.approx(2.0), pytest.approx(4.0))
        assert (phone.missing, phone.left_s) == (6, None)
        # A night between two results is no slow result, when the program did not run.
        store.add_result(jobs[4], measurement(), at=50_000.0, since=49_998.0)
        (host,) = (tally for tally in store.tallies() if tally.device == "host")
        assert host.left_s == pytest.approx(2.0)


def test_replicates_tell_each_others_phones(tmp_path: Path) -> None:
    model = CollectModel(0, "a")
    jobs = [CollectJob(i, model, SETTINGS[0], "Pixel 7", replicate=i, overlap=True) for i in range(2)]
    with CollectStore.create(tmp_path / "collect.sqlite", {}) as store:
        store.add_plan([model], SETTINGS, jobs, ["Pixel 7"])
        assert store.phones_of_overlaps(jobs[1]) == frozenset()
        store.add_result(jobs[0], measurement(phone="0a1b"), at=1.0, since=0.0)
        assert store.phones_of_overlaps(jobs[1]) == {"0a1b"}


def test_many_results_are_read_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.collect.store._PAGE", 2)
    with planned_store(tmp_path) as store:
        for job in store.waiting("host", -1, 5):
            store.add_result(job, measurement(), at=1.0, since=0.0)
        assert len(list(store.results())) == 5
        assert [model.name for model in store.models()] == ["model0", "model1", "model2"]


def test_models_that_cannot_be_measured_are_kept(tmp_path: Path) -> None:
    broken = CollectModel(0, "broken.tflite", failure=Failure("user", "corrupt_model", "it is empty"))
    with CollectStore.create(tmp_path / "collect.sqlite", {}) as store:
        assert not store.planned
        store.add_plan([broken, CollectModel(1, "whole.tflite")], SETTINGS, [], ["host"])
        assert store.planned
        assert store.skipped() == (broken,)
        with pytest.raises(StoreError):
            store.add_plan([broken], SETTINGS, [], ["host"])


def test_a_folder_without_a_collection_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no collect\.sqlite"):
        store_path(tmp_path)


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    with planned_store(tmp_path) as store:
        first, second, *_ = store.waiting("host", -1, 5)
        store.add_result(first, measurement(), at=1.0, since=0.0)
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="full") as caught:
            store.set_meta("large", "x" * 1_000_000)
        assert "run the same command again" in caught.value.hint
        assert [collected.job for collected in store.results()] == [first]
        assert second in store.waiting("host", -1, 5)
