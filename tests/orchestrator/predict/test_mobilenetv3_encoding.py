"""Features of MobileNetV3 architectures: true to the networks at vertices, smooth in between."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.predict.mobilenetv3_encoding import MobileNetV3Encoding, active_blocks
from orchestrator.space.base import FloatArray, IntArray, NetworkOptions, one_hot
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.mobilenetv3_blocks import BLOCK_CHOICES

SPACE = MobileNetV3()
SEARCHED = MobileNetV3(resolutions=(160, 192, 224))


def drawn(space: MobileNetV3, count: int) -> IntArray:
    return space.sample(count, np.random.default_rng(5))


def relaxed(space: MobileNetV3, slots: IntArray) -> torch.Tensor:
    return torch.from_numpy(one_hot(slots, max(map(len, space.choices))))


def multiply_adds(space: MobileNetV3, slots: IntArray, width: float) -> FloatArray:
    """(`B`,) in millions."""
    options = NetworkOptions((1, 224, 224, 3), 1000, {"width": width})
    return np.array([space.network(space.architecture(row), options).multiply_adds for row in slots]) / 1e6


def rank_correlation(left: FloatArray, right: FloatArray) -> float:
    """Spearman's, where no two values are equal."""
    return float(np.corrcoef(left.argsort().argsort(), right.argsort().argsort())[0, 1])


def test_work_is_the_networks_multiply_adds() -> None:
    slots = drawn(SPACE, 40)
    work = MobileNetV3Encoding().work(relaxed(SPACE, slots)).numpy()
    np.testing.assert_allclose(work, multiply_adds(SPACE, slots, 1.0), rtol=1e-9)
    assert rank_correlation(work, multiply_adds(SPACE, slots, 1.2)) > 0.99


def test_work_ranks_resolutions() -> None:
    slots = drawn(SEARCHED, 60)
    work = MobileNetV3Encoding(SEARCHED.resolutions).work(relaxed(SEARCHED, slots)).numpy()
    assert rank_correlation(work, multiply_adds(SEARCHED, slots, 1.0)) > 0.999


@pytest.mark.parametrize("width", [1.0, 1.2])
def test_whatever_blocks_cost_each_is_linear_in_the_costs(width: float) -> None:
    slots = drawn(SPACE, 200)
    costs = MobileNetV3Encoding().costs(relaxed(SPACE, slots)).numpy()
    target = multiply_adds(SPACE, slots, width)
    prices, *_ = np.linalg.lstsq(costs[:150], target[:150], rcond=None)
    np.testing.assert_allclose(costs[150:] @ prices, target[150:], rtol=1e-6)


@pytest.mark.parametrize("space", [SPACE, SEARCHED], ids=["fixed", "searched"])
def test_features_are_finite_and_have_gradients(space: MobileNetV3) -> None:
    encoding = MobileNetV3Encoding(space.resolutions)
    for slots in (relaxed(space, drawn(space, 8)), torch.full((2, len(space.choices), 9), 1 / 9, dtype=torch.float64)):
        slots.requires_grad_()
        for features in (encoding.accuracy, encoding.costs, encoding.work, encoding.connected, encoding.waste):
            values = features(slots)
            assert values.isfinite().all()
            assert len(values) == len(slots)
        (gradient,) = torch.autograd.grad(encoding.accuracy(slots).sum() + encoding.work(slots).sum(), slots)
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0


def test_active_blocks_are_those_of_the_architecture() -> None:
    slots = drawn(SPACE, 16)
    counted = active_blocks(relaxed(SPACE, slots))
    for row, blocks in zip(slots, counted, strict=True):
        stages = SPACE.stages(SPACE.architecture(row))
        for stage, expected in zip(blocks, stages, strict=True):
            assert [BLOCK_CHOICES[int(block.argmax())] for block in stage if block.sum()] == list(expected)
            assert stage.sum() == len(expected)
