"""Reading and writing of a set: `DIR/data/device_key=KEY/part-00000.parquet`, `DIR/dataset.json`, `DIR/README.md`.

The files name the device in a column; the folders repeat it under another name, made of plain letters, because readers
disagree on what a folder's value may hold, and on what to do when a folder and a column have the same name.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from profiling.dataset.checks import wrong_cells
from profiling.dataset.errors import DatasetError
from profiling.dataset.manifest import DataFile, Manifest, Source, read_manifest
from profiling.dataset.quality import QualityCollector
from profiling.dataset.row import DatasetRow
from profiling.dataset.schema import SCHEMA, row_of, to_batch
from profiling.dataset.staging import replaced_folder

DATA = "data"
READ_ROWS = 256
"""Rows in memory at a time, for each device while writing: with their blocks they are some 10 kB each."""
_READ_BYTES = 1 << 20


@dataclass
class _DeviceFile:
    """The file of one device while it is written."""

    path: str
    writer: Any
    rows: int = 0
    waiting: list[DatasetRow] = field(default_factory=list)

    def flush(self) -> None:
        """Write what waits as a row group."""
        if self.waiting:
            self.writer.write_batch(to_batch(self.waiting))
            self.rows += len(self.waiting)
            self.waiting.clear()


class DatasetWriter:
    """Takes rows one by one, in any order; use `writing`. Memory does not grow with their number but for a few bytes.

    Attributes:
        quality: What is known of the rows so far.
        manifest: What was written, once it is.
    """

    manifest: Manifest

    def __init__(self, folder: Path, name: str, license: str) -> None:
        self.quality = QualityCollector()
        self._folder = folder
        self._name = name
        self._license = license
        self._sources: dict[str, Source] = {}
        self._files: dict[str, _DeviceFile] = {}
        self._keys = {"default"}  # which the card calls all devices together

    def add_source(self, source: Source) -> None:
        """A run that rows come from; may be said again with what is known later."""
        self._sources[source.id] = source

    def add(self, row: DatasetRow) -> None:
        """A row."""
        file = self._files.get(row.device) or self._open(row.device)
        file.waiting.append(row)
        self.quality.see(row)
        if len(file.waiting) >= READ_ROWS:
            file.flush()

    def close(self) -> None:
        """Close the files, whatever is in them; idempotent."""
        for file in self._files.values():
            file.writer.close()

    def finish(self) -> None:
        """Write what waits, the manifest and the card."""
        from profiling.card import write_card

        for file in self._files.values():
            file.flush()
        self.close()
        self.manifest = Manifest(
            self._name,
            self._license,
            tuple(self._sources.values()),
            tuple(self._entry(device, file) for device, file in sorted(self._files.items())),
        )
        self.manifest.write(self._folder)
        write_card(self._folder, self.manifest, self.quality)

    def _open(self, device: str) -> _DeviceFile:
        key = device_key(device, self._keys)
        self._keys.add(key)
        path = f"{DATA}/device_key={key}/part-00000.parquet"
        (self._folder / path).parent.mkdir(parents=True)
        writer = pq.ParquetWriter(self._folder / path, SCHEMA, compression="zstd")
        return self._files.setdefault(device, _DeviceFile(path, writer))

    def _entry(self, device: str, file: _DeviceFile) -> DataFile:
        path = self._folder / file.path
        return DataFile(file.path, device, sha256_of(path), path.stat().st_size, file.rows)


@contextmanager
def writing(out: Path, *, name: str, license: str = "unknown", replaces: str = "") -> Iterator[DatasetWriter]:
    """A writer of a set that appears in `out` at the end, whole, or not at all when something is raised.

    Args:
        out: New or empty; or an earlier set of the source that may be replaced.
        name: Of the set.
        license: As the hub spells it, e.g. `cc-by-4.0`.
        replaces: Id of that source; a set that has any other is never replaced.

    Raises:
        DatasetError: `out` cannot be written or holds something else; or there is not one row.
    """
    with replaced_folder(out, lambda folder: _sources(folder) == {replaces}) as folder:
        writer = DatasetWriter(folder, name, license)
        try:
            yield writer
            writer.finish()
        finally:
            writer.close()
        if not writer.manifest.rows:
            raise DatasetError("there is not one result yet, so there is no data set", "let the run go on first")


def _sources(folder: Path) -> set[str]:
    """Ids of the sources of the set in a folder; none where it holds no set."""
    try:
        return {source.id for source in read_manifest(folder).sources}
    except DatasetError:
        return set()


@dataclass(frozen=True)
class Dataset:
    """A set in a folder.

    Attributes:
        folder: Where.
        manifest: What it consists of.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        """Raises DatasetError when there is none, or one of another version."""
        return cls(folder, read_manifest(folder))

    def rows(self) -> Iterator[DatasetRow]:
        """Every row, a few at a time.

        Raises:
            DatasetError: A file is missing, damaged, or has other columns; or a row is wrong.
        """
        now_s = time.time()
        for file in self.manifest.files:
            path = self.folder / file.path
            for number, cells in enumerate(chain.from_iterable(batch.to_pylist() for batch in batches(path))):
                for column, problem in wrong_cells(cells, now_s):
                    raise DatasetError(f"{path}, row {number}, {column}: {problem}", "see: nag dataset validate DIR")
                yield row_of(cells)


def batches(path: Path) -> Iterator[Any]:
    """The record batches of one file of a set.

    Raises:
        DatasetError: It is missing, damaged, or has other columns.
    """
    try:
        with pq.ParquetFile(path) as file:
            if wrong := schema_problems(file.schema_arrow):
                column, problem = wrong[0]
                raise DatasetError(f"{path}: column {column!r} {problem}", "see: nag dataset validate DIR")
            yield from file.iter_batches(batch_size=READ_ROWS)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing", "the set is incomplete: copy or export it again") from error
    except (OSError, pa.ArrowException) as error:
        reason = str(error).strip().splitlines()[0]
        raise DatasetError(f"{path} cannot be read: {reason}", "copy or export the set again") from error


def schema_problems(found: Any) -> list[tuple[str, str]]:
    """(column, what is wrong with it) of a file's schema."""
    names = set(found.names)
    problems = [(name, "is missing") for name in SCHEMA.names if name not in names]
    problems += [(name, "is not of this schema") for name in found.names if name not in SCHEMA.names]
    for field_ in SCHEMA:
        if field_.name in names and (kind := found.field(field_.name).type) != field_.type:
            problems.append((field_.name, f"is {kind}, not {field_.type}"))
    return problems


def device_key(device: str, taken: set[str]) -> str:
    """The device's name as a folder's: lower case letters, digits and dashes, unlike those that are taken."""
    key = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    if device.isascii() and key and key not in taken:
        return key
    return f"{key or 'device'}-{hashlib.sha256(device.encode()).hexdigest()[:8]}"


def sha256_of(path: Path) -> str:
    """Of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
