"""The yardstick of closed-loop search on tables: hypervolume of what was looked up, on the noise-free table.

Maximise accuracy, minimise log latency. Reference point: the median accuracy of the space, and 1.2 times the largest
latency on the true front. Values are fractions of the true front's hypervolume.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.optimize.pareto import hypervolume, pareto_mask
from orchestrator.space.base import FloatArray, IntArray, Space
from profiling.table import read_table

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Yardstick:
    """A noise-free table and its true front.

    Attributes:
        space: The space whose architectures the table lists.
        points: (`N`, 2) accuracy and minus log latency of every architecture in the table.
        index: Slots -> row of `points`.
        reference: (2,) reference point.
        best: Hypervolume of the true front.
    """

    space: Space
    points: FloatArray
    index: dict[tuple[int, ...], int]
    reference: FloatArray
    best: float

    @classmethod
    def of(cls, space: Space, accuracy: tuple[Path, str], latency: tuple[Path, str]) -> Yardstick:
        """From (file, column) of accuracy in percent and of latency in milliseconds."""
        accuracies = read_table(accuracy[0]).column(accuracy[1])
        latencies = read_table(latency[0]).column(latency[1])
        texts = [text for text in accuracies if text in latencies]
        points = np.array([[accuracies[text], -np.log(latencies[text])] for text in texts])
        front = points[pareto_mask(points)]
        reference = np.array([np.median(points[:, 0]), front[:, 1].min() - np.log(1.2)])
        index = {space.parse(text).slots: row for row, text in enumerate(texts)}
        return cls(space, points, index, reference, hypervolume(front, reference))

    def curve(self, slots: IntArray, at: list[int]) -> list[float]:
        """Fraction of the true hypervolume after so many look-ups of (`N`, `S`) architectures, in order."""
        rows = self.points[[self.index[tuple(int(v) for v in row)] for row in slots]]
        return [hypervolume(rows[:count], self.reference) / self.best for count in at]
