"""Predictors fitted on the user's tables, so that generation can be guided outside of a campaign."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from orchestrator.errors import ConfigError, DataError, Problem
from orchestrator.predict.surrogates import Measured, Surrogate, SurrogateFitter
from orchestrator.space.base import FloatArray, IntArray, Space
from profiling.table import TableError, read_table

ROWS = 400  # of a table: enough for its trends, and a Gaussian process of that size answers in milliseconds
_FLOOR = 0.1  # quantile of a score below which it does not matter how bad an architecture is


@dataclass(frozen=True)
class TablePrediction:
    """What a surrogate, fitted on some rows of a table's column, predicts, in the column's unit.

    Attributes:
        surrogate: The model.
        space: Of the architectures.
        listed: Architecture string -> value: all that the column holds.
    """

    surrogate: Surrogate
    space: Space
    listed: Mapping[str, float]

    @property
    def differentiable(self) -> bool:
        """Always."""
        return True

    def __call__(self, slots: Tensor) -> Tensor:
        """(`B`,) predictions of (`B`, `S`, `V`) relaxed architectures."""
        mean = self.surrogate.marginal(slots)[0]
        return mean.exp() if self.surrogate.logarithmic else mean

    def recorded(self, slots: IntArray) -> FloatArray:
        """(`B`,) what the table itself says of (`B`, `S`) architectures; NaN of those that it does not list."""
        return np.array([self.listed.get(self.space.architecture(row).text, math.nan) for row in slots])


def fit_score(space: Space, column: str, *, rows: int = ROWS, seed: int = 0) -> TablePrediction:
    """A predictor of what is to be maximised.

    Args:
        space: Whose architectures the table lists.
        column: `FILE:COLUMN`.
        rows: Random rows that the predictor is fitted on, where there are more.
        seed: Chooses them.

    Raises:
        ConfigError: It is not `FILE:COLUMN`.
        DataError: The table or the column cannot be used.
        IllegalArchitecture: The table lists something that is not in the space.
    """
    listed = _listed(column)
    known = _sampled(space, listed, rows, seed)
    floor = float(np.quantile(known.values, _FLOOR))
    return TablePrediction(SurrogateFitter(space).accuracy(known, floor=floor), space, listed)


def fit_latency(space: Space, column: str, *, rows: int = ROWS, seed: int = 0) -> TablePrediction:
    """A predictor of latency in milliseconds; arguments and errors as of `fit_score`."""
    listed = _listed(column, above=0.0)
    return TablePrediction(SurrogateFitter(space).cost(_sampled(space, listed, rows, seed)), space, listed)


def split_column(text: str) -> tuple[Path, str | None]:
    """`FILE:COLUMN` or `FILE`; an existing file's name may itself hold a colon."""
    path, _, column = text.rpartition(":")
    if not path or Path(text).exists():
        return Path(text), None
    return Path(path), column


def read_column(
    path: Path, column: str, *, at_least: float | None = None, above: float | None = None
) -> Mapping[str, float]:
    """Architecture string -> value, within bounds. Raises DataError."""
    try:
        return read_table(path).column(column, at_least=at_least, above=above)
    except TableError as error:
        raise DataError(error.message, error.hint) from error


def read_percent(space: Space, column: str) -> Measured:
    """All rows of `FILE:COLUMN`, which holds percent; errors as of `fit_score`."""
    listed = _listed(column, at_least=0.0)
    for name, value in listed.items():
        if value > 100:
            raise DataError(f"{column}: {value:g} for {name}", "percent: 0 to 100")
    return _sampled(space, listed, len(listed), 0)


def _listed(text: str, *, at_least: float | None = None, above: float | None = None) -> Mapping[str, float]:
    """The column that a text names. Raises ConfigError, DataError."""
    path, column = split_column(text)
    if column is None:
        raise ConfigError("guidance", [Problem("column", text, "FILE:COLUMN")])
    return read_column(path, column, at_least=at_least, above=above)


def _sampled(space: Space, listed: Mapping[str, float], rows: int, seed: int) -> Measured:
    """At most so many random rows of a column."""
    names = list(listed)
    chosen = [names[row] for row in np.random.default_rng(seed).permutation(len(names))[:rows]]
    slots = np.array([space.parse(name).slots for name in chosen], dtype=np.int64)
    return Measured(slots, np.array([listed[name] for name in chosen]), np.full(len(chosen), np.nan))
