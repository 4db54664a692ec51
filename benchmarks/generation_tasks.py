"""The tasks that generators are compared on: the best accuracy within a latency budget, on two spaces.

On NAS-Bench-201 a predictor is fitted on a few hundred rows of two tables, and the whole tables tell what a proposal is
truly worth. On MobileNetV3 OFA's accuracy predictor and a table of a Note10's blocks (of the network of width 1.2) are
both predictor and truth: there the question is who finds the best of 10^19.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from yardstick import DATA

from orchestrator.generate.base import Utility
from orchestrator.generate.guides import Budget, make_utility
from orchestrator.generate.table_guide import fit_latency, fit_score
from orchestrator.predict.block_table import BlockTable
from orchestrator.predict.ofa_accuracy import OfaAccuracy
from orchestrator.space.base import FloatArray, IntArray, Space
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from profiling.table import read_table

ACCURACY = "c100_valid_12ep"  # validation, not test: test accuracy is never what a search looks at
DEVICE = "pixel3"
FITTED_ON = 300  # rows of each table, chosen by the seed
WIDTH = 1.2  # of the network that the Note10's table was measured on
BUDGETS_MS = {"mobilenetv3": (25.0, 35.0, 50.0), "nasbench201": (5.0, 8.0, 15.0)}

Truth = Callable[[IntArray], FloatArray]


@dataclass(frozen=True)
class Task:
    """One search.

    Attributes:
        space: Where.
        utility: The predictor within the budget: what a generator is given.
        budget: The same budget, for a generator that takes it as a condition.
        accuracy: (`B`,) true percent of (`B`, `S`) architectures.
        latency_ms: (`B`,) true milliseconds.
    """

    space: Space
    utility: Utility
    budget: Budget
    accuracy: Truth
    latency_ms: Truth


def make_task(space: str, budget_ms: float, seed: int, data: Path = DATA) -> Task:
    """A search on one of the two spaces; the seed chooses what a fitted predictor knows."""
    return _nasbench201(budget_ms, seed, data) if space == "nasbench201" else _mobilenetv3(budget_ms, data)


@cache
def _mobilenetv3(budget_ms: float, data: Path) -> Task:
    space = MobileNetV3()
    accuracy = OfaAccuracy(data / "ofa_acc_predictor_weights.npz", space)
    latency_ms = BlockTable.read(data / "ofa_note10_latency_lut.csv.gz", space, width=WIDTH)
    budget = Budget("Note10", latency_ms, budget_ms)
    return Task(space, make_utility(space, [accuracy], budget), budget, accuracy.of, latency_ms.of)


@cache
def _nasbench201(budget_ms: float, seed: int, data: Path) -> Task:
    space = NASBench201()
    tables = data / "nb201_accuracy.parquet", data / "nb201_latency.parquet"
    score = fit_score(space, f"{tables[0]}:{ACCURACY}", rows=FITTED_ON, seed=seed)
    latency_ms = fit_latency(space, f"{tables[1]}:{DEVICE}", rows=FITTED_ON, seed=seed)
    budget = Budget(DEVICE, latency_ms, budget_ms)
    return Task(
        space, make_utility(space, [score], budget), budget, _column(tables[0], ACCURACY), _column(tables[1], DEVICE)
    )


@cache
def _column(path: Path, column: str) -> Truth:
    """What a table says of architectures of NAS-Bench-201."""
    values, space = read_table(path).column(column), NASBench201()
    return lambda slots: np.array([values[space.architecture(row).text] for row in slots])


@dataclass(frozen=True)
class Worth:
    """What the ten best of a proposal, as its generator ranks them, are truly worth.

    Attributes:
        best: Highest true accuracy of those that truly keep the budget; NaN if none does.
        mean: Mean of those.
        within: Share that truly keeps the budget.
    """

    best: float
    mean: float
    within: float


def worth(task: Task, slots: IntArray, count: int = 10) -> Worth:
    """Of the first `count` rows of (`B`, `S`)."""
    chosen = slots[:count]
    kept = task.latency_ms(chosen) <= task.budget.budget_ms
    if not kept.any():
        return Worth(np.nan, np.nan, 0.0)
    accuracy = task.accuracy(chosen[kept])
    return Worth(float(accuracy.max()), float(accuracy.mean()), float(kept.mean()))


def diversity(space: Space, slots: IntArray) -> float:
    """Mean share of slots in which two of (`B`, `S`) architectures differ, out of the slots active in either."""
    active = ~space.inactive(slots)
    first, second = np.triu_indices(len(slots), k=1)
    either = active[first] | active[second]
    differing = (slots[first] != slots[second]) & either
    return float((differing.sum(axis=1) / either.sum(axis=1)).mean()) if len(first) else 0.0


def median(values: Sequence[float]) -> float:
    """Median in which a search that found nothing (NaN) counts as the worst; NaN where that is the median."""
    middle = float(np.median(np.nan_to_num(values, nan=-np.inf)))
    return middle if np.isfinite(middle) else float("nan")
