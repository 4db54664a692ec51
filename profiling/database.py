"""Database: a SQLite file that one process writes and any number read, committed step by step.

Write-ahead logging lets readers look while the one writer works, and neither waits for the other. Every write is a
transaction that is on the disk before the call returns, so a killed program loses at most what had not arrived.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

_BUSY_TIMEOUT_S = 30.0
_META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"


class StoreError(RuntimeError):
    """The store cannot be opened, read or written; `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Database:
    """An open file; safe to use from several threads of one process. Subclasses say what is in it.

    Attributes:
        path: The file.
    """

    schema: ClassVar[str]
    """Its tables, beside `meta`, as SQL."""
    schema_version: ClassVar[int]
    """Grows when a table changes its meaning."""
    content: ClassVar[str]
    """What the file holds, in one word."""
    begin: ClassVar[str]
    """The command that makes one."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Use `create`, `open` or `read` instead."""
        self._connection = connection
        self._lock = threading.RLock()
        self.path = path

    @classmethod
    def create(cls, path: Path, meta: Mapping[str, Any]) -> Self:
        """A new store with this `meta`. Raises StoreError when the file exists or cannot be written."""
        if path.exists():
            raise StoreError(f"{path} exists already")
        # The file gets its name when it is complete, so that a kill while creating leaves no half-made store.
        draft = path.with_name(path.name + ".new")
        for leftover in (draft, draft.with_name(draft.name + "-journal")):
            leftover.unlink(missing_ok=True)
        with translated(path):
            connection = sqlite3.connect(draft)
            try:
                connection.executescript(_META + cls.schema)
                rows = {"schema_version": cls.schema_version, **meta}
                connection.executemany("INSERT INTO meta VALUES (?, ?)", ((k, json.dumps(v)) for k, v in rows.items()))
                connection.commit()
            finally:
                connection.close()
            draft.rename(path)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """An existing store, for writing."""
        return cls._connect(path, "rw")

    @classmethod
    def read(cls, path: Path) -> Self:
        """An existing store, for reading only; never blocks the writer."""
        return cls._connect(path, "ro")

    @classmethod
    def _connect(cls, path: Path, mode: str) -> Self:
        if not path.is_file():
            raise StoreError(f"there is no {cls.content} at {path}", f"start one with: {cls.begin}")
        with translated(path):
            connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode={mode}", uri=True, check_same_thread=False, timeout=_BUSY_TIMEOUT_S
            )
            if mode == "rw":
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
            store = cls(connection, path)
            version = store.meta("schema_version")
        if version != cls.schema_version:
            store.close()
            raise StoreError(
                f"{path} has schema version {version}, this program reads {cls.schema_version}",
                "use the version of DeviceNAG that wrote it",
            )
        return store

    def close(self) -> None:
        """Close the file; idempotent."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_meta(self, key: str, value: Any) -> None:
        """Keep a JSON value under a name, replacing what was there."""
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def meta(self, key: str) -> Any:
        """The value kept under a name, or None."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else None

    def _rows(self, query: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, translated(self.path):
            return self._connection.execute(query, tuple(values)).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed at the end, rolled back when something is raised."""
        with self._lock, translated(self.path), self._connection:
            yield self._connection


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as StoreError with a hint."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "full" in text or "disk I/O" in text:
            hint = "free some space and run the same command again: everything committed so far is kept"
        elif "not a database" in text or "malformed" in text:
            hint = "the file is damaged or is no store of this program; restore it from a backup, or use another folder"
        elif "locked" in text:
            hint = "another process is writing to it"
        else:
            hint = "check that the folder exists and is writable"
        raise StoreError(f"{path}: {text}", hint) from error
