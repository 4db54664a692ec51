"""Histories of references, read from journals that others write."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from device_agent.journal import Journal, JournalError, Reference
from device_agent.journal_history import read_history
from device_agent.lease import Lease
from profiling.drift import Verdict
from profiling.records import DeviceInfo, Measurement


def reference(verdict: Verdict = "good", log_ratio: float = 0.0) -> Reference:
    return Reference("ab" * 32, "build 1", 1.0 + log_ratio, log_ratio, verdict)


def measurement(name: str) -> Measurement:
    return Measurement(2.0, 0.01, 1.9, 2.1, (), "A", (), 0.02, "cd" * 32, DeviceInfo(name, "adb", serial_hash="5a1t"))


def test_each_device_has_its_references_and_marks(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.sqlite") as journal:
        first, second = Lease("SERIAL1", 1), Lease("SERIAL2", 1)
        journal.add_reference(first, reference("starting"))
        journal.record("a", measurement("Pixel 7 5a1t"), first)
        journal.add_reference(first, reference())
        journal.record("b", measurement("Pixel 7 5a1t"), first)
        journal.add_reference(first, reference("shifted", 0.2))
        journal.suspect_since_last_good(first, "shifted by +20 %")
        journal.add_reference(second, reference("starting"))
        histories = read_history(journal.path)  # while it is open for writing
    one, other = histories
    assert one.info is not None
    assert one.info.name == "Pixel 7 5a1t"
    assert [timed.reference.verdict for timed in one.references] == ["starting", "good", "shifted"]
    assert [timed.at for timed in one.references] == sorted(timed.at for timed in one.references)
    (mark,) = one.marked  # only what came after the good one
    assert mark.job_id == "b"
    assert one.references[1].at <= mark.measured_at <= one.references[2].at <= mark.marked_at
    assert (other.info, len(other.references), other.marked) == (None, 1, ())


def test_reading_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with pytest.raises(JournalError, match="no journal"):
        read_history(path)
    assert not path.exists()
    Journal(path).close()
    before = path.read_bytes()
    assert read_history(path) == ()
    assert path.read_bytes() == before


def test_damaged_and_foreign_journals_are_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 40)
    with pytest.raises(JournalError, match="not a database"):
        read_history(path)
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(JournalError, match="schema version 99"):
        read_history(path)
