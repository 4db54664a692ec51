"""A set as a table: one row an architecture, one column a device, or a device in one of its settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from profiling.dataset.errors import DatasetError
from profiling.dataset.files import schema_problems
from profiling.dataset.manifest import read_manifest
from profiling.dataset.schema import SCHEMA_VERSION

_SETTING = ("delegate", "threads_count", "precision")
_NETWORK = ("space", "input_shape", "classes_count", "network_options_json")
_COLUMNS = ("schema_version", "architecture", "device", "latency_ms", *_SETTING, *_NETWORK)


def is_part_of_dataset(path: Path) -> bool:
    """Whether a Parquet file is one of a set's."""
    try:
        names = pq.read_schema(path).names
    except (OSError, pa.ArrowException):
        return False
    return set(_COLUMNS) <= set(names)


def pivot(path: Path) -> Any:
    """Latencies in ms as a data frame.

    A device that was measured in one setting is a column of its name; one that was measured in several has a column for
    each, `DEVICE/DELEGATE/THREADS/PRECISION`, and `/NETWORK` follows where its networks differ in more than their
    architectures. Several measurements of one thing (on several phones, at several times) become their geometric mean.
    Failures are missing values.

    Args:
        path: A set's folder, or one of its Parquet files.

    Returns:
        A `pandas.DataFrame` with the architectures in the column `arch`.

    Raises:
        DatasetError: It cannot be read, or is of an unknown version.
    """
    import pandas as pd

    frame = pd.concat(list(_frames(path)), ignore_index=True)
    versions = sorted(set(frame.schema_version) - {SCHEMA_VERSION})
    if versions:
        raise DatasetError(f"{path} has schema version {versions[0]}, this program reads {SCHEMA_VERSION}")
    frame = frame[frame.latency_ms > 0]
    frame = frame.assign(network=_networks(frame), log_ms=np.log(frame.latency_ms))
    columns: dict[str, Any] = {}
    for device, rows in frame.groupby("device", sort=True):
        settings = rows.groupby([*_SETTING, *(["network"] if rows.network.nunique() > 1 else [])], sort=True)
        for setting, measured in settings:
            name = device if len(settings) == 1 else "/".join(map(str, (device, *setting)))
            columns[name] = np.exp(measured.groupby("architecture", sort=False).log_ms.mean())
    table = pd.DataFrame(columns)
    return table.rename_axis("arch").reset_index()


def _frames(path: Path) -> Iterator[Any]:
    files = [path / file.path for file in read_manifest(path).files] if path.is_dir() else [path]
    for file in files:
        try:
            with pq.ParquetFile(file) as opened:
                problems = [each for each in schema_problems(opened.schema_arrow) if each[0] in _COLUMNS]
                if problems:
                    column, problem = problems[0]
                    raise DatasetError(f"{file}: column {column!r} {problem}", "see: nag dataset validate DIR")
                yield opened.read(columns=list(_COLUMNS)).to_pandas()
        except FileNotFoundError as error:
            raise DatasetError(f"{file} is missing", "the set is incomplete: copy or export it again") from error
        except (OSError, pa.ArrowException) as error:
            reason = str(error).strip().splitlines()[0]
            raise DatasetError(f"{file} cannot be read: {reason}", "copy or export the set again") from error


def _networks(frame: Any) -> list[str]:
    """What a row's network is, beside its architecture: `nasbench201 1x32x32x3 10 {...}`."""
    return [_network(row) for row in frame[list(_NETWORK)].to_dict("records")]


def _network(row: Mapping[str, Any]) -> str:
    shape = "x".join(str(size) for size in row["input_shape"])
    classes = "" if row["classes_count"] is None or np.isnan(row["classes_count"]) else f"{row['classes_count']:.0f}"
    options = row["network_options_json"] if row["network_options_json"] != "{}" else ""
    space = row["space"] if isinstance(row["space"], str) else ""  # files have none, and a column of nothing is numbers
    return " ".join(part for part in (space, shape, classes, options) if part)
