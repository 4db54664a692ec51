"""CollectStore: the SQLite file of a collection, `RUN/collect.sqlite`: its plan, and every result that arrived.

The one process that collects writes it; others read it at any time, with `CollectStore.read`. To get at the data:

>>> with CollectStore.read(store_path(run)) as store:
...     for collected in store.results():                    # one at a time, however many there are
...         job, result = collected.job, collected.result
...         print(job.model.name, job.setting.precision, job.device, result)

What a result costs does not depend on how many there are already: jobs that wait have an index of their own, and counts
are kept with every result instead of being counted.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.collect.records import CollectArtifact, CollectedResult, CollectJob, CollectModel, Setting
from orchestrator.errors import RunFolderError
from profiling.database import Database
from profiling.records import Failure, Measurement

STORE = "collect.sqlite"
_PAGE = 500  # results read in one transaction: a long one would keep the write-ahead log from being cleared
_STEADY = 0.02  # weight of the newest interval between results, once there are many

_SCHEMA = """
CREATE TABLE models (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, space TEXT NOT NULL, architecture TEXT, source INTEGER NOT NULL,
    sha256 TEXT NOT NULL, failure TEXT, UNIQUE (source, name));
CREATE INDEX skipped ON models (id) WHERE failure IS NOT NULL;
CREATE TABLE settings (
    id INTEGER PRIMARY KEY, precision TEXT NOT NULL, delegate TEXT NOT NULL, threads INTEGER NOT NULL);
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY, model INTEGER NOT NULL REFERENCES models, setting INTEGER NOT NULL REFERENCES settings,
    device TEXT NOT NULL, replicate INTEGER NOT NULL, overlap INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, obstacle TEXT NOT NULL DEFAULT '', done INTEGER NOT NULL DEFAULT 0);
CREATE INDEX waiting ON jobs (device, id) WHERE NOT done;
CREATE INDEX overlaps ON jobs (model, setting, device) WHERE overlap;
CREATE TABLE artifacts (
    model INTEGER NOT NULL REFERENCES models, precision TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL,
    parameters INTEGER, multiply_adds INTEGER, output_error REAL,
    PRIMARY KEY (model, precision)) WITHOUT ROWID;
CREATE TABLE results (
    job INTEGER PRIMARY KEY REFERENCES jobs, at REAL NOT NULL, phone TEXT NOT NULL, measurement BLOB, failure TEXT);
CREATE TABLE suspects (job INTEGER PRIMARY KEY REFERENCES jobs, reason TEXT NOT NULL);
CREATE TABLE tallies (
    device TEXT PRIMARY KEY, planned INTEGER NOT NULL, measured INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0, last_at REAL, interval_s REAL) WITHOUT ROWID;
CREATE TABLE phones (
    device TEXT NOT NULL, phone TEXT NOT NULL, name TEXT NOT NULL, measured INTEGER NOT NULL,
    PRIMARY KEY (device, phone)) WITHOUT ROWID;
CREATE TABLE failures (
    device TEXT NOT NULL, code TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (device, code)) WITHOUT ROWID;
