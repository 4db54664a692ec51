"""SQLite store of a campaign: the single source of truth, committed result by result.

Readers (`nag status`, `nag report`) look while the one writer works, and every method commits before it returns
(`profiling.database`). Writing a result a second time changes nothing: the first one stays.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from profiling.database import Database, StoreError
from profiling.records import Block, Failure, Measurement

__all__ = ["CampaignStore", "CandidateRow", "NetworkRow", "Outcome", "Purpose", "StoreError"]

SCHEMA_VERSION = 1
Purpose = Literal["search", "verify"]

_SCHEMA = """
CREATE TABLE rounds (round INTEGER PRIMARY KEY, at REAL NOT NULL, info TEXT NOT NULL);
CREATE TABLE candidates (
    id INTEGER PRIMARY KEY, round INTEGER NOT NULL REFERENCES rounds, architecture TEXT NOT NULL, slots TEXT NOT NULL,
    identity TEXT NOT NULL UNIQUE, seed INTEGER NOT NULL, origin TEXT NOT NULL, acquisition REAL,
    predictions TEXT NOT NULL);
CREATE TABLE networks (
    candidate INTEGER PRIMARY KEY REFERENCES candidates, artifact_sha256 TEXT NOT NULL, bytes INTEGER NOT NULL,
    parameters INTEGER NOT NULL, multiply_adds INTEGER NOT NULL);
CREATE TABLE accuracies (
    candidate INTEGER PRIMARY KEY REFERENCES candidates, at REAL NOT NULL, result TEXT, failure TEXT);
CREATE TABLE blocks (
    candidate INTEGER NOT NULL REFERENCES candidates, device TEXT NOT NULL, purpose TEXT NOT NULL,
    position INTEGER NOT NULL, block TEXT NOT NULL,
    PRIMARY KEY (candidate, device, purpose, position)) WITHOUT ROWID;
