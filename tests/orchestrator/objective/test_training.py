from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.errors import ConfigError, DataError, ObjectiveFailed
from orchestrator.objective.base import AccuracyJob
from orchestrator.objective.config import TrainingConfig
from orchestrator.objective.dataset import Split
from orchestrator.objective.initialise import initialised, start_residuals_at_zero
from orchestrator.objective.training import (
    Augmentation,
    Nesterov,
    TrainingObjective,
    binomial_error,
    fit,
    learning_rate,
    settle_batch_norms,
)
from orchestrator.space.base import Architecture, NetworkOptions
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from profiling.network import Add
from profiling.weights import check_weights, load_weights
from tests.contracts.objective_contract import JobMaker, ObjectiveContract

SPACE = NASBench201()
GOOD = SPACE.architecture((3, 0, 0, 1, 0, 0))  # one convolution and a skip a cell
CONSTANT = SPACE.architecture((0, 0, 0, 0, 0, 0))


def objective_of(**config: object) -> TrainingObjective:
    return TrainingObjective(
        TrainingConfig.model_validate({"epochs": 1, "device": "cpu", **config}), SPACE, ObjectiveContract.network
    )


class TestTrainingObjective(ObjectiveContract):
    @pytest.fixture
    def architectures(self) -> list[Architecture]:
        return [GOOD, CONSTANT]

    @pytest.fixture
    def objective(self) -> TrainingObjective:
        return objective_of()

    def test_it_learns(self, make_job: JobMaker) -> None:
        objective = objective_of(epochs=3)
        result = objective.evaluate(make_job(GOOD))
        assert result.accuracy > 60
        assert result.details["test_accuracy"] > 60
        assert result.standard_error is not None
        assert 1 < result.standard_error < 4
        assert result.details["epochs"] == 3
        assert result.details["train_loss"] < math.log(10)
        assert objective.evaluate(make_job(CONSTANT)).accuracy < 20

    def test_the_weights_are_the_networks(self, objective: TrainingObjective, make_job: JobMaker) -> None:
        job = make_job(GOOD)
        result = objective.evaluate(job)
        assert result.weights is not None
        check_weights(SPACE.network(GOOD, job.network), load_weights(result.weights))
        assert [path.name for path in job.folder.iterdir()] == ["weights.safetensors"]

    def test_the_seed_decides(self, objective: TrainingObjective, make_job: JobMaker) -> None:
        first = objective.evaluate(make_job(GOOD, 1, seed=1))
        torch.manual_seed(7)  # the global generator is shared with other threads, so it must not matter
        assert objective.evaluate(make_job(GOOD, 2, seed=1)).details == first.details
        assert objective.evaluate(make_job(GOOD, 3, seed=2)).details != first.details

    def test_a_full_disk_may_be_tried_again(self, objective: TrainingObjective, make_job: JobMaker) -> None:
        job = make_job(GOOD)
        (job.folder / "weights.safetensors.partial").symlink_to("/dev/full")
        with pytest.raises(ObjectiveFailed, match="the disk is full") as failure:
            objective.evaluate(job)
        assert failure.value.retry
        assert failure.value.code == "disk_full"

    def test_close_stops_a_running_training(self, make_job: JobMaker) -> None:
        objective = objective_of(epochs=10_000)
        batches = threading.Semaphore(0)
        closer = threading.Thread(target=lambda: ([batches.acquire() for _ in range(3)], objective.close()))
        closer.start()
        started = time.monotonic()
        with pytest.raises(ObjectiveFailed) as failure:
            objective.evaluate(make_job(GOOD, yield_host=batches.release))
        closer.join()
        assert failure.value.code == "stopped"
        assert failure.value.retry
        assert time.monotonic() - started < 60

    def test_it_makes_way_before_every_batch(self, objective: TrainingObjective, make_job: JobMaker) -> None:
        calls: list[int] = []
        objective.evaluate(make_job(GOOD, yield_host=lambda: calls.append(1)))
        assert len(calls) >= len(objective.dataset.train) // 64 + 2


def test_mobilenetv3_learns(tmp_path: Path) -> None:
    space, network = MobileNetV3(), NetworkOptions((1, 32, 32, 1), 10, {"width": 0.25})
    objective = TrainingObjective(TrainingConfig(epochs=1, device="cpu"), space, network)
    result = objective.evaluate(AccuracyJob(0, space.architecture([0] * 25), network, 1, tmp_path))
    assert result.accuracy > 30