"""
_JOB = (
    "jobs.id, jobs.device, jobs.replicate, jobs.overlap, jobs.attempts, settings.precision, settings.delegate,"
    " settings.threads, models.id, models.name, models.space, models.architecture, models.source, models.sha256,"
    " models.failure"
)
_JOINED = "jobs JOIN settings ON settings.id = jobs.setting JOIN models ON models.id = jobs.model"


@dataclass(frozen=True)
class Tally:
    """How far a device is.

    Attributes:
        device: A device's name, or a phone model.
        planned: Its jobs.
        measured, failed: Those that have a measurement, or a failure that is the model's or the request's.
        last_at: When the last result arrived, in seconds since the epoch; None: none has.
        interval_s: Between results lately, while the collection ran; None: nothing is known yet.
        failures: Code -> how often.
        phones: Name -> how many of the measurements it made.
    """

    device: str
    planned: int
    measured: int
    failed: int
    last_at: float | None
    interval_s: float | None
    failures: dict[str, int] = field(default_factory=dict)
    phones: dict[str, int] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """Jobs without any result."""
        return self.planned - self.measured - self.failed

    @property
    def left_s(self) -> float | None:
        """Time left, at the pace of late."""
        return None if self.interval_s is None else self.missing * self.interval_s


class CollectStore(Database):
    """One collection's SQLite file. Safe to use from several threads of one process."""

    schema = _SCHEMA
    schema_version = 1
    content = "collection"
    begin = "nag collect CONFIG"

    # Writing: each method is one transaction.

    def add_plan(
        self,
        models: Sequence[CollectModel],
        settings: Sequence[Setting],
        jobs: Iterable[CollectJob],
        devices: Sequence[str],
    ) -> None:
        """What is to be measured: all of it, or nothing. A second plan is refused by StoreError."""
        numbers = {setting: number for number, setting in enumerate(settings)}
        with self._writing() as connection:
            connection.executemany(
                "INSERT INTO models VALUES (?, ?, ?, ?, ?, ?, ?)",
                ((m.id, m.name, m.space, m.architecture, m.source, m.sha256, _dump(m.failure)) for m in models),
            )
            connection.executemany(
                "INSERT INTO settings VALUES (?, ?, ?, ?)",
                ((number, s.precision, s.delegate, s.threads) for s, number in numbers.items()),
            )
            connection.executemany(
                "INSERT INTO jobs (id, model, setting, device, replicate, overlap) VALUES (?, ?, ?, ?, ?, ?)",
                ((j.id, j.model.id, numbers[j.setting], j.device, j.replicate, j.overlap) for j in jobs),
            )
            connection.executemany(
                "INSERT INTO tallies (device, planned) SELECT ?, count(*) FROM jobs WHERE device = ?",
                ((device, device) for device in devices),
            )
            connection.execute("INSERT INTO meta VALUES ('planned', 'true')")

    def add_artifact(self, model: CollectModel, precision: str, artifact: CollectArtifact) -> None:
        """What a model was compiled to."""
        a = artifact
        values = (model.id, precision, a.sha256, a.bytes, a.parameters, a.multiply_adds, a.output_error)
        with self._writing() as connection:
            connection.execute("INSERT OR IGNORE INTO artifacts VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def add_result(self, job: CollectJob, result: Measurement | Failure, *, at: float, since: float) -> bool:
        """A result, the moment it arrives; the first one of a job stays.

        Args:
            job: Whose.
            result: With its blocks.
            at: Now.
            since: When this process began to collect: intervals do not reach back over an interruption.

        Returns:
            Whether it was the first one.
        """
        measured = isinstance(result, Measurement)
        phone = result.device.serial_hash or result.device.name if isinstance(result, Measurement) else ""
        text = json.dumps(result.to_json(), separators=(",", ":"))
        values = (job.id, at, phone, zlib.compress(text.encode()) if measured else None, None if measured else text)
        with self._writing() as connection:
            if not connection.execute("INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?, ?)", values).rowcount:
                return False
            connection.execute("UPDATE jobs SET done = 1 WHERE id = ?", (job.id,))
            self._count(connection, job.device, at, since, measured)
            if isinstance(result, Measurement):
                connection.execute(
                    "INSERT INTO phones VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET measured = measured + 1",
                    (job.device, phone, result.device.name),
                )
            else:
                connection.execute(
                    "INSERT INTO failures VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1",
                    (job.device, result.code),
                )
        return True

    def put_off(self, job: CollectJob, failure: Failure) -> None:
        """A device failed at a job, which says nothing of the model: it waits for another attempt."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE jobs SET attempts = attempts + 1, obstacle = ? WHERE id = ?",
                (f"{failure.code}: {failure.detail}", job.id),
            )

    def mark_suspect(self, jobs: Iterable[int], reason: str) -> None:
        """A drift may have touched these jobs' measurements; they may be still on their way. The first reason stays."""
        with self._writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO suspects VALUES (?, ?)", ((job, reason) for job in jobs))

    # Reading.

    @property
    def planned(self) -> bool:
        """Whether the plan is there."""
        return bool(self.meta("planned"))

    @property
    def model_count(self) -> int:
        """How many models the plan has, those that cannot be measured at all included."""
        return int(self._rows("SELECT coalesce(max(id) + 1, 0) FROM models")[0][0])

    def models(self) -> Iterator[CollectModel]:
        """All models of the plan, those that cannot be measured at all included."""
        for row in self._pages("SELECT id, id, name, space, architecture, source, sha256, failure FROM models", "id"):
            yield _model(row[1:])

    def skipped(self) -> tuple[CollectModel, ...]:
        """The models that cannot be measured at all: `failure` says why."""
        rows = self._rows(
            "SELECT id, name, space, architecture, source, sha256, failure FROM models WHERE failure IS NOT NULL"
            " ORDER BY id"
        )
        return tuple(map(_model, rows))

    def waiting(self, device: str, after: int, limit: int) -> tuple[CollectJob, ...]:
        """The next jobs of a device that have no result, from behind the one with number `after`."""
        rows = self._rows(
            f"SELECT {_JOB} FROM {_JOINED} WHERE NOT jobs.done AND jobs.device = ? AND jobs.id > ?"
            " ORDER BY jobs.id LIMIT ?",
            (device, after, limit),
        )
        return tuple(map(_job, rows))

    def phones_of_overlaps(self, job: CollectJob) -> frozenset[str]:
        """The phones (hashes of their serials) on which other replicates of a job were measured."""
        rows = self._rows(
            "SELECT results.phone FROM jobs JOIN settings ON settings.id = jobs.setting"
            " JOIN results ON results.job = jobs.id WHERE jobs.overlap AND jobs.model = ? AND jobs.device = ?"
            " AND settings.precision = ? AND settings.delegate = ? AND settings.threads = ?",
            (job.model.id, job.device, job.setting.precision, job.setting.delegate, job.setting.threads),
        )
        return frozenset(phone for (phone,) in rows if phone)

    def artifact(self, model: CollectModel, precision: str) -> CollectArtifact | None:
        """What a model was compiled to; None: it has not been, or could not be."""
        rows = self._rows(
            "SELECT sha256, bytes, parameters, multiply_adds, output_error FROM artifacts"
            " WHERE model = ? AND precision = ?",
            (model.id, precision),
        )
        return CollectArtifact(*rows[0]) if rows else None

    def results(self) -> Iterator[CollectedResult]:
        """Every result there is, by number of the job; those that arrive meanwhile may be among them.

        They are read in pages: neither memory nor the writer has to hold them all.
        """
        query = (
            f"SELECT results.job, results.at, results.measurement, results.failure, coalesce(suspects.reason, ''),"
            f" artifacts.sha256, artifacts.bytes, artifacts.parameters, artifacts.multiply_adds,"
            f" artifacts.output_error, {_JOB} FROM results JOIN jobs ON jobs.id = results.job"
            " JOIN settings ON settings.id = jobs.setting JOIN models ON models.id = jobs.model"
            " LEFT JOIN artifacts ON artifacts.model = jobs.model AND artifacts.precision = settings.precision"
            " LEFT JOIN suspects ON suspects.job = results.job"
        )
        for row in self._pages(query, "results.job"):
            _, at, measurement, failure, suspect = row[:5]
            result = (
                Failure.from_json(json.loads(failure))
                if measurement is None
                else Measurement.from_json(json.loads(zlib.decompress(measurement)))
            )
            artifact = CollectArtifact(*row[5:10]) if row[5] is not None else None
            yield CollectedResult(_job(row[10:]), artifact, result, at, suspect)

    def tallies(self) -> tuple[Tally, ...]:
        """How far each device is; costs the same however many results there are."""
        failures: dict[str, dict[str, int]] = {}
        for device, code, count in self._rows("SELECT device, code, count FROM failures ORDER BY count DESC, code"):
            failures.setdefault(device, {})[code] = count
        phones: dict[str, dict[str, int]] = {}
        for device, name, count in self._rows("SELECT device, name, measured FROM phones ORDER BY name"):
            phones.setdefault(device, {})[name] = count
        rows = self._rows("SELECT device, planned, measured, failed, last_at, interval_s FROM tallies")
        return tuple(
            replace(Tally(*row), failures=failures.get(row[0], {}), phones=phones.get(row[0], {})) for row in rows
        )

    def failure_examples(self) -> dict[tuple[str, str], str]:
        """(device, code) -> what the first such failure said."""
        rows = self._rows(
            "SELECT jobs.device, results.failure FROM results JOIN jobs ON jobs.id = results.job"
            " WHERE results.failure IS NOT NULL GROUP BY jobs.device, json_extract(results.failure, '$.code')"
            " HAVING results.job = min(results.job)"
        )
        failures = ((device, Failure.from_json(json.loads(text))) for device, text in rows)
        return {(device, failure.code): failure.detail for device, failure in failures}

    def missing(self, device: str) -> dict[str, int]:
        """What was in the way of a device's jobs without a result -> how many; the most frequent first.

        Jobs that were never tried are under the empty text. Counts them: for the end of a collection.
        """
        rows = self._rows(
            "SELECT obstacle, count(*) FROM jobs WHERE NOT done AND device = ? GROUP BY obstacle ORDER BY 2 DESC, 1",
            (device,),
        )
        return dict(rows)

    def _pages(self, query: str, key: str) -> Iterator[tuple[Any, ...]]:
        """Rows of a query, whose first column is `key`, in its order."""
        last = -1
        while rows := self._rows(f"{query} WHERE {key} > ? ORDER BY {key} LIMIT {_PAGE}", (last,)):
            yield from rows
            last = rows[-1][0]

    @staticmethod
    def _count(connection: Any, device: str, at: float, since: float, measured: bool) -> None:
        """Take a result into the device's tally."""
        (done, last_at, interval_s) = connection.execute(
            "SELECT measured + failed, last_at, interval_s FROM tallies WHERE device = ?", (device,)
        ).fetchone()
        newest_s = max(at - max(last_at or since, since), 0.0)
        weight = max(_STEADY, 1 / (done + 1))
        mean_s = newest_s if interval_s is None else (1 - weight) * interval_s + weight * newest_s
        column = "measured" if measured else "failed"
        connection.execute(
            f"UPDATE tallies SET {column} = {column} + 1, last_at = ?, interval_s = ? WHERE device = ?",
            (at, mean_s, device),
        )


def store_path(run: Path) -> Path:
    """The store of a collection's run folder. Raises RunFolderError when there is none."""
    if not (run / STORE).is_file():
        raise RunFolderError(f"{run} holds no collection: it has no {STORE}", "start one with: nag collect CONFIG")
    return run / STORE


def _job(row: Sequence[Any]) -> CollectJob:
    number, device, replicate, overlap, attempts, precision, delegate, threads, *model = row
    setting = Setting(precision, delegate, threads)
    return CollectJob(number, _model(model), setting, device, replicate, bool(overlap), attempts)


def _model(row: Sequence[Any]) -> CollectModel:
    *values, failure = row
    return replace(CollectModel(*values), failure=None if failure is None else Failure.from_json(json.loads(failure)))


def _dump(failure: Failure | None) -> str | None:
    return None if failure is None else json.dumps(failure.to_json())
