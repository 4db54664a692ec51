"""Manifest: what a set consists of, as the `dataset.json` that lies in its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from profiling.dataset.errors import DatasetError
from profiling.dataset.schema import SCHEMA_VERSION
from profiling.records import Record

MANIFEST = "dataset.json"
KIND = "devicenag_dataset"


@dataclass(frozen=True)
class Source(Record):
    """A run that rows come from.

    Attributes:
        id: What rows call it: the same for every export of one run.
        name: What its lab calls it.
        kind: `campaign` or `collection`.
        software: What measured it, with its version.
        environment: Versions and platform of the process that measured.
        measure: How it was measured: blocks, target, warm-up.
        missing_count: Measurements that were wanted and have no result yet; 0: the run is complete.
        skipped: Code of a failure -> models that no device was ever asked to run, for instance corrupt files.
    """

    id: str
    name: str
    kind: str
    software: str
    environment: dict[str, Any] = field(default_factory=dict)
    measure: dict[str, Any] = field(default_factory=dict)
    missing_count: int = 0
    skipped: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class DataFile(Record):
    """A Parquet file of the set; `path` is relative to its folder, with slashes."""

    path: str
    device: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True)
class Manifest(Record):
    """A whole set.

    Attributes:
        name: Of the set.
        license: Identifier, as the hub spells it; `unknown` where nobody has chosen one.
        sources: The runs that rows come from.
        files: The Parquet files.
    """

    name: str
    license: str
    sources: tuple[Source, ...]
    files: tuple[DataFile, ...]
    kind: str = KIND
    schema_version: int = SCHEMA_VERSION

    @property
    def rows(self) -> int:
        """Of all files."""
        return sum(file.rows for file in self.files)

    def write(self, folder: Path) -> None:
        """Write it into the set's folder."""
        text = json.dumps(self.to_json(), indent=2, allow_nan=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def is_dataset(folder: Path) -> bool:
    """Whether a folder has the manifest of a set, of whatever version."""
    try:
        return bool(_values(folder)["kind"] == KIND)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a set.

    Raises:
        DatasetError: There is none, it cannot be read, or it is of an unknown version.
    """
    path = folder / MANIFEST
    try:
        values = _values(folder)
        kind, version = values["kind"], values["schema_version"]
    except FileNotFoundError as error:
        raise DatasetError(
            f"{folder} is no data set: it has no {MANIFEST}", "make one with: nag export RUN --dataset DIR"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} cannot be read: {error!r}", "export the set again") from error
    if kind != KIND:
        raise DatasetError(f"{path} is of something else: {kind!r}", f"its kind must be {KIND}")
    if version != SCHEMA_VERSION:
        raise DatasetError(
            f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}",
            "use the version of DeviceNAG that wrote it",
        )
    try:
        manifest = Manifest.from_json(values)
        outside = [file.path for file in manifest.files if not _is_inside(file.path)]
    except (TypeError, AttributeError) as error:
        raise DatasetError(f"{path} lacks something: {error}", "export the set again") from error
    if outside:
        raise DatasetError(f"{path} lists a file that is not in its folder: {outside[0]}", "export the set again")
    return manifest


def _is_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts


def _values(folder: Path) -> Any:
    return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