CREATE TABLE measurements (
    candidate INTEGER NOT NULL REFERENCES candidates, device TEXT NOT NULL, purpose TEXT NOT NULL, at REAL NOT NULL,
    measurement TEXT, failure TEXT,
    PRIMARY KEY (candidate, device, purpose)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class CandidateRow:
    """An architecture that a round proposed.

    Attributes:
        id: Position in the order of proposing, from 0.
        round: Which round proposed it.
        architecture: Canonical text.
        slots: Its choices.
        identity: Equal for candidates that would be measured as one thing.
        seed: Randomness of its evaluation.
        origin: What proposed it (`initial`, a generator's name, ...).
        acquisition: Value of the acquisition function, where one was used.
        predictions: Metric -> {"mean", "sd"} as predicted before it was measured.
    """

    id: int
    round: int
    architecture: str
    slots: tuple[int, ...]
    identity: str
    seed: int
    origin: str
    acquisition: float | None
    predictions: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class NetworkRow:
    """What a candidate was compiled to."""

    artifact_sha256: str
    bytes: int
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Outcome:
    """A result that arrived: a value or a failure, and when (seconds since the epoch)."""

    at: float
    value: Any | None
    failure: Failure | None


class CampaignStore(Database):
    """One campaign's SQLite file. Safe to use from several threads of one process."""

    schema = _SCHEMA
    schema_version = SCHEMA_VERSION
    content = "campaign"
    begin = "nag run CONFIG"

    # Writing: each method is one transaction.

    def add_round(self, index: int, info: Mapping[str, Any], candidates: Iterable[CandidateRow]) -> None:
        """A round and all its candidates: either the whole batch is there, or nothing of it."""
        with self._writing() as connection:
            connection.execute("INSERT INTO rounds VALUES (?, ?, ?)", (index, time.time(), json.dumps(info)))
            connection.executemany(
                "INSERT INTO candidates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        c.id, c.round, c.architecture, json.dumps(c.slots), c.identity, c.seed, c.origin,
                        c.acquisition, json.dumps(c.predictions),
                    )
                    for c in candidates
                ),
            )  # fmt: skip

    def add_network(self, candidate: int, row: NetworkRow) -> None:
        """What the candidate was compiled to."""
        values = (candidate, row.artifact_sha256, row.bytes, row.parameters, row.multiply_adds)
        with self._writing() as connection:
            connection.execute("INSERT OR IGNORE INTO networks VALUES (?, ?, ?, ?, ?)", values)

    def add_accuracy(self, candidate: int, result: Mapping[str, Any] | Failure) -> None:
        """The candidate's accuracy, or why there is none."""
        with self._writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO accuracies VALUES (?, ?, ?, ?)", (candidate, time.time(), *_either(result))
            )

    def add_block(self, candidate: int, device: str, block: Block, purpose: Purpose = "search") -> None:
        """One block, the moment it exists."""
        with self._writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO blocks VALUES (?, ?, ?, ?, ?)",
                (candidate, device, purpose, block.index, json.dumps(block.to_json())),
            )

    def add_measurement(
        self, candidate: int, device: str, result: Measurement | Failure, purpose: Purpose = "search"
    ) -> None:
        """The estimate made from the blocks (which are kept in their own table), or why there is none."""
        if isinstance(result, Measurement):
            result = replace(result, blocks=())
        with self._writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO measurements VALUES (?, ?, ?, ?, ?, ?)",
                (candidate, device, purpose, time.time(), *_either(result)),
            )

    def refine_measurement(self, candidate: int, device: str, result: Measurement) -> None:
        """A better estimate, from more blocks, of what was measured for the search; when it arrived stays as it was."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE measurements SET measurement = ? WHERE candidate = ? AND device = ? AND purpose = 'search'",
                (_either(replace(result, blocks=()))[0], candidate, device),
            )

    # Reading.

    def rounds(self) -> dict[int, dict[str, Any]]:
        """Round -> its info and `at`."""
        rows = self._rows("SELECT round, at, info FROM rounds ORDER BY round")
        return {index: {"at": at, **json.loads(info)} for index, at, info in rows}

    def candidates(self) -> list[CandidateRow]:
        """All candidates in the order of proposing."""
        rows = self._rows("SELECT * FROM candidates ORDER BY id")
        return [
            CandidateRow(
                id=row[0],
                round=row[1],
                architecture=row[2],
                slots=tuple(json.loads(row[3])),
                identity=row[4],
                seed=row[5],
                origin=row[6],
                acquisition=row[7],
                predictions=json.loads(row[8]),
            )
            for row in rows
        ]

    def networks(self) -> dict[int, NetworkRow]:
        """Candidate -> what it was compiled to."""
        return {row[0]: NetworkRow(*row[1:]) for row in self._rows("SELECT * FROM networks")}

    def accuracies(self) -> dict[int, Outcome]:
        """Candidate -> accuracy result (a dict) or failure."""
        rows = self._rows("SELECT candidate, at, result, failure FROM accuracies")
        return {candidate: Outcome(at, _loads(result), _failure(failure)) for candidate, at, result, failure in rows}

    def blocks(self, candidate: int, device: str, purpose: Purpose = "search") -> tuple[Block, ...]:
        """The blocks measured so far, in order."""
        rows = self._rows(
            "SELECT block FROM blocks WHERE candidate = ? AND device = ? AND purpose = ? ORDER BY position",
            (candidate, device, purpose),
        )
        return tuple(Block.from_json(json.loads(text)) for (text,) in rows)

    def measurements(self, purpose: Purpose = "search") -> dict[tuple[int, str], Outcome]:
        """(candidate, device) -> Measurement without its blocks, or failure."""
        rows = self._rows(
            "SELECT candidate, device, at, measurement, failure FROM measurements WHERE purpose = ?", (purpose,)
        )
        return {
            (candidate, device): Outcome(
                at, Measurement.from_json(json.loads(text)) if text is not None else None, _failure(failure)
            )
            for candidate, device, at, text, failure in rows
        }


def _either(result: Measurement | Mapping[str, Any] | Failure) -> tuple[str | None, str | None]:
    """(value, failure) columns."""
    if isinstance(result, Failure):
        return None, json.dumps(result.to_json())
    return json.dumps(result.to_json() if isinstance(result, Measurement) else dict(result)), None


def _loads(text: str | None) -> Any | None:
    return None if text is None else json.loads(text)


def _failure(text: str | None) -> Failure | None:
    return None if text is None else Failure.from_json(json.loads(text))
