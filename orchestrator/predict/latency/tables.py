"""Tables of latencies: one row an architecture, one column a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.errors import ConfigError, DataError, IllegalArchitecture, Problem
from orchestrator.space.base import FloatArray, IntArray, Space
from profiling.table import TableError, read_table

_NO_DEVICES = ("arch", "arch_str", "arch_index", "index")  # columns that published tables have beside latencies


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of architectures on devices.

    Attributes:
        slots: (`N`, `S`) architectures, all different.
        latency_ms: Device -> (`N`,), all positive, not all equal.
    """

    slots: IntArray
    latency_ms: dict[str, FloatArray]


def read_latencies(path: Path, devices: Sequence[str], space: Space) -> LatencyTable:
    """The columns of some devices.

    Args:
        path: CSV (`.csv`, `.csv.gz`) or Parquet with a column `arch` or `arch_str` of architectures; or a data set as
            `nag export RUN --dataset DIR` writes it: of that, the architectures that all these devices have measured.
        devices: Columns of milliseconds.
        space: Whose architectures they are.

    Raises:
        ConfigError: A device is named twice.
        DataError: The table cannot be read, a column is not there, a value is missing, not a number, not above 0, or a
            column is constant; or two rows are one architecture. Names rows and columns.
    """
    if repeated := [name for name in dict.fromkeys(devices) if list(devices).count(name) > 1]:
        raise ConfigError("devices", [Problem("--devices", repeated[0], "each device once")])
    try:
        table = read_table(path)
        columns = {device: table.column(device, above=0.0) for device in devices}
    except TableError as error:
        raise DataError(error.message, error.hint) from error
    # A data set may lack an architecture on a device: it failed there, or had no turn.
    first = next(iter(columns.values()), {})
    texts = [text for text in first if all(text in values for values in columns.values())]
    if columns and not texts:
        raise DataError(f"{path}: no architecture has a latency on all of {', '.join(columns)}", "choose fewer devices")
    slots = np.array([_parsed(space, text, path, row) for row, text in enumerate(texts, start=1)], dtype=np.int64)
    _check_different(slots, path)
    latencies = {device: np.array([values[text] for text in texts]) for device, values in columns.items()}
    for device, values in latencies.items():
        if len(values) < 2 or values.max() <= values.min():
            raise DataError(
                f"{path}: column {device!r} is constant ({values[0]:g} in all {len(values)} rows)",
                "a column of measurements differs from row to row; leave this one out",
            )
    return LatencyTable(slots, latencies)


def _parsed(space: Space, text: str, path: Path, row: int) -> tuple[int, ...]:
    try:
        return space.parse(text).slots
    except IllegalArchitecture as error:
        raise DataError(f"{path}: row {row}: {error.message}", error.hint) from error


def _check_different(slots: IntArray, path: Path) -> None:
    seen: dict[bytes, int] = {}
    for row, key in enumerate((each.tobytes() for each in slots), start=1):
        if key in seen:
            raise DataError(
                f"{path}: rows {seen[key]} and {row} are the same architecture in two spellings",
                "keep one row per architecture",
            )
        seen[key] = row


def device_columns(path: Path) -> tuple[str, ...]:
    """Every column that may be a device's: all but the keys and indices. Raises DataError."""
    try:
        columns = read_table(path).columns
    except TableError as error:
        raise DataError(error.message, error.hint) from error
    return tuple(name for name in columns if name not in _NO_DEVICES)
