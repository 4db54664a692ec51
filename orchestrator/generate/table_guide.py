"""Utilities fitted on the user's tables, so that generation can be guided outside of a campaign."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import ConfigError, DataError, Problem
from orchestrator.predict.surrogates import Measured, Surrogate, SurrogateFitter
from orchestrator.space.base import Space
from profiling.table import TableError, read_table

ROWS = 400  # of a table: enough for its trends, and a Gaussian process of that size answers in milliseconds
OVER_BUDGET = 50.0  # standard deviations of the guided value that one unit of log latency beyond the budget costs


@dataclass(frozen=True)
class TableGuide:
    """Sum of predicted columns, each in its standard deviations, less a penalty for latency beyond a budget.

    Attributes:
        scores: Predictors of what is maximised, with the standard deviation of each.
        cost: Predictor of log latency; None without a budget.
        latency_budget_ms: Latency above it costs.
    """

    scores: Sequence[tuple[Surrogate, float]]
    cost: Surrogate | None = None
    latency_budget_ms: float = math.inf

    @property
    def differentiable(self) -> bool:
        """Always."""
        return True

    def __call__(self, slots: Tensor) -> Tensor:
        """(`B`,) utilities of (`B`, `S`, `V`) relaxed architectures."""
        value = torch.zeros(len(slots), dtype=slots.dtype)
        for surrogate, scale in self.scores:
            value = value + surrogate.marginal(slots)[0] / scale
        if self.cost is not None:
            excess = self.cost.marginal(slots)[0] - math.log(self.latency_budget_ms)
            value = value - OVER_BUDGET * torch.relu(excess)
        return value


def fit_table_guide(
    space: Space,
    columns: Sequence[str],
    *,
    latency: str | None = None,
    latency_budget_ms: float | None = None,
    rows: int = ROWS,
    seed: int = 0,
) -> TableGuide:
    """A utility from tables.

    Args:
        space: Whose architectures the tables list.
        columns: `FILE:COLUMN` of what is maximised.
        latency: `FILE:COLUMN` of latencies in milliseconds.
        latency_budget_ms: Latency above it costs.
        rows: Random rows of a table that predictors are fitted on, where it has more.
        seed: Chooses them.

    Raises:
        ConfigError: A column is not `FILE:COLUMN`, or of latency and budget there is only one.
        DataError: A table or a column cannot be used.
        IllegalArchitecture: A table lists something that is not in the space.
    """
    if (latency is None) != (latency_budget_ms is None):
        raise ConfigError(
            "guidance", [Problem("latency budget", latency_budget_ms, "a budget and a table of latencies")]
        )
    fitter = SurrogateFitter(space)
    scores = []
    for column in columns:
        known = _sampled(space, column, rows, seed, positive=False)
        floor = float(np.quantile(known.values, 0.1))  # how bad the worst are does not matter, and would spoil the fit
        scale = float(np.maximum(known.values, floor).std())
        surrogate = fitter.accuracy(known, floor=floor)
        scores.append((surrogate, scale if scale > 0 else 1.0))
    if latency is None or latency_budget_ms is None:
        return TableGuide(tuple(scores))
    return TableGuide(
        tuple(scores), fitter.cost(_sampled(space, latency, rows, seed, positive=True)), latency_budget_ms
    )


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


def _sampled(space: Space, text: str, rows: int, seed: int, *, positive: bool) -> Measured:
    """At most so many random rows of a column."""
    path, column = split_column(text)
    if column is None:
        raise ConfigError("guidance", [Problem("column", text, "FILE:COLUMN")])
    values = read_column(path, column, above=0.0 if positive else None)
    names = list(values)
    chosen = np.random.default_rng(seed).permutation(len(names))[:rows]
    slots = np.array([space.parse(names[row]).slots for row in chosen], dtype=np.int64)
    return Measured(slots, np.array([values[names[row]] for row in chosen]), np.full(len(chosen), np.nan))
