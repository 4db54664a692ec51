"""The predictor across data sets: what it promises, and that looking at the data set pays."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.errors import CheckpointError
from orchestrator.predict.transfer.predictor import TransferPredictor
from orchestrator.predict.transfer.tasks import LabelledImages
from orchestrator.predict.transfer.train import TransferConfig, train_transfer
from orchestrator.predict.transfer.trial import try_on
from orchestrator.space.base import one_hot
from orchestrator.space.mobilenetv3 import MobileNetV3
from tests.orchestrator.predict.transfer.synthetic import SPACE, images, task

_HELD_OUT = [task(100 + number, broad) for number, broad in enumerate((True, False, True, False))]


@cache
def _trained(knows_datasets: bool = True) -> TransferPredictor:
    tasks = [task(number, bool(number % 2)) for number in range(8)]
    return train_transfer(SPACE, tasks, TransferConfig(knows_datasets=knows_datasets))


def test_an_unseen_data_set_is_ranked_without_any_evaluation() -> None:
    found = try_on(_trained(), _HELD_OUT)
    assert found[0] > 0.8
    assert found[5] > 0.7, "over the seven that are left"


def test_without_the_data_set_it_cannot_be() -> None:
    """Half of the tasks want the opposite of the other half."""
    assert try_on(_trained(knows_datasets=False), _HELD_OUT)[0] < 0.6


def test_what_is_evaluated_is_believed() -> None:
    on = _trained().on(images(True, 3, 50))
    slots = SPACE.sample(3, np.random.default_rng(3))
    told = on.given(slots, [90.0, 20.0, 50.0], np.array([0.1, 0.1, 0.1]))
    relaxed = torch.from_numpy(one_hot(slots, 5))
    before, after = on.marginal(relaxed), told.marginal(relaxed)
    assert (after[1] < before[1]).all(), "less doubt"
    assert np.argmax(told.of(slots)) == 0
    assert np.argmin(told.of(slots)) == 1


def test_the_gradient_is_that_of_the_prediction() -> None:
    on = _trained().on(images(False, 3, 51))
    relaxed = torch.from_numpy(one_hot(SPACE.sample(4, np.random.default_rng(0)), 5)).requires_grad_()
    on(relaxed).sum().backward()
    assert relaxed.grad is not None
    step = 1e-4 * torch.randn(relaxed.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        change = (on(relaxed + step) - on(relaxed - step)).sum()
    assert torch.isclose(change, 2 * (relaxed.grad * step).sum(), rtol=1e-2)


def test_training_is_the_same_every_time() -> None:
    tasks = [task(number, bool(number % 2)) for number in range(4)]
    slots = SPACE.sample(20, np.random.default_rng(0))
    config = TransferConfig(steps=5, points=30, seed=3)
    one, other = (train_transfer(SPACE, tasks, config).on(images(True, 3, 54)).of(slots) for _ in range(2))
    assert np.array_equal(one, other)


def test_a_task_that_is_left_out_reaches_no_training() -> None:
    """Accuracies of a held-out task cannot change what the others' predictor says."""
    tasks = [task(number, bool(number % 2)) for number in range(5)]
    spoilt = replace(tasks[4], accuracies=100 - tasks[4].accuracies)
    slots = SPACE.sample(20, np.random.default_rng(0))
    on = train_transfer(SPACE, tasks[:4], TransferConfig(steps=5)).on(spoilt.images)
    assert np.array_equal(
        on.of(slots), train_transfer(SPACE, tasks[:4], TransferConfig(steps=5)).on(tasks[4].images).of(slots)
    )
    assert try_on(train_transfer(SPACE, tasks[:4], TransferConfig(steps=5)), [spoilt], evaluated=(0,))[
        0
    ] == pytest.approx(
        -try_on(train_transfer(SPACE, tasks[:4], TransferConfig(steps=5)), [tasks[4]], evaluated=(0,))[0]
    )


def test_a_checkpoint_answers_as_its_predictor(tmp_path: Path) -> None:
    predictor, seen = _trained(), images(True, 4, 52)
    predictor.save(tmp_path / "a.safetensors", {})
    again = TransferPredictor.load(tmp_path / "a.safetensors", SPACE)
    slots = SPACE.sample(10, np.random.default_rng(0))
    assert np.allclose(again.on(seen).of(slots), predictor.on(seen).of(slots), atol=1e-4)


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    _trained().save(tmp_path / "a.safetensors", {})
    with pytest.raises(CheckpointError, match="trained for"):
        TransferPredictor.load(tmp_path / "a.safetensors", MobileNetV3())
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-40])
    with pytest.raises(CheckpointError):
        TransferPredictor.load(tmp_path / "b.safetensors", SPACE)


def test_a_class_of_one_image_is_enough() -> None:
    seen = images(True, 2, 53, per_class=1)
    assert isinstance(seen, LabelledImages)
    assert np.isfinite(_trained().on(seen).of(SPACE.sample(3, np.random.default_rng(0)))).all()
