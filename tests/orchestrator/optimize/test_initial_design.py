"""The first design: spread, lean, deterministic."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch

from orchestrator.optimize.initial_design import initial_design
from orchestrator.space.base import one_hot
from orchestrator.space.nasbench201 import NASBench201

SPACE = NASBench201()


def design(count: int, seed: int, bins: int = 8) -> list[tuple[int, ...]]:
    return list(islice(initial_design(SPACE, bins, np.random.default_rng(seed)), count))


def test_it_spans_the_amounts_of_work() -> None:
    encoding = SPACE.encoding()
    for seed in range(5):
        relaxed = torch.as_tensor(one_hot(np.array(design(8, seed)), 5))
        work = encoding.work(relaxed)
        assert work.max() / work.min() > 8
        assert encoding.waste(relaxed).max() == 0
        assert encoding.connected(relaxed).min() == 1
        # Cut short, it still has the ends.
        assert {int(work[:2].argmin()), int(work[:2].argmax())} == {0, 1}
        assert work[:2].min() < work[2:].min() * 1.5


def test_it_never_repeats_and_depends_on_the_seed_alone() -> None:
    many = design(500, 3)
    assert len(set(many)) == 500
    assert design(500, 3) == many
    assert design(8, 4) != many[:8]


def test_a_promise_decides_within_what_is_spread_anyway() -> None:
    def pools(slots: np.ndarray) -> np.ndarray:
        return np.asarray((slots == 4).sum(axis=1), dtype=np.float64)

    plain = np.array(design(8, 3))
    told = np.array(list(islice(initial_design(SPACE, 8, np.random.default_rng(3), pools), 8)))
    assert pools(told).mean() > pools(plain).mean() + 0.5
    encoding = SPACE.encoding()
    work = encoding.work(torch.as_tensor(one_hot(told, 5)))
    assert work.max() / work.min() > 8, "it still spans the amounts of work"
    assert len(set(design(8, 3)) & set(map(tuple, told.tolist()))) < 8


def test_it_ends_with_the_space() -> None:
    class Tiny(NASBench201):
        size = 3

        def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
            return np.repeat(rng.integers(1, 4, size=(count, 1)), 6, axis=1)

    drawn = list(initial_design(Tiny(), 1, np.random.default_rng(0)))
    assert len(drawn) == len(set(drawn))
