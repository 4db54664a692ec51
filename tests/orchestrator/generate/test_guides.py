"""Guides: predictors by name, and what a device's table itself says."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.errors import ConfigError, DataError
from orchestrator.generate.budget import BudgetUtility
from orchestrator.generate.dinas.generator import DiNAS
from orchestrator.generate.dinas.train import train_dinas
from orchestrator.generate.guides import make_budget, make_conditions, make_score, make_utility
from orchestrator.generate.pool import score
from orchestrator.generate.random import RandomGenerator
from orchestrator.generate.table_guide import fit_latency
from orchestrator.space.base import one_hot
from orchestrator.space.nasbench201 import NASBench201
from tests.orchestrator.generate.dinas import small

SPACE = NASBench201()
LISTED = np.unique(SPACE.sample(80, np.random.default_rng(0)), axis=0)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Accuracy counts 3x3 convolutions, latency all convolutions; one latency is out of line."""
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["arch", "accuracy", "latency"])
        for row, slots in enumerate(LISTED):
            milliseconds = 1 + int(np.isin(slots, (2, 3)).sum()) if row else 2.5
            rows.writerow([SPACE.architecture(slots).text, 50 + 5 * int((slots == 3).sum()), milliseconds])
    return path


def test_fitted_predictors_order_what_the_table_does_not_list(table: Path) -> None:
    accuracy = make_score(SPACE, f"{table}:accuracy")
    budget = make_budget(SPACE, f"table:{table}:latency", 3.0)
    fresh = SPACE.sample(300, np.random.default_rng(1))
    assert accuracy.differentiable
    assert np.corrcoef(score(accuracy, fresh, SPACE), (fresh == 3).sum(axis=1))[0, 1] > 0.8
    assert np.corrcoef(score(budget.latency_ms, fresh, SPACE), np.isin(fresh, (2, 3)).sum(axis=1))[0, 1] > 0.9


def test_latencies_are_the_tables_own_where_it_lists_them(table: Path) -> None:
    budget = make_budget(SPACE, f"table:{table}:latency", 3.0)
    unlisted = np.array([[1, 2, 3, 2, 3, 2]])
    assert not (unlisted == LISTED).all(axis=1).any()
    known = budget.known_ms(np.concatenate([LISTED[:2], unlisted]), SPACE)
    assert known[0] == 2.5
    assert known[1] == 1 + np.isin(LISTED[1], (2, 3)).sum()
    assert known[2] == score(budget.latency_ms, unlisted, SPACE)[0]


def test_a_seed_chooses_the_rows(table: Path) -> None:
    column = f"{table}:latency"
    first, again, other = (fit_latency(SPACE, column, rows=20, seed=seed) for seed in (1, 1, 2))
    at = LISTED[:10]
    assert (score(first, at, SPACE) == score(again, at, SPACE)).all()
    assert (score(first, at, SPACE) != score(other, at, SPACE)).any()


def test_scores_add_up_in_their_spreads_within_the_budget(table: Path) -> None:
    accuracy = make_score(SPACE, f"{table}:accuracy")
    budget = make_budget(SPACE, f"table:{table}:latency", 3.0)
    slots = SPACE.sample(200, np.random.default_rng(2))
    alone, twice = (score(make_utility(SPACE, [accuracy] * times), slots, SPACE) for times in (1, 2))
    assert alone.std() == pytest.approx(1, rel=0.2)
    assert np.allclose(twice, 2 * alone)
    bounded = make_utility(SPACE, [accuracy], budget)
    assert isinstance(bounded, BudgetUtility)
    slow = score(budget.latency_ms, slots, SPACE) > 3.0
    assert np.allclose(score(bounded, slots, SPACE)[~slow], alone[~slow])
    assert (score(bounded, slots, SPACE)[slow] < alone[slow]).all()


def test_a_budget_alone_guides_too(table: Path) -> None:
    budget = make_budget(SPACE, f"table:{table}:latency", 2.0)
    slots = torch.from_numpy(one_hot(np.array([[1] * 6, [3] * 6]), 5)).requires_grad_()
    values = make_utility(SPACE, [], budget)(slots)
    (gradient,) = torch.autograd.grad(values.sum(), slots)
    assert values[0] == 0 > values[1]
    assert (gradient[1, :, 1] > gradient[1, :, 3]).all()


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ("host", "table:FILE:COLUMN or lut:FILE"),
        ("pixel3", "table:FILE:COLUMN or lut:FILE"),
        ("table:nowhere", "FILE:COLUMN"),
        ("lut:blocks.csv@1.2", "this is for mobilenetv3"),
    ],
)
def test_other_devices_are_refused(device: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_budget(SPACE, device, 3.0)


def test_latencies_are_positive(table: Path) -> None:
    table.write_text(table.read_text().replace(",2.5", ",0"))
    with pytest.raises(DataError, match="a number > 0"):
        make_budget(SPACE, f"table:{table}:latency", 3.0)


def test_a_budget_is_a_condition_where_a_generator_is_trained_on_conditions(table: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "untrained.safetensors"
    train_dinas(SPACE, small.LABELS, small.POPULATION, replace(small.CONFIG, steps=2), checkpoint)
    dinas = DiNAS(SPACE, checkpoint=checkpoint)
    budget = make_budget(SPACE, f"table:{table}:latency", 3.0)
    conditions = make_conditions(dinas, budget, 0.9)
    assert conditions is not None
    (target,) = conditions.targets
    assert target.accuracy_quantile == 0.9
    (asked,) = target.budgets
    assert asked.latency_ms == 3.0
    assert asked.device == f"table:{table}:latency"
    assert asked.references_ms == tuple(budget.known_ms(dinas.references, SPACE))
    assert make_conditions(dinas, None, None) is None


def test_other_generators_take_no_conditions(table: Path) -> None:
    random = RandomGenerator(SPACE)
    budget = make_budget(SPACE, f"table:{table}:latency", 3.0)
    assert make_conditions(random, budget, None) is None
    with pytest.raises(ConfigError, match="with dinas, which is trained on conditions"):
        make_conditions(random, budget, 0.9)
