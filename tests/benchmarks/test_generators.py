"""The functions that compare generators, on a task small enough to be run in passing."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from orchestrator.errors import ConfigError
from orchestrator.generate.guides import Budget
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from tests.contracts.generator_contract import LinearUtility

SPACE = NASBench201()
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def generators(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`benchmarks/generators.py`."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import generators

    return generators


@pytest.fixture
def tasks(generators: ModuleType) -> ModuleType:
    """`benchmarks/generation_tasks.py`."""
    return sys.modules["generation_tasks"]


@pytest.fixture
def synthetic(generators: ModuleType, tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every task is this one: accuracy is the predictor, latency the number of convolutions."""
    torch.set_num_threads(1)
    utility = LinearUtility(6, 5, differentiable=True)

    def latency_ms(slots: np.ndarray) -> np.ndarray:
        return np.isin(slots, (2, 3)).sum(axis=1).astype(float)

    monkeypatch.setattr(
        generators,
        "make_task",
        lambda space, budget_ms, seed: tasks.Task(
            SPACE, utility, Budget("synthetic", utility, budget_ms), utility.of, latency_ms
        ),
    )
    return [utility]


def test_worth_is_of_what_keeps_the_budget(tasks: ModuleType) -> None:
    slots = np.array([[3] * 6, [1] * 6, [3, 1, 1, 1, 1, 1], [2] * 6])

    def count(slots: np.ndarray) -> np.ndarray:
        return np.isin(slots, (2, 3)).sum(axis=1).astype(float)

    task = tasks.Task(SPACE, None, Budget("synthetic", None, 1.0), count, count)
    assert tasks.worth(task, slots, count=3) == tasks.Worth(best=1.0, mean=0.5, within=2 / 3)
    nothing = tasks.worth(task, slots[:1])
    assert math.isnan(nothing.best)
    assert nothing.within == 0


def test_a_search_that_found_nothing_is_the_worst(tasks: ModuleType) -> None:
    assert tasks.median([1.0, math.nan, 3.0]) == 1.0
    assert math.isnan(tasks.median([math.nan, math.nan, 3.0]))


def test_diversity_looks_at_active_slots_only(tasks: ModuleType) -> None:
    space = MobileNetV3()
    first = np.zeros(25, dtype=np.int64)  # five stages of two blocks
    second = first.copy()
    second[7] = 8  # the third block of the first stage: inactive
    assert tasks.diversity(space, np.stack([first, second])) == 0
    second[0] = 1  # three blocks
    assert tasks.diversity(space, np.stack([first, second])) == pytest.approx(2 / 16)
    assert tasks.diversity(space, first[None]) == 0


def test_methods_by_label_kind_and_options(generators: ModuleType) -> None:
    assert generators.parse_method("draw and filter").config == {"kind": "random"}
    method = generators.parse_method("regularized_evolution:population=8,tournament=2")
    assert method.config == {"kind": "regularized_evolution", "population": 8, "tournament": 2}
    with pytest.raises(ConfigError):
        generators.parse_method("nonsense").generator(SPACE)


def test_equal_calls_are_equal_and_evolution_beats_drawing(generators: ModuleType, synthetic: list[object]) -> None:
    rows = {
        label: generators.at_equal_calls(generators.parse_method(label), "nasbench201", [3.0, 6.0], 200, 2)
        for label in ("uniform draws, no predictor", "draw and filter", "regularized_evolution")
    }
    assert [row["calls"] for row in rows.values()] == [0, 200, 200]
    ranked = [row["budgets"]["6"]["best"] for row in rows.values()]
    assert ranked == sorted(ranked)
    table = generators.search_table(list(rows.values()), [3.0, 6.0])
    assert table.count("**") >= 4
    assert len({line.count("|") for line in table.splitlines()}) == 1


def test_equal_time_ends(generators: ModuleType, synthetic: list[object]) -> None:
    row = generators.at_equal_time(generators.parse_method("draw and filter"), "nasbench201", [6.0], 0.02, 1)
    assert row is None or row["cpu_seconds"] <= 0.02


def test_samples_of_generators_that_sample(generators: ModuleType) -> None:
    row = generators.sampling(generators.parse_method("draw and filter"), "nasbench201", 1)
    assert row["validity_unprojected"] == 1
    assert row["uniqueness"] > 0.95
    assert row["novelty"] is None
    assert "| draw and filter | 1.000 |" in generators.sampling_table([row])


def test_rows_are_kept_and_not_measured_twice(generators: ModuleType, tmp_path: Path) -> None:
    path, measured = tmp_path / "notes.jsonl", []

    def measure() -> dict[str, object]:
        measured.append(1)
        return {"method": "drawing", "best": math.nan}

    for _ in range(2):
        notes = generators.Notes(path)
        for calls in (100, 200):
            row = notes.row(measure, "calls", {"kind": "random"}, calls)
            assert math.isnan(row["best"])
    assert len(measured) == 2
    generators.Notes(None).row(measure, "calls")
    assert len(measured) == 3
