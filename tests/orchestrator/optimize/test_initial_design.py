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


def test_it_ends_with_the_space() -> None:
    class Tiny(NASBench201):
        size = 3

        def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
            return np.repeat(rng.integers(1, 4, size=(count, 1)), 6, axis=1)

    drawn = list(initial_design(Tiny(), 1, np.random.default_rng(0)))
    assert len(drawn) == len(set(drawn))
