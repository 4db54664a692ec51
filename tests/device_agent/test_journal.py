"""The journal: a job ends once, stale leases are refused, and drift marks what it may have touched."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from device_agent.journal import Journal, JournalError, Reference
from device_agent.lease import Lease, LeaseLost
from profiling.drift import Verdict
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo, Failure, Measurement
from profiling.statistics import estimate

FAILURE = Failure("model", "crash", "it died")


def measurement(latency_ms: float = 10.0) -> Measurement:
    blocks = [Block(i, 20, "median", latency_ms) for i in range(4)]
    return estimate(blocks, MeasurementPlan(), "sha", DeviceInfo("phone", "adb", epoch="1"))


def reference(verdict: Verdict) -> Reference:
    return Reference("sha", "1", math.log(5), 0.0, verdict)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "agent" / "journal.sqlite") as opened:
        yield opened


def test_a_job_ends_once(journal: Journal) -> None:
    assert journal.result("1") is None
    assert journal.record("1", measurement(10)) == measurement(10)
    assert journal.record("1", measurement(20)) == measurement(10)
    assert journal.record("1", FAILURE) == measurement(10)
    assert journal.record("2", FAILURE) == FAILURE
    assert journal.results() == {"1": measurement(10), "2": FAILURE}


def test_it_survives_being_closed_and_without_estimates(journal: Journal) -> None:
    nothing = estimate([], MeasurementPlan(), "", DeviceInfo("phone", "adb"))
    journal.record("1", nothing)
    journal.close()
    with Journal(journal.path) as again:
        found = again.result("1")
    assert isinstance(found, Measurement)
    assert found.grade == "F"
    assert math.isnan(found.latency_ms)


def test_stale_leases_are_refused(journal: Journal) -> None:
    old, new = Lease("A", 4), Lease("A", 5)
    journal.begin_session(old)
    journal.record("1", FAILURE, old)
    journal.begin_session(new)
    with pytest.raises(LeaseLost, match="lease 4 is over"):
        journal.record("2", measurement(), old)
    with pytest.raises(LeaseLost):
        journal.begin_session(old)
    with pytest.raises(LeaseLost):
        journal.add_reference(old, reference("good"))
    assert journal.result("2") is None
    assert journal.record("1", measurement(), old) == FAILURE, "what is known is known, whoever asks"
    assert journal.record("2", measurement(), Lease("B", 1)) == measurement(), "other devices have other tokens"


def test_drift_marks_what_was_measured_since_the_last_good_reference(journal: Journal) -> None:
    here, there = Lease("A", 1), Lease("B", 1)
    journal.record("before", measurement(), here)
    journal.add_reference(here, reference("good"))
    journal.record("after", measurement(), here)
    journal.record("elsewhere", measurement(), there)
    journal.record("failed", FAILURE, here)
    journal.add_reference(here, reference("shifted"))
    journal.record("later", measurement(), here)
    assert journal.suspect_since_last_good(here, "shifted by 4 %") == ("after", "later")
    assert journal.suspect_since_last_good(here, "shifted by 5 %") == ()
    assert journal.suspects() == {"after": "shifted by 4 %", "later": "shifted by 4 %"}
    assert [entry.verdict for entry in journal.references("A")] == ["good", "shifted"]


def test_nothing_is_changed_or_removed(journal: Journal) -> None:
    journal.record("1", FAILURE)
    with sqlite3.connect(journal.path) as other:
        for statement in ("UPDATE entries SET body = ''", "DELETE FROM entries"):
            with pytest.raises(sqlite3.IntegrityError, match="append only"):
                other.execute(statement)
    other.close()


def test_files_that_are_no_journals(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, certainly not one of ours")
    with pytest.raises(JournalError, match="not a database"):
        Journal(tmp_path / "text")
    with sqlite3.connect(tmp_path / "newer") as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(JournalError, match="schema version 99"):
        Journal(tmp_path / "newer")


def record_until_killed(path: str, done: Connection) -> None:
    """Tell of each result once it is in the journal."""
    journal, lease = Journal(Path(path)), Lease("A", 1)
    for number in range(1_000_000):
        journal.record(str(number), FAILURE, lease)
        done.send(number)


def test_what_was_told_survives_kill_9(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("spawn")
    path = tmp_path / "journal.sqlite"
    told = -1
    for _ in range(3):
        receive, send = processes.Pipe(duplex=False)
        writer = processes.Process(target=record_until_killed, args=(str(path), send))
        writer.start()
        send.close()
        for _ in range(50):
            told = max(told, receive.recv())
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        while receive.poll():
            try:
                told = max(told, receive.recv())
            except EOFError:
                break
        with Journal(path) as journal:
            assert journal.results().keys() >= {str(number) for number in range(told + 1)}
