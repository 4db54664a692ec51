"""A lane: what a device is given, and when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.collect.lane import PASSES, PATIENCE, Lane
from orchestrator.collect.records import CollectJob, CollectModel
from orchestrator.collect.store import CollectStore
from profiling.records import DeviceInfo, Failure
from tests.orchestrator.collect.results import SETTINGS, measurement

FAULT = Failure("infrastructure", "device_lost", "it was unplugged")
GONE = Failure("infrastructure", "no_device", "nobody saw it")
REST_S = 100.0


def phone(digest: str) -> DeviceInfo:
    return DeviceInfo(f"Pixel 7 {digest}", "adb", model="Pixel 7", serial_hash=digest)


A, B = phone("a"), phone("b")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CollectStore]:
    with CollectStore.create(tmp_path / "collect.sqlite", {}) as store:
        yield store


def plan(store: CollectStore, count: int, *, replicates: int = 1) -> Lane:
    models = [CollectModel(i, f"m{i}") for i in range(count)]
    pairs = [(model, replicate) for model in models for replicate in range(replicates)]
    jobs = [
        CollectJob(i, model, SETTINGS[0], "Pixel 7", replicate, overlap=replicates > 1)
        for i, (model, replicate) in enumerate(pairs)
    ]
    store.add_plan(models, SETTINGS, jobs, ["Pixel 7"])
    return Lane("Pixel 7", store, window=2, rest_s=REST_S)


def numbers(lane: Lane, *devices: DeviceInfo) -> list[int]:
    """The jobs that it hands out now."""
    given = []
    while (pair := lane.next(devices)) is not None:
        given.append(pair[0].id)
    return given


def finish(lane: Lane, store: CollectStore, number: int) -> None:
    job, _ = lane.in_flight[number]
    store.add_result(job, measurement(phone=lane.in_flight[number][1] or "a"), at=1.0, since=0.0)
    lane.arrived(job)


def test_a_window_for_each_phone_is_under_way(store: CollectStore) -> None:
    lane = plan(store, 9)
    assert numbers(lane) == [0, 1]  # none has been seen yet: the fleet waits for it
    assert numbers(lane, A, B) == [2, 3]
    finish(lane, store, 1)
    assert numbers(lane, A, B) == [4]
    assert numbers(lane, A) == []


def test_what_is_put_off_comes_again_at_the_end(store: CollectStore) -> None:
    lane = plan(store, 4)
    order = []
    while given := numbers(lane, A):
        order += given
        for job, _ in list(lane.in_flight.values()):
            if job.id == 0:
                lane.failed(job, FAULT, 0.0)
            else:
                finish(lane, store, job.id)
    assert order == [0, 1, 2, 3] + [0] * (PASSES - 1)


def test_a_device_that_is_gone_rests_until_it_is_back(store: CollectStore) -> None:
    lane = plan(store, 9)
    assert numbers(lane, A) == [0, 1]
    assert lane.failed(lane.in_flight[0][0], GONE, 10.0)
    assert lane.reason == "nobody saw it"
    assert not lane.failed(lane.in_flight[1][0], GONE, 11.0)  # it rests already
    assert numbers(lane, A) == []
    assert not lane.wake([A], 10.0 + REST_S - 1)
    assert not lane.wake([], 10.0 + REST_S)
    assert lane.wake([A], 10.0 + REST_S)
    assert numbers(lane, A) == [2, 3]
    assert lane.failed(lane.in_flight[2][0], FAULT, 200.0)  # it has not recovered


def test_a_device_that_fails_at_everything_rests(store: CollectStore) -> None:
    lane = plan(store, 20)
    rested = []
    for number in range(PATIENCE):
        numbers(lane, A)
        rested.append(lane.failed(lane.in_flight[number][0], FAULT, 0.0))
    assert rested == [False] * (PATIENCE - 1) + [True]


def test_replicates_go_to_different_phones(store: CollectStore) -> None:
    lane = plan(store, 2, replicates=2)
    assert numbers(lane, A, B) == [0, 1, 2, 3]
    phones = {number: digest for number, (_, digest) in lane.in_flight.items()}
    assert phones[0] != phones[1]
    assert phones[2] != phones[3]


def test_replicates_wait_for_another_phone(store: CollectStore) -> None:
    lane = plan(store, 2, replicates=2)
    assert numbers(lane, A) == [0, 2]
    finish(lane, store, 0)
    finish(lane, store, 2)
    assert numbers(lane, A) == []
    assert [job.id for job in lane.shelved] == [1, 3]
    assert numbers(lane, A, B) == [1, 3]
    assert {digest for _, digest in lane.in_flight.values()} == {"b"}
    assert lane.shelved == []


def test_a_phone_that_is_gone_leaves_its_replicates_and_the_other_phones_work(store: CollectStore) -> None:
    lane = plan(store, 3, replicates=2)
    assert numbers(lane, A, B) == [0, 1, 2, 3]
    lost = [job for job, digest in lane.in_flight.values() if digest == "b"]
    for job in lost:
        assert not lane.failed(job, GONE, 0.0)
    assert lane.reason == ""
    assert len(numbers(lane, A)) == 0  # A's window is full
    for job, _ in list(lane.in_flight.values()):
        finish(lane, store, job.id)
    assert numbers(lane, A) == [4]
    assert [job.id for job in lane.shelved] == [5]
