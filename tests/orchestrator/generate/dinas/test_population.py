from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.errors import ConfigError, DataError
from orchestrator.generate.dinas.devices import SyntheticDevices, reference_architectures
from orchestrator.generate.dinas.labels import Labels
from orchestrator.generate.dinas.population import climb, make_population
from orchestrator.generate.dinas.tasks import TaskConfig, Tasks
from orchestrator.generate.pool import keys
from orchestrator.space.mobilenetv3 import MobileNetV3
from tests.orchestrator.generate.dinas.small import LABELS, POPULATION, SPACE, Prices, Worth


def _table(path: Path, rows: int, noise: float) -> Path:
    rng = np.random.default_rng(0)
    slots = SPACE.all()[rng.permutation(15_625)[:rows]]
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["arch", "accuracy", "phone"])
        latency = LABELS.latencies[0].of(slots) * np.exp(noise * rng.normal(size=rows))
        for row, worth, each in zip(slots, Worth().of(slots), latency, strict=True):
            table.writerow([SPACE.architecture(row).text, worth, each])
    return path


def test_tables_are_split_smoothed_and_looked_up(tmp_path: Path) -> None:
    path = _table(tmp_path / "table.csv", 800, noise=0.2)
    labels = Labels.read(SPACE, f"{path}:accuracy", [f"{path}:phone"])
    made = make_population(SPACE, labels, references=5, holdout=0.5, count=0, seed=0)
    assert 350 < len(made.slots) <= 400
    assert made.references.shape == (5, 6)
    truth = LABELS.latencies[0].of(made.slots)
    measured, smooth = (
        np.log(v) - np.log(truth) for v in (labels.latencies[0].of(made.slots), made.latencies_ms[:, 0])
    )
    assert smooth.std() < 0.5 * measured.std()
    assert labels.names == {"accuracy": "table.csv:accuracy", "latency": ["table.csv:phone"]}
    absent = labels.accuracy.of(np.array([[4, 4, 4, 4, 4, 4], made.slots[0]]))
    assert not np.isnan(absent[1])


def test_tables_with_little_in_common_are_told(tmp_path: Path) -> None:
    path = _table(tmp_path / "table.csv", 60, noise=0.0)
    labels = Labels.read(SPACE, f"{path}:accuracy", [f"{path}:phone"])
    with pytest.raises(DataError, match="60 architectures in common"):
        make_population(SPACE, labels, references=5, holdout=0.5, count=0, seed=0)
    with pytest.raises(ConfigError, match="FILE:COLUMN"):
        Labels.read(SPACE, "nonsense", [f"{path}:phone"])
    with pytest.raises(DataError, match="absent"):
        Labels.read(SPACE, f"{path}:absent", [f"{path}:phone"])


def test_climbers_reach_what_draws_do_not() -> None:
    space = MobileNetV3()

    class Sum:
        name, listed, noisy = "sum", None, False

        def __init__(self, weights: np.ndarray) -> None:
            self.weights = weights

        def of(self, slots: np.ndarray) -> np.ndarray:
            deep = slots[:, :5].sum(axis=1)
            return np.asarray(20.0 + 4 * deep + self.weights[slots[:, 5:]].sum(axis=1))

    labels = Labels(Sum(np.arange(9.0)), (Sum(np.arange(9.0)[::-1] * 0.2 + 1),))
    met = climb(space, labels, 2000, np.random.default_rng(0))
    assert len(np.unique(met, axis=0)) == len(met)
    assert len(met) > 1000
    drawn = space.sample(2000, np.random.default_rng(1))
    for budget in np.quantile(labels.latencies[0].of(drawn), [0.02, 0.2, 0.8]):
        found, usual = (labels.accuracy.of(slots[labels.latencies[0].of(slots) <= budget]) for slots in (met, drawn))
        assert found.max() > usual.max() + 5
        assert len(found) > 0.02 * len(met)


def test_references_differ_and_compute_something() -> None:
    references = reference_architectures(SPACE, 10)
    assert len(np.unique(references, axis=0)) == 10
    assert (reference_architectures(SPACE, 10) == references).all()
    listed = SPACE.sample(300, np.random.default_rng(5))
    assert set(keys(reference_architectures(SPACE, 10, listed))) <= set(keys(listed))
    with pytest.raises(DataError, match="references"):
        reference_architectures(SPACE, 10, np.zeros((3, 6), dtype=np.int64))


def test_made_up_devices_are_positive_and_differ() -> None:
    devices = SyntheticDevices(SPACE, POPULATION.slots, POPULATION.latencies_ms)
    prices = devices.draw(50, torch.Generator().manual_seed(0))
    amounts = SPACE.encoding().costs(torch.eye(5, dtype=torch.float64)[torch.from_numpy(POPULATION.slots)])
    latencies = (amounts @ prices.T).numpy()
    assert (latencies > 0).all()
    correlation = np.corrcoef(np.log(latencies).T)
    assert 0.2 < np.median(correlation) < 0.99


def test_examples_meet_their_conditions() -> None:
    """At most the budget, among the best share, by the labels; and a looser set holds a tighter one."""
    tasks = Tasks(SPACE, POPULATION, TaskConfig(fresh=4, equivalent=0))  # budgets on known devices only
    slots, asked = tasks.draw(400, torch.Generator().manual_seed(0))
    latency = np.stack([label.of(slots.numpy()) for label in LABELS.latencies], axis=1)
    known = np.log(POPULATION.references_ms)
    accuracy = Worth().of(POPULATION.slots)
    checked = 0
    for row in range(400):
        meets = np.ones(len(POPULATION.slots), dtype=bool)
        for column in np.flatnonzero(asked.budget_asked[row]):
            device = np.abs(known.T - asked.references[row, column].numpy()).sum(axis=1).argmin()
            budget = float(asked.budgets[row, column])
            assert np.log(latency[row, device]) <= budget + 1e-5
            meets &= np.log(POPULATION.latencies_ms[:, device]) <= budget + 1e-5
        best = round(float(asked.share[row].exp()) * meets.sum())
        assert (accuracy[meets] > Worth().of(slots[row : row + 1].numpy())).sum() < best
        checked += bool(asked.share_asked[row])
    assert checked > 250


def test_conditions_are_dropped_independently() -> None:
    tasks = Tasks(SPACE, POPULATION, TaskConfig(dropped=0.3, fresh=2))
    generator = torch.Generator().manual_seed(0)
    seen: Counter[tuple[bool, bool]] = Counter()
    for _ in range(8):
        _, asked = tasks.draw(500, generator)
        seen.update(zip((~asked.share_asked).tolist(), (~asked.budget_asked[:, 0]).tolist(), strict=True))
    shares = {key: count / 4000 for key, count in seen.items()}
    assert shares[True, True] == pytest.approx(0.09, abs=0.02)
    assert shares[True, False] == pytest.approx(0.21, abs=0.03)
    assert shares[False, True] == pytest.approx(0.21, abs=0.03)


def test_draws_are_the_generators() -> None:
    tasks = Tasks(SPACE, POPULATION, TaskConfig())
    first, again, other = (tasks.draw(64, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1].budgets, again[1].budgets)
    assert not torch.equal(first[0], other[0])
    assert Prices("a", np.ones(5)).of(POPULATION.slots[:1]).shape == (1,)
    assert replace(POPULATION).slots is POPULATION.slots
