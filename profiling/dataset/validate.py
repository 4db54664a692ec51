"""Validation of a set: every file and row is looked at once, a few at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from profiling.dataset.checks import wrong_cells
from profiling.dataset.files import DATA, READ_ROWS, schema_problems, sha256_of
from profiling.dataset.manifest import DataFile, Manifest, read_manifest
from profiling.dataset.quality import DeviceQuality, QualityCollector
from profiling.dataset.row import DatasetRow
from profiling.dataset.schema import SCHEMA_VERSION, row_of
from profiling.records import Record

Severity = Literal["error", "missing", "warning"]
MOST_FINDINGS = 1000
"""Of one severity that are kept one by one; those beyond are counted."""


@dataclass(frozen=True)
class Finding(Record):
    """Something that is wrong with a set.

    Attributes:
        severity: `error`: it must not be used as it is; `missing`: a part is not there; `warning`: it is marked as
            doubtful, and whoever uses it should know.
        file: In the set's folder.
        row: From 0, within the file; None: the whole file.
        column: Which; empty: the whole row.
        problem: What is wrong.
    """

    severity: Severity
    file: str
    row: int | None
    column: str
    problem: str

    def __str__(self) -> str:
        row = "" if self.row is None else f", row {self.row}"
        column = f", {self.column}" if self.column else ""
        return f"{self.severity}: {self.file}{row}{column}: {self.problem}"


@dataclass(frozen=True)
class Report(Record):
    """What validation found.

    Attributes:
        rows: That were looked at.
        counts: Severity -> findings.
        findings: The first of them.
        devices: Quality of the rows that are right.
    """

    rows: int
    counts: dict[str, int]
    findings: tuple[Finding, ...]
    devices: tuple[DeviceQuality, ...]


class Validator:
    """Goes through a set once.

    Attributes:
        rows: Looked at so far.
    """

    def __init__(self, folder: Path, now_s: float | None = None) -> None:
        """Args:
            folder: Of the set.
            now_s: Seconds since the epoch; the present by default.

        Raises:
            DatasetError: It is no set, or one of an unknown version.
        """
        self.rows = 0
        self._folder = folder
        self._manifest: Manifest = read_manifest(folder)
        self._now_s = time.time() if now_s is None else now_s
        self._sources = {source.id for source in self._manifest.sources}
        self._first: dict[bytes, tuple[int, int]] = {}
        self._quality = QualityCollector()
        self._counts: dict[str, int] = {"error": 0, "missing": 0, "warning": 0}
        self._findings: list[Finding] = []

    def run(self, progress: Callable[[int], None] = lambda rows: None) -> Report:
        """Look at everything.

        Args:
            progress: Told the number of rows so far, now and then.
        """
        listed = {file.path for file in self._manifest.files}
        for path in sorted((self._folder / DATA).rglob("*.parquet")):
            if (name := path.relative_to(self._folder).as_posix()) not in listed:
                self._found("error", name, None, "", "is not listed in dataset.json")
        for index, file in enumerate(self._manifest.files):
            for row, cells in self._cells(file):
                self._look(index, file, row, cells)
                self.rows += 1
                if self.rows % READ_ROWS == 0:
                    progress(self.rows)
        self._say_what_is_missing()
        return Report(self.rows, dict(self._counts), tuple(self._findings), self._quality.summary())

    def _cells(self, file: DataFile) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows of a file that can be read, after what is wrong with the file as a whole."""
        path, name = self._folder / file.path, file.path
        if not path.is_file():
            self._found("missing", name, None, "", f"is not there; it has {file.rows} rows of {file.device}")
            return
        if sha256_of(path) != file.sha256:
            self._found("error", name, None, "", "is not the file that was written: its sha256 is another")
        try:
            with pq.ParquetFile(path) as opened:
                problems = schema_problems(opened.schema_arrow)
                for column, problem in problems:
                    self._found("error", name, None, column, problem)
                if opened.metadata.num_rows != file.rows:
                    count = opened.metadata.num_rows
                    self._found("error", name, None, "", f"has {count} rows, dataset.json says {file.rows}")
                if problems:
                    return
                row = 0
                for batch in opened.iter_batches(batch_size=READ_ROWS):
                    for cells in batch.to_pylist():
                        yield row, cells
                        row += 1
        except (OSError, pa.ArrowException) as error:
            reason = str(error).strip().splitlines()[0]
            self._found("error", name, None, "", f"cannot be read: {reason}")

    def _look(self, index: int, file: DataFile, row: int, cells: dict[str, Any]) -> None:
        wrong = list(wrong_cells(cells, self._now_s))
        if cells["schema_version"] == SCHEMA_VERSION:
            if cells["source_id"] is not None and cells["source_id"] not in self._sources:
                wrong.append(("source_id", f"is {cells['source_id']!r}, no source of dataset.json"))
            if cells["device"] is not None and cells["device"] != file.device:
                wrong.append(("device", f"is {cells['device']!r} in the file of {file.device!r}"))
        for column, problem in wrong:
            self._found("error", file.path, row, column, problem)
        if wrong:
            return
        made = row_of(cells)
        self._warn(file.path, row, made)
        first = self._first.setdefault(made.key, (index, row))
        if first != (index, row):
            where = f"row {first[1]} of {self._manifest.files[first[0]].path}"
            self._found("error", file.path, row, "", f"is about the same as {where}: a duplicate")
            return
        self._quality.see(made)

    def _warn(self, name: str, row: int, made: DatasetRow) -> None:
        if made.drift_suspect:
            self._found("warning", name, row, "drift_suspect", "the reference model drifted around this measurement")
        if made.grade == "C":
            self._found("warning", name, row, "grade", f"is C: {'; '.join(made.grade_reasons) or 'no reason given'}")

    def _say_what_is_missing(self) -> None:
        for source in self._manifest.sources:
            if source.missing_count:
                problem = f"{source.missing_count} measurements of {source.name} have no result yet"
                self._found("missing", "dataset.json", None, "", problem)
        if self._manifest.license == "unknown":
            self._found("warning", "dataset.json", None, "license", "no licence was chosen")

    def _found(self, severity: Severity, file: str, row: int | None, column: str, problem: str) -> None:
        self._counts[severity] += 1
        if self._counts[severity] <= MOST_FINDINGS:
            self._findings.append(Finding(severity, file, row, column, problem))
