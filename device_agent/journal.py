"""The agent's own journal: what happened on its devices, appended and never changed.

A result is written here before anybody hears of it, so that a job whose result was lost on the way to the campaign is
answered from here when it is submitted again: by its id, a job ends once. A result that comes from a lease that is
over is refused: sessions are entries as well, and the largest fencing token of a device is the valid one.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from device_agent.lease import Lease, LeaseLost
from profiling.drift import Verdict
from profiling.records import Failure, Measurement, Record

SCHEMA_VERSION = 1
_RESULTS = "('measurement', 'failure')"  # kinds of entries
_BUSY_TIMEOUT_S = 30.0
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entries (
    position INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, device TEXT NOT NULL, token INTEGER NOT NULL,
    job_id TEXT, body TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS one_result ON entries (job_id) WHERE kind IN {_RESULTS};
CREATE INDEX IF NOT EXISTS by_device ON entries (device, kind);
CREATE INDEX IF NOT EXISTS by_token ON entries (device, token);
CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'append only'); END;
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""


class JournalError(RuntimeError):
    """The journal cannot be read or written: results would be lost, so nothing goes on; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Reference(Record):
    """One measurement of a reference model.

    Attributes:
        artifact_sha256: The model.
        epoch: Of the device: those of another system version are not comparable.
        log_latency: Log of the latency in ms.
        log_ratio: To what the device's control chart expected.
        verdict: Of the chart.
    """

    artifact_sha256: str
    epoch: str
    log_latency: float
    log_ratio: float
    verdict: Verdict


class Journal:
    """One agent's journal; safe to use from several threads, and from several processes."""

    def __init__(self, path: Path) -> None:
        """Open the journal, or start one.

        Raises:
            JournalError: It cannot be used.
        """
        self.path = path
        self._lock = threading.RLock()
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None
            )
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA_VERSION):
                self._database.close()
                raise JournalError(
                    f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}",
                    "use the version of DeviceNAG that wrote it",
                )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)  # an older journal may lack an index

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._lock:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Writing: each method is one transaction.

    def begin_session(self, lease: Lease) -> None:
        """From now on, only results with this lease's token or a larger one are taken from the device.

        Raises:
            LeaseLost: A later lease has begun already.
        """
        with self._transaction():
            self._fence(lease)
            self._append("session", lease.device, lease.token, None, {})

    def record(self, job_id: str, result: Measurement | Failure, lease: Lease | None = None) -> Measurement | Failure:
        """Write down how a job ended; if it has ended before, that stays.

        Args:
            job_id: Names the job.
            result: Its result.
            lease: Under which it was measured; None: on no leased device.

        Returns:
            The result that counts.

        Raises:
            LeaseLost: The lease is over.
        """
        with self._transaction():
            if (known := self._result(job_id)) is not None:
                return known
            if lease is not None:
                self._fence(lease)
            kind = "measurement" if isinstance(result, Measurement) else "failure"
            device, token = (lease.device, lease.token) if lease is not None else ("", 0)
            self._append(kind, device, token, job_id, result.to_json())
            return result

    def add_reference(self, lease: Lease, reference: Reference) -> None:
        """Write down a measurement of a reference model."""
        with self._transaction():
            self._fence(lease)
            kind = "shifted" if reference.verdict == "shifted" else "reference"
            self._append(kind, lease.device, lease.token, None, reference.to_json())

    def suspect_since_last_good(self, lease: Lease, reason: str) -> tuple[str, ...]:
        """Mark the device's measurements since its last good reference.

        Returns:
            The jobs that are marked now and were not before.
        """
        with self._transaction():
            good = self._rows(
                "SELECT max(position) FROM entries WHERE kind = 'reference' AND device = ?", lease.device
            )[0][0]
            rows = self._rows(
                "SELECT job_id FROM entries AS measured WHERE kind = 'measurement' AND device = ? AND position > ?"
                " AND NOT EXISTS (SELECT 1 FROM entries WHERE kind = 'suspect' AND job_id = measured.job_id)"
                " ORDER BY position",
                lease.device,
                good or 0,
            )
            for (job_id,) in rows:
                self._append("suspect", lease.device, lease.token, job_id, {"reason": reason})
            return tuple(job_id for (job_id,) in rows)

    # Reading.

    def result(self, job_id: str) -> Measurement | Failure | None:
        """How a job ended; None if it has not."""
        with self._lock, self._translated():
            return self._result(job_id)

    def last_token(self, device: str) -> int:
        """The largest fencing token that was seen of a device; 0 if none was."""
        with self._lock, self._translated():
            return self._largest_token(device)

    def results(self) -> dict[str, Measurement | Failure]:
        """Job -> how it ended, in order."""
        with self._lock, self._translated():
            rows = self._rows(f"SELECT job_id, kind, body FROM entries WHERE kind IN {_RESULTS} ORDER BY position")
            return {job_id: _revived(kind, body) for job_id, kind, body in rows}

    def references(self, device: str) -> tuple[Reference, ...]:
        """The device's measurements of reference models, in order."""
        with self._lock, self._translated():
            rows = self._rows(
                "SELECT body FROM entries WHERE kind IN ('reference', 'shifted') AND device = ? ORDER BY position",
                device,
            )
            return tuple(Reference.from_json(json.loads(body)) for (body,) in rows)

    def suspects(self) -> dict[str, str]:
        """Job -> why its measurement is marked."""
        with self._lock, self._translated():
            rows = self._rows("SELECT job_id, body FROM entries WHERE kind = 'suspect' ORDER BY position")
            return {job_id: json.loads(body)["reason"] for job_id, body in rows}

    def _result(self, job_id: str) -> Measurement | Failure | None:
        rows = self._rows(f"SELECT kind, body FROM entries WHERE kind IN {_RESULTS} AND job_id = ?", job_id)
        return _revived(*rows[0]) if rows else None

    def _fence(self, lease: Lease) -> None:
        """Refuse a token smaller than the largest that was seen."""
        largest = self._largest_token(lease.device)
        if lease.token < largest:
            raise LeaseLost(
                f"lease {lease.token} is over, the device is at lease {largest}", device=lease.device, command="record"
            )

    def _largest_token(self, device: str) -> int:
        return int(self._rows("SELECT max(token) FROM entries WHERE device = ?", device)[0][0] or 0)

    def _append(self, kind: str, device: str, token: int, job_id: str | None, body: dict[str, Any]) -> None:
        self._database.execute(
            "INSERT INTO entries (at, kind, device, token, job_id, body) VALUES (?, ?, ?, ?, ?, ?)",
            (time.time(), kind, device, token, job_id, json.dumps(body)),
        )

    def _rows(self, query: str, *values: str | int) -> list[tuple[Any, ...]]:
        return self._database.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._translated():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise JournalError(
                f"{self.path}: {error}",
                "free some space, check that it is writable and on a local disk; then run again",
            ) from error


def _revived(kind: str, body: str) -> Measurement | Failure:
    return (Measurement if kind == "measurement" else Failure).from_json(json.loads(body))
