"""Labels: what architectures are worth, from tables of measurements or from predictors, named as on the command line.

`FILE:COLUMN` is a table; `ofa:FILE.npz` (accuracy) and `lut:FILE[@WIDTH]` (latency) are predictors of MobileNetV3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from orchestrator.errors import ConfigError, Problem
from orchestrator.generate.budget import Prediction
from orchestrator.generate.guides import make_latency, make_score
from orchestrator.generate.pool import keys, score
from orchestrator.generate.table_guide import read_column, split_column
from orchestrator.space.base import FloatArray, IntArray, Space


class Label(Protocol):
    """A value of every architecture, or of those in a list."""

    @property
    def name(self) -> str:
        """As on the command line, without folders."""
        ...

    @property
    def listed(self) -> IntArray | None:
        """(`N`, `S`) the architectures that have one; None where all do."""
        ...

    @property
    def noisy(self) -> bool:
        """Whether values are measurements, which have errors."""
        ...

    def of(self, slots: IntArray) -> FloatArray:
        """(`B`,) values of (`B`, `S`) architectures; NaN of those that have none."""
        ...


class TableLabel:
    """A column of a table."""

    noisy = True

    def __init__(self, space: Space, text: str, *, positive: bool) -> None:
        """Args:
            space: Whose architectures the table lists.
            text: `FILE:COLUMN`.
            positive: Whether values must be above 0.

        Raises:
            ConfigError: The text is not of this form.
            DataError: The table or the column cannot be used.
            IllegalArchitecture: It lists something that is not in the space.
        """
        path, column = split_column(text)
        if column is None:
            raise ConfigError("labels", [Problem("column", text, "FILE:COLUMN")])
        values = read_column(path, column, above=0.0 if positive else None)
        self.name = f"{path.name}:{column}"
        self.listed: IntArray | None = np.array([space.parse(each).slots for each in values], dtype=np.int64)
        self._values = np.fromiter(values.values(), float, len(values))
        self._rows = {key: row for row, key in enumerate(keys(self.listed))}

    def of(self, slots: IntArray) -> FloatArray:
        """(`B`,) values of (`B`, `S`) architectures."""
        rows = np.array([self._rows.get(key, -1) for key in keys(slots)], dtype=np.int64)
        return np.where(rows < 0, np.nan, self._values[rows])


@dataclass(frozen=True)
class PredictorLabel:
    """What a predictor says.

    Attributes:
        name: As on the command line, without folders.
        space: Whose architectures it knows.
        predictor: Of relaxed architectures.
    """

    name: str
    space: Space
    predictor: Prediction
    listed: IntArray | None = None
    noisy: bool = False

    def of(self, slots: IntArray) -> FloatArray:
        """(`B`,) values of (`B`, `S`) architectures."""
        parts = np.array_split(slots, max(len(slots) // 4096, 1))
        return np.concatenate([score(self.predictor, part, self.space) for part in parts])


def accuracy_label(space: Space, text: str) -> Label:
    """`FILE:COLUMN` or `ofa:FILE.npz`. Raises ConfigError, DataError, IllegalArchitecture."""
    if text.startswith("ofa:"):
        return PredictorLabel(f"ofa:{Path(text[4:]).name}", space, make_score(space, text))
    return TableLabel(space, text, positive=False)


def latency_label(space: Space, text: str) -> Label:
    """`FILE:COLUMN` or `lut:FILE[@WIDTH]`. Raises ConfigError, DataError, IllegalArchitecture."""
    if text.startswith("lut:"):
        return PredictorLabel(f"lut:{Path(text[4:]).name}", space, make_latency(space, text))
    return TableLabel(space, text, positive=True)


@dataclass(frozen=True)
class Labels:
    """What a conditional model is trained on.

    Attributes:
        accuracy: Only its order matters.
        latencies: Milliseconds, one a known device.
    """

    accuracy: Label
    latencies: tuple[Label, ...]

    @classmethod
    def read(cls, space: Space, accuracy: str, latencies: Sequence[str]) -> Labels:
        """Labels as named on the command line. Raises ConfigError, DataError, IllegalArchitecture."""
        return cls(accuracy_label(space, accuracy), tuple(latency_label(space, each) for each in latencies))

    @property
    def names(self) -> dict[str, Any]:
        """Where they came from."""
        return {"accuracy": self.accuracy.name, "latency": [label.name for label in self.latencies]}
