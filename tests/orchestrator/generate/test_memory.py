"""What a search remembers: values, gradients, first-order predictions, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from orchestrator.generate.base import Terms
from orchestrator.generate.memory import UNMET, Memory
from orchestrator.generate.pool import keys
from orchestrator.space.base import one_hot
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from tests.contracts.generator_contract import LinearUtility

SPACE = NASBench201()


class Pairs:
    """Multilinear: slots that carry operator 3 side by side, as few as possible of operator 4."""

    differentiable = True

    def __call__(self, slots: Tensor) -> Tensor:
        return self.terms(slots).utility

    def terms(self, slots: Tensor) -> Terms:
        score = (slots[:, :-1, 3] * slots[:, 1:, 3]).sum(dim=1) + slots[:, :, 1].sum(dim=1)
        return Terms(score, slots[:, :, 3:].sum(dim=(1, 2))[:, None] / 2 - 1, 10.0)


class Watched:
    """Counts what it is asked."""

    def __init__(self, utility: LinearUtility) -> None:
        self.utility = utility
        self.differentiable = utility.differentiable
        self.asked: list[int] = []

    def __call__(self, slots: Tensor) -> Tensor:
        self.asked.append(len(slots))
        return self.utility(slots)


def test_an_architecture_is_paid_for_once_and_none_beyond_the_budget() -> None:
    utility = LinearUtility(6, 5, differentiable=True)
    watched = Watched(utility)
    memory = Memory(watched, SPACE, budget=3)
    rows = memory.rows(np.array([[0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]))
    assert rows.tolist() == [0, 1, 0]
    assert np.allclose(memory.gradients(rows), utility.weights.numpy())
    assert memory.calls == sum(watched.asked) == 2
    more = memory.rows(np.array([[1, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0]]))
    assert more.tolist() == [1, 2, UNMET]
    assert memory.calls == sum(watched.asked) == 3
    assert memory.exhausted
    assert not memory.gradients(more)[2].any()
    met = memory.best(10)
    assert len(met) == 3
    assert (np.diff(utility.of(met)) <= 0).all()
    memory.budget = 4
    assert memory.rows(np.array([[3, 0, 0, 0, 0, 0]])).tolist() == [3]


def test_it_grows_without_forgetting() -> None:
    utility = LinearUtility(6, 5, differentiable=True)
    memory = Memory(utility, SPACE, budget=1000)
    drawn = SPACE.all()[:700]
    for part in np.array_split(drawn, 13):
        memory.rows(part)
    assert (memory.slots == drawn).all()
    assert np.allclose(memory.values, utility.of(drawn))
    assert memory.unmet(SPACE.all()[[699, 702, 700, 702]]).tolist() == SPACE.all()[[702, 700]].tolist()


def test_without_a_gradient_there_are_zeros() -> None:
    memory = Memory(LinearUtility(6, 5, differentiable=False), SPACE, budget=5)
    rows = memory.rows(SPACE.all()[:5])
    assert not memory.differentiable
    assert not memory.gradients(rows).any()


def test_limits_are_kept_apart_from_the_score() -> None:
    memory = Memory(Pairs(), SPACE, budget=10)
    rows = memory.rows(np.array([[3, 3, 3, 0, 0, 0], [3, 0, 1, 1, 1, 1]]))
    assert np.allclose(memory.excess(rows)[:, 0], [0.5, -0.5])
    assert np.allclose(memory.values, [2 - 10 * 0.5, 4])
    assert np.allclose(memory.gradients(rows)[:, 1, :, 3:], 0.5)
    assert np.isnan(memory.excess(np.array([UNMET]))).all()


def test_single_changes_of_a_multilinear_utility_are_predicted_exactly() -> None:
    here = SPACE.sample(1, np.random.default_rng(4))
    memory = Memory(Pairs(), SPACE, budget=1)
    row = memory.rows(here)
    others = SPACE.neighbours(SPACE.architecture(here[0]))
    truth = Pairs()(torch.from_numpy(one_hot(others, 5)))
    assert np.allclose(memory.predict(np.repeat(row, len(others)), others), truth.numpy())


def test_blocks_without_effect_are_left_out_of_predictions() -> None:
    """A stage that loses a block loses what the depth's gradient says, and nothing twice."""
    space = MobileNetV3()

    class Blocks:
        differentiable = True

        def __call__(self, slots: Tensor) -> Tensor:
            from orchestrator.predict.mobilenetv3_encoding import active_blocks

            return (active_blocks(slots) * torch.arange(1.0, 10.0, dtype=slots.dtype)).sum(dim=(1, 2, 3))

    here = space.parse("k3e6,k5e4,k7e6|k3e3,k7e6,k3e4|k3e3,k3e3|k5e6,k5e6|k7e6,k3e3,k3e4,k5e6")
    memory = Memory(Blocks(), space, budget=1)
    row = memory.rows(np.array([here.slots]))
    others = space.neighbours(here)
    truth = Blocks()(torch.from_numpy(one_hot(others, 9)))
    assert np.allclose(memory.predict(np.repeat(row, len(others)), others), truth.numpy())


@pytest.mark.parametrize("budget", [1, 7])
def test_a_value_that_is_undefined_is_worst(budget: int) -> None:
    class Nowhere:
        differentiable = True

        def __call__(self, slots: Tensor) -> Tensor:
            return torch.where(slots[:, 0, 0] > 0, torch.nan, slots[:, :, 3].sum(dim=1).sqrt())

    memory = Memory(Nowhere(), SPACE, budget)
    memory.rows(np.array([[value // 3, value % 5, 0, 3, 0, 0] for value in range(7)])[:budget])
    assert memory.values[0] == -np.inf
    assert np.isfinite(memory.gradients(np.arange(budget))).all()
    assert len(set(keys(memory.best(10)))) == budget
