from __future__ import annotations

import numpy as np
import pytest

from orchestrator.generate.pool import best_first, distinct, draw_distinct, enumerate_space, keys, top_up
from orchestrator.space.base import Space
from orchestrator.space.nasbench201 import NASBench201
from tests.contracts.space_contract import SpaceContract
from tests.orchestrator.generate.spaces import GappedSpace


class TestGappedSpace(SpaceContract):
    @pytest.fixture
    def space(self) -> Space:
        return GappedSpace()


def test_distinct_keeps_first_occurrences_in_order() -> None:
    rows = np.array([[3, 1], [0, 0], [3, 1], [2, 2]])
    assert distinct(rows).tolist() == [[3, 1], [0, 0], [2, 2]]
    assert distinct(rows, keys(np.array([[0, 0]]))).tolist() == [[3, 1], [2, 2]]


def test_enumeration_lists_the_legal_ones_only() -> None:
    listed = enumerate_space(GappedSpace())
    assert listed is not None
    assert len(listed) == GappedSpace.size == 20
    full = enumerate_space(NASBench201())
    assert full is not None
    assert len(full) == 15_625


@pytest.mark.parametrize("count", [0, 3, 19, 20, 50])
def test_draws_are_distinct_until_the_space_is_empty(count: int) -> None:
    space = GappedSpace()
    seen = space.sample(2, np.random.default_rng(1))
    drawn = draw_distinct(space, count, np.random.default_rng(0), keys(seen))
    assert len(drawn) == min(count, 20 - len(distinct(seen)))
    assert len(distinct(np.concatenate([drawn, seen]))) == len(drawn) + len(distinct(seen))


def test_top_up_keeps_what_is_there() -> None:
    rows = np.array([[0, 0, 3, 2], [0, 0, 3, 2], [0, 1, 3, 2]])
    filled = top_up(GappedSpace(), rows, 6, np.random.default_rng(0))
    assert filled[:2].tolist() == [[0, 0, 3, 2], [0, 1, 3, 2]]
    assert len(distinct(filled)) == 6


def test_ties_keep_their_order() -> None:
    rows = np.array([[0], [1], [2]])
    assert best_first(rows, np.array([1.0, 2.0, 1.0])).tolist() == [[1], [0], [2]]
