from __future__ import annotations

import numpy as np
import pytest

from orchestrator.generate.ednag.breeding import mutation_index, polynomial_mutation, select
from orchestrator.generate.pool import distinct
from orchestrator.space.base import IntArray
from orchestrator.space.nasbench201 import NASBench201


def population(count: int) -> tuple[IntArray, np.ndarray]:
    """Different architectures and scores."""
    rng = np.random.default_rng(0)
    return distinct(NASBench201().sample(2 * count, rng))[:count], rng.normal(size=count)


@pytest.mark.parametrize("index", [0.0, 1.0, 5.0])
def test_mutations_follow_the_polynomial(index: float) -> None:
    """|delta| has density (index + 1) (1 - |delta|)^index: mean 1 / (index + 2)."""
    latents = np.zeros((4000, 2, 5), dtype=np.float32)
    mutated = np.array([[True, False]] * 4000)
    changed = polynomial_mutation(latents, mutated, np.array([2.0, 3.0]), index, np.random.default_rng(0))
    assert not changed[:, 1].any(), "slots that are not mutated stay"
    deltas = changed[:, 0] / 2.0
    assert np.abs(deltas).max() <= 1
    assert np.abs(deltas).mean() == pytest.approx(1 / (index + 2), rel=0.03)
    assert deltas.mean() == pytest.approx(0, abs=0.02)
    assert np.corrcoef(deltas[:, 0], deltas[:, 1])[0, 1] == pytest.approx(0, abs=0.05), "each entry has its own draw"


def test_mutations_are_smallest_at_the_end() -> None:
    assert mutation_index(4.0, 0.0) == 4.0
    assert mutation_index(4.0, 1.0) == 6.0


def test_the_best_and_the_most_different_survive() -> None:
    slots, scores = population(60)
    kept = select(slots, scores, 20, np.random.default_rng(0), elite=0.2, diverse=0.1, pressure=3.0)
    order = np.argsort(-scores)
    assert len(set(kept.tolist())) == 20
    assert kept[:4].tolist() == order[:4].tolist()
    assert (np.diff(scores[kept]) <= 0).all(), "best first"
    candidates = order[4:30]
    apart = (slots[candidates][:, None] != slots[order[:4]][None]).sum(axis=2).min(axis=1)
    assert candidates[apart.argmax()] in kept


def test_diversity_is_kept_where_it_is_asked_for() -> None:
    """A clone army, one slot apart from its leader, beside somewhat worse strangers."""
    army = np.zeros((40, 6), dtype=np.int64)
    army[np.arange(24), np.repeat(np.arange(6), 4)] = np.tile(np.arange(1, 5), 6)
    army = distinct(army)
    strangers = np.array([[4 - k % 3, 3, 2 + k % 3, 4, 1 + k % 4, 3] for k in range(6)])
    slots = np.concatenate([army, distinct(strangers)])
    scores = np.concatenate([np.linspace(2, 1, len(army)), np.full(len(slots) - len(army), 1.6)])

    def spread(diverse: float) -> float:
        kept = slots[select(slots, scores, 10, np.random.default_rng(0), elite=0.1, diverse=diverse, pressure=20.0)]
        return float((kept[:, None] != kept[None]).sum(axis=2).mean())

    assert spread(0.4) > spread(0.0) + 0.5


def test_higher_pressure_keeps_higher_fitness() -> None:
    slots, scores = population(200)
    means = [
        np.mean(
            [
                scores[select(slots, scores, 50, np.random.default_rng(seed), elite=0, diverse=0, pressure=p)].mean()
                for seed in range(20)
            ]
        )
        for p in (0.0, 1.0, 3.0, 10.0)
    ]
    assert (np.diff(means) > 0.05).all()


def test_all_survive_where_there_are_few() -> None:
    slots, scores = population(5)
    kept = select(slots, scores, 20, np.random.default_rng(0), elite=0.1, diverse=0.1, pressure=1.0)
    assert sorted(kept.tolist()) == [0, 1, 2, 3, 4]