def test_images_are_scaled_to_the_architectures_resolution(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = tmp_path / "data.npz"
    np.savez(data, x=rng.integers(0, 256, (24, 16, 16), dtype=np.uint8), y=np.arange(24) % 2)
    space, network = MobileNetV3(resolutions=(32, 64)), NetworkOptions((1, 48, 48, 1), 2, {"width": 0.1})
    objective = TrainingObjective(TrainingConfig(dataset=data, epochs=1, device="cpu"), space, network)
    for choice, resolution in enumerate(space.resolutions):
        architecture = space.architecture([0] * 25 + [choice])
        result = objective.evaluate(AccuracyJob(0, architecture, network, 1, tmp_path))
        assert result.details["input_size"] == [resolution, resolution]


def test_residual_blocks_start_as_their_shortcuts() -> None:
    space, options = MobileNetV3(), NetworkOptions((1, 32, 32, 1), 10, {"width": 0.1})
    module = initialised(space.network(space.architecture([0] * 25), options), seed=0)
    start_residuals_at_zero(module)
    seen = {}
    for layer, part in zip(module.network.layers, module.layers, strict=True):
        part.register_forward_hook(lambda _part, inputs, output, name=layer.name: seen.update({name: (inputs, output)}))
    module(torch.randn(4, 1, 32, 32))
    sums = [seen[layer.name] for layer in module.network.layers if isinstance(layer, Add)]
    assert len(sums) == 6  # the first block and the second of each stage
    for (shortcut, branch), output in sums:
        assert not branch.any()
        assert (output == shortcut).all()


def test_wrong_data_is_told_at_construction(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        objective_of(dataset=str(tmp_path / "absent"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="device: got 'cuda'; allowed: auto or cpu"):
        objective_of(device="cuda")
    assert objective_of(device="auto")


def test_divergence_is_a_failure() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    train = Split(torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 10)
    config = TrainingConfig(learning_rate=100, epochs=100)
    with pytest.raises(ObjectiveFailed, match=r"diverged: the loss is (nan|inf)") as failure:
        fit(module, train, config, 0, lambda: None)
    assert failure.value.code == "diverged"
    assert not failure.value.retry


def test_settled_batch_norms_hold_the_statistics_of_the_training_images() -> None:
    module = nn.Sequential(nn.BatchNorm2d(1))
    images = 5 + 3 * torch.randn(300, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    train = Split(images, torch.zeros(300, dtype=torch.int64))
    calls: list[int] = []
    settle_batch_norms(module, train, 0, lambda: calls.append(1))
    (norm,) = module
    assert isinstance(norm, nn.BatchNorm2d)
    torch.testing.assert_close(norm.running_mean, images.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_var, images.var(dim=(0, 2, 3)), rtol=0.01, atol=0)
    assert len(calls) == 2
    assert norm.momentum == 0.1


def test_nesterov_is_torchs() -> None:
    def trained(step: Callable[[nn.Linear], Callable[[], object]]) -> torch.Tensor:
        layer = nn.Linear(3, 2)
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
        move = step(layer)
        for number in range(5):
            layer.zero_grad()
            layer(torch.tensor([1.0, 2.0, number])).square().sum().backward()
            move()
        return layer.weight.detach()

    def theirs(layer: nn.Linear) -> Callable[[], object]:
        groups = [{"params": [layer.weight]}, {"params": [layer.bias], "weight_decay": 0.0}]
        return torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1).step

    def ours(layer: nn.Linear) -> Callable[[], object]:
        return partial(Nesterov(list(layer.parameters()), 0.9, 0.1).step, 0.01)

    torch.testing.assert_close(trained(ours), trained(theirs))


def test_the_learning_rate_rises_and_falls() -> None:
    config = TrainingConfig(learning_rate=0.4)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert max(rates) == rates[9] == 0.4
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0 < rates[-1] < 0.001
    assert learning_rate(config, 0, 1) == 0.4


def test_shifts_move_each_image_by_its_own_amount() -> None:
    images = torch.zeros(200, 1, 8, 8)
    images[:, :, 4, 4] = 1
    moved = Augmentation(images, 0.25, flip=False)(torch.arange(200), torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    places = {tuple(place) for place in moved.nonzero()[:, 2:].tolist()}
    assert places == {(row, column) for row in range(2, 7) for column in range(2, 7)}
    still = Augmentation(images, 0.0, flip=False)(torch.arange(200), torch.Generator())
    assert torch.equal(still, images)


def test_flips_mirror_half_of_the_images() -> None:
    images = torch.zeros(200, 1, 4, 4)
    images[..., 0] = 1
    moved = Augmentation(images, 0.0, flip=True)(torch.arange(200), torch.Generator().manual_seed(0))
    assert set(moved[..., 0].unique().tolist()) == {0, 1}
    assert 70 < moved[:, 0, 0, 3].sum() < 130


def test_the_binomial_error_is_never_zero() -> None:
    assert binomial_error(180, 180) > 0.5
    assert binomial_error(90, 180) == pytest.approx(3.69, abs=0.01)
    assert binomial_error(90_000, 180_000) == pytest.approx(100 * math.sqrt(0.25 / 180_000), rel=1e-3)
