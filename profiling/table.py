"""Table: latencies or accuracies by architecture, read from CSV or Parquet, or out of a data set of latencies."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEY_COLUMNS = ("arch", "arch_str")
_PARQUET_SUFFIXES = (".parquet", ".pq")
_CSV_SUFFIXES = (".csv", ".csv.gz")
_SHOWN = 3


class TableError(ValueError):
    """A table cannot be used: `message` says what and where, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Table:
    """One row per architecture.

    Attributes:
        path: The file.
        key_column: The column of architecture strings.
        columns: The other columns.
        sparse: Whether rows may lack values: those of data sets do, where a device failed or never had a turn.
    """

    path: Path
    key_column: str
    columns: tuple[str, ...]
    _frame: Any = field(repr=False, compare=False)
    sparse: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The architecture strings, in the order of the rows."""
        return tuple(self._frame[self.key_column])

    def column(self, name: str, *, at_least: float | None = None, above: float | None = None) -> Mapping[str, float]:
        """Architecture string -> value; rows of a sparse table that lack it are left out.

        Args:
            name: Which column.
            at_least, above: What every value must be.

        Raises:
            TableError: No such column, or a value that is missing, no number, infinite or out of bounds.
        """
        import numpy as np
        import pandas as pd

        if name not in self.columns:
            raise TableError(f"{self.path}: no column {name!r}", f"columns: {', '.join(self.columns)}")
        frame = self._frame[self._frame[name].notna()] if self.sparse else self._frame
        cells = frame[name]
        values = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)
        usable = np.isfinite(values)
        wanted = "a number"
        if at_least is not None:
            usable &= values >= at_least
            wanted = f"a number >= {at_least:g}"
        if above is not None:
            usable &= values > above
            wanted = f"a number > {above:g}"
        if not usable.all():
            bad = np.flatnonzero(~usable)
            found = "; ".join(f"row {row + 1} has {_shown(cells.iloc[row])}" for row in bad[:_SHOWN])
            raise TableError(
                f"{self.path}: column {name!r} needs {wanted} in every row: {found}{_more(bad.size)}",
                "rows are counted from 1, the header left out; remove or correct these rows",
            )
        return dict(zip(frame[self.key_column], values.tolist(), strict=True))


def read_table(path: str | Path, key_column: str | None = None) -> Table:
    """Read a table.

    Args:
        path: `.csv` (also compressed: `.csv.gz`) or `.parquet`; or a data set, as `nag export RUN --dataset DIR` writes
            it, as a whole (DIR) or one of its files: then every device is a column (see `profiling.dataset.pivot`).
        key_column: Column of architecture strings; by default `arch` or `arch_str`.

    Raises:
        TableError: The file cannot be read, or its keys are missing, empty or not unique.
    """
    file = Path(path)
    if sparse := _is_dataset(file):
        frame, key_column = _read_dataset(file), key_column or "arch"
    else:
        frame = _read_frame(file)
    columns = [str(name) for name in frame.columns]
    if repeated := sorted({name for name in columns if columns.count(name) > 1}):
        raise TableError(f"{file}: column {repeated[0]!r} occurs twice", "give every column a name of its own")
    frame.columns = columns
    candidates = KEY_COLUMNS if key_column is None else (key_column,)
    key = next((name for name in candidates if name in columns), None)
    if key is None:
        wanted = " or ".join(repr(name) for name in candidates)
        raise TableError(f"{file}: no column {wanted} with the architectures", f"columns: {', '.join(columns)}")
    if frame.empty:
        raise TableError(f"{file}: no rows", "a table has one row per architecture")
    _check_keys(file, key, frame[key].tolist())
    return Table(file, key, tuple(name for name in columns if name != key), frame, sparse)


def _is_dataset(file: Path) -> bool:
    if file.is_dir():
        from profiling.dataset.manifest import is_dataset

        return not file.suffix or is_dataset(file)
    if not file.name.lower().endswith(_PARQUET_SUFFIXES):
        return False
    from profiling.dataset.pivot import is_part_of_dataset

    return is_part_of_dataset(file)


def _read_dataset(path: Path) -> Any:
    from profiling.dataset.errors import DatasetError
    from profiling.dataset.pivot import pivot

    try:
        return pivot(path)
    except DatasetError as error:
        raise TableError(error.message, error.hint) from error


def _read_frame(file: Path) -> Any:
    """A data frame; libraries are imported here because most runs read no table."""
    name = file.name.lower()
    if not name.endswith(_PARQUET_SUFFIXES + _CSV_SUFFIXES):
        raise TableError(f"{file}: not a table", f"known: {', '.join(_CSV_SUFFIXES + _PARQUET_SUFFIXES)}")
    import pandas as pd
    import pyarrow as pa

    try:
        if name.endswith(_PARQUET_SUFFIXES):
            return pd.read_parquet(file)
        # As text, so that nothing is guessed: 'nan' in a latency must be found, not turned into a missing value.
        return _named_header(pd.read_csv(file, dtype=str, keep_default_na=False, header=None, encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise TableError(f"{file}: no such file", "give the path of a .csv or .parquet table") from error
    except (
        OSError,
        EOFError,
        zlib.error,
        pa.ArrowException,
        ValueError,
    ) as error:  # pandas' parser errors are ValueErrors
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise TableError(f"{file}: cannot be read: {reason[0]}", "is it a complete CSV or Parquet file?") from error


def _named_header(frame: Any) -> Any:
    """The first row as the header: read as data, because pandas would rename repeated columns silently."""
    header = frame.iloc[0].tolist()
    body = frame.iloc[1:].reset_index(drop=True)
    body.columns = header
    return body


def _check_keys(file: Path, key: str, keys: list[Any]) -> None:
    """Every row has a key, and no other row has the same."""
    first_row: dict[str, int] = {}
    for row, value in enumerate(keys, start=1):
        if not isinstance(value, str) or not value.strip():
            raise TableError(
                f"{file}: row {row} has no architecture: column {key!r} holds {_shown(value)}",
                "rows are counted from 1, the header left out",
            )
        if value in first_row:
            raise TableError(
                f"{file}: rows {first_row[value]} and {row} of column {key!r} are both {value!r}",
                "keep one row per architecture",
            )
        first_row[value] = row


def _shown(value: Any) -> str:
    missing = (
        value is None or (isinstance(value, float) and math.isnan(value)) or (isinstance(value, str) and not value)
    )
    return "nothing" if missing else str(value) if isinstance(value, float) else repr(value)


def _more(count: int) -> str:
    return f"; and {count - _SHOWN} more" if count > _SHOWN else ""
