"""The yardstick of closed-loop search: hypervolume of what was looked up, free of noise.

Maximise accuracy, minimise log latency. Reference point: the median accuracy of the space, and 1.2 times the largest
latency on the true front. Values are fractions of the true front's hypervolume. A table's front is exact; that of a
space too large to list is approximated by a long evolutionary search on the noise-free truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.generate.evolution import crossover, mutate
from orchestrator.generate.pool import distinct
from orchestrator.optimize.pareto import hypervolume, pareto_mask
from orchestrator.predict.block_table import BlockTable
from orchestrator.predict.ofa_accuracy import OfaAccuracy
from orchestrator.space.base import FloatArray, IntArray, Space
from orchestrator.space.mobilenetv3 import MobileNetV3
from profiling.table import read_table

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

_BEYOND_FRONT = 1.2  # the reference latency, relative to the slowest of the front
_DRAWN = 10_000  # architectures that the median accuracy of a large space is taken from
_GENERATIONS = 200
_CHILDREN = 1000

Points = Callable[[IntArray], FloatArray]  # (B, S) architectures -> (B, 2) accuracy, minus log latency


@dataclass(frozen=True, eq=False)
class Yardstick:
    """A noise-free truth and its front.

    Attributes:
        space: Where the search takes place.
        points: (`B`, 2) accuracy in percent and minus log latency of (`B`, `S`) architectures.
        listed: (`N`, `S`) architectures: all of a table, or those of the approximate front.
        front: (`F`, 2) points of the front.
        reference: (2,) reference point.
    """

    space: Space
    points: Points
    listed: IntArray
    front: FloatArray
    reference: FloatArray

    @classmethod
    def of_tables(cls, space: Space, accuracy: tuple[Path, str], latency: tuple[Path, str]) -> Yardstick:
        """From (file, column) of accuracy in percent and of latency in milliseconds."""
        accuracies = read_table(accuracy[0]).column(accuracy[1])
        latencies = read_table(latency[0]).column(latency[1])
        texts = [text for text in accuracies if text in latencies]
        values = np.array([[accuracies[text], -np.log(latencies[text])] for text in texts])
        listed = np.array([space.parse(text).slots for text in texts], dtype=np.int64)
        row_of = {slots: row for row, slots in enumerate(map(tuple, listed.tolist()))}

        def points(slots: IntArray) -> FloatArray:
            return np.asarray(values[[row_of[each] for each in map(tuple, slots.tolist())]])

        return cls._above(space, points, listed, values[pareto_mask(values)], float(np.median(values[:, 0])))

    @classmethod
    def of_mobilenetv3(cls, weights: Path, block_table: Path, *, width: float, resolution: int) -> Yardstick:
        """From OFA's accuracy predictor and a table of block latencies."""
        space = MobileNetV3()
        accuracy = OfaAccuracy(weights, space, resolution=resolution)
        latency_ms = BlockTable.read(block_table, space, width=width, resolution=resolution)

        def points(slots: IntArray) -> FloatArray:
            return np.stack([accuracy.of(slots), -np.log(latency_ms.of(slots))], axis=1)

        listed = long_search(space, points)
        middle = float(np.median(points(space.sample(_DRAWN, np.random.default_rng(0)))[:, 0]))
        return cls._above(space, points, listed, points(listed), middle)

    @classmethod
    def _above(
        cls, space: Space, points: Points, listed: IntArray, front: FloatArray, least_accuracy: float
    ) -> Yardstick:
        reference = np.array([least_accuracy, front[:, 1].min() - np.log(_BEYOND_FRONT)])
        return cls(space, points, listed, front, reference)

    def curve(self, slots: IntArray, at: Sequence[int]) -> list[float]:
        """Fraction of the true hypervolume after so many look-ups of (`N`, `S`) architectures, in order."""
        found, best = self.points(slots), hypervolume(self.front, self.reference)
        return [hypervolume(found[:count], self.reference) / best for count in at]

    def best_within(self, budget_ms: float) -> float:
        """The highest accuracy of the front within a budget."""
        return float(self.front[self.front[:, 1] >= -np.log(budget_ms), 0].max())

    def best_so_far(self, slots: IntArray, budget_ms: float) -> FloatArray:
        """(`N`,) highest accuracy truly within the budget after each look-up; minus infinity before there is one."""
        accuracy, speed = self.points(slots).T
        return np.maximum.accumulate(np.where(speed >= -np.log(budget_ms), accuracy, -np.inf))


def long_search(space: Space, points: Points, seed: int = 0) -> IntArray:
    """(`N`, `S`): the front that 200,000 look-ups of an evolutionary search find, an archive breeding itself."""
    rng = np.random.default_rng(seed)
    archive = space.sample(_CHILDREN, rng)
    values = points(archive)
    for _ in range(_GENERATIONS):
        mothers, fathers = archive[rng.integers(len(archive), size=(2, _CHILDREN))]
        children = np.where(rng.random((_CHILDREN, 1)) < 0.5, crossover(space, mothers, fathers, rng), mothers)
        children = np.where(rng.random((_CHILDREN, 1)) < 0.9, mutate(space, children, rng), children)
        children = np.where(rng.random((_CHILDREN, 1)) < 0.3, mutate(space, children, rng), children)
        children = distinct(children)
        archive, values = np.concatenate([archive, children]), np.concatenate([values, points(children)])
        kept = pareto_mask(values)
        archive, values = archive[kept], values[kept]
    return archive
