"""What a journal says of the references and drifts of its devices; read without writing, also while it is written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from device_agent.journal import SCHEMA_VERSION, JournalError, Reference
from profiling.records import DeviceInfo

_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class TimedReference:
    """A measurement of a reference model, and when it was written down (seconds since the epoch)."""

    at: float
    reference: Reference


@dataclass(frozen=True)
class Marked:
    """A measurement that a drift may have touched.

    Attributes:
        job_id: Names it.
        measured_at: When it was written down, seconds since the epoch.
        marked_at: When it was marked.
    """

    job_id: str
    measured_at: float
    marked_at: float


@dataclass(frozen=True)
class DeviceHistory:
    """One device's references and marks, in order.

    Attributes:
        info: Who it is, by its last measurement; None: it has none. The journal's own key is an address, which may be
            a serial, and stays in the journal.
        references: Good and shifted ones.
        marked: The measurements since the last good reference before one that had shifted.
    """

    info: DeviceInfo | None
    references: tuple[TimedReference, ...]
    marked: tuple[Marked, ...]


def read_history(path: Path) -> tuple[DeviceHistory, ...]:
    """The devices that have references, in the order of their addresses. Costs what there are, not all the results.

    Raises:
        JournalError: There is no journal, or it cannot be read.
    """
    with _opened(path) as database:
        keys = database.execute(
            "SELECT DISTINCT device FROM entries WHERE kind IN ('reference', 'shifted') ORDER BY device"
        )
        return tuple(_history(database, key) for (key,) in keys.fetchall())


def _history(database: sqlite3.Connection, key: str) -> DeviceHistory:
    last = database.execute(
        "SELECT body FROM entries WHERE kind = 'measurement' AND device = ? ORDER BY position DESC LIMIT 1", (key,)
    ).fetchone()
    references = database.execute(
        "SELECT at, body FROM entries WHERE kind IN ('reference', 'shifted') AND device = ? ORDER BY position", (key,)
    )
    marked = database.execute(
        "SELECT mark.job_id, measured.at, mark.at FROM entries AS mark JOIN entries AS measured"
        " ON measured.job_id = mark.job_id AND measured.kind IN ('measurement', 'failure')"
        " WHERE mark.kind = 'suspect' AND mark.device = ? ORDER BY mark.position",
        (key,),
    )
    return DeviceHistory(
        info=None if last is None else DeviceInfo.from_json(json.loads(last[0])["device"]),
        references=tuple(TimedReference(at, Reference.from_json(json.loads(body))) for at, body in references),
        marked=tuple(Marked(*row) for row in marked),
    )


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise JournalError(f"there is no journal at {path}", "phones keep one in the run folder, beside its store")
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=_TIMEOUT_S)) as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version == SCHEMA_VERSION:
                yield database
                return
    except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
        raise JournalError(
            f"{path}: {type(error).__name__}: {error}", "the file is damaged; restore it from a backup"
        ) from error
    raise JournalError(
        f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}",
        "use the version of DeviceNAG that wrote it",
    )
