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
        parts = (encoding.accuracy, encoding.signature, encoding.costs, encoding.work)
        for features in (*parts, encoding.connected, encoding.waste):
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


def test_accuracy_sees_depths_kernels_and_expansions_of_stages_and_positions() -> None:
    slots = drawn(SPACE, 16)
    seen = MobileNetV3Encoding().accuracy(relaxed(SPACE, slots)).numpy()
    for row, features in zip(slots, seen, strict=True):
        stages = SPACE.stages(SPACE.architecture(row))
        kernels = [[(kernel - 3) / 2 for kernel, _ in stage] for stage in stages]
        expansions = [[float(expansion) for _, expansion in stage] for stage in stages]
        padded = [[*values, 0.0, 0.0][:4] for part in (kernels, expansions) for values in part]
        expected = [
            *map(len, stages),
            *map(sum, kernels),
            *map(sum, expansions),
            *(np.log(sum(values)) for values in expansions),
            *(float(len(stage) > position) for stage in stages for position in (2, 3)),
            *(value for values in padded for value in values),
        ]
        np.testing.assert_allclose(features, expected, atol=1e-12)


def test_signatures_are_equal_for_equal_networks_only() -> None:
    slots = drawn(SEARCHED, 30)
    encoding = MobileNetV3Encoding(SEARCHED.resolutions)
    signatures = encoding.signature(relaxed(SEARCHED, slots))
    disguised = np.where(SEARCHED.inactive(slots), 8, slots)
    torch.testing.assert_close(encoding.signature(relaxed(SEARCHED, disguised)), signatures)
    assert len(signatures.unique(dim=0)) == len(np.unique(slots, axis=0))
