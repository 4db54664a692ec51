"""TrainingObjective: trains each candidate's network and returns its validation accuracy and its weights."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy, pad

from orchestrator.errors import ConfigError, ObjectiveFailed, Problem
from orchestrator.objective.base import AccuracyJob, AccuracyResult
from orchestrator.objective.config import TrainingConfig
from orchestrator.objective.dataset import Dataset, Split, load_dataset
from orchestrator.objective.failures import stopped, unwritable
from orchestrator.objective.initialise import initialised, start_residuals_at_zero
from orchestrator.objective.torch_network import fold
from orchestrator.space.base import NetworkOptions, Space
from profiling.weights import save_weights

WEIGHTS_FILE = "weights.safetensors"

_WARMUP = 0.1  # share of the steps in which the learning rate rises: high rates from the start diverge
_SETTLING_IMAGES = 2048
_EVALUATION_BATCH = 128  # a second or so at most between two calls of yield_host


class TrainingObjective:
    """SGD with Nesterov momentum and a cosine schedule on the data set that the config names.

    The accuracy is that of the validation images, the same for every candidate; its standard error is binomial and so
    says how well the images, but not how well one training, stand for the truth.
    """

    name = "training"
    uses_host = True

    def __init__(self, config: TrainingConfig, space: Space, network: NetworkOptions) -> None:
        """Args:
        config: Data set and recipe.
        space: Whose architectures are trained.
        network: Input shape and classes that the data set is brought to. Where architectures have resolutions of
            their own, its images are scaled once more.

        Raises:
            ConfigError: CUDA was asked for and is not there.
            DataError: The data set cannot be used.
        """
        if config.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("accuracy", [Problem("device", "cuda", "auto or cpu (torch finds no CUDA here)")])
        self._config = config
        self._space = space
        self._device = torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")
        self._closed = threading.Event()
        self._dataset = load_dataset(
            str(config.dataset),
            network.input_shape,
            network.classes,
            seed=config.split_seed,
            validation=config.validation,
            test=config.test,
        )

    @property
    def dataset(self) -> Dataset:
        """What is trained on; its `mean` and `std` are needed to use the network."""
        return self._dataset

    def evaluate(self, job: AccuracyJob) -> AccuracyResult:
        """Train from scratch and evaluate; the folded weights go to `weights.safetensors` in the job's folder.

        Raises:
            ObjectiveFailed: The training diverged, the disk is full, or `close` was called.
        """
        started = time.monotonic()
        torch.set_num_threads(self._config.threads)  # a setting of the calling thread

        def between_batches() -> None:
            job.yield_host()
            if self._closed.is_set():
                raise stopped()

        between_batches()
        network = self._space.network(job.architecture, job.network)
        module = initialised(network, job.seed)
        start_residuals_at_zero(module)
        module.to(self._device)
        _, height, width, _ = network.input_shape
        train, validation, test = (
            part.at((height, width)).to(self._device)
            for part in (self._dataset.train, self._dataset.validation, self._dataset.test)
        )
        loss = fit(module, train, self._config, job.seed, between_batches)
        settle_batch_norms(module, train, job.seed, between_batches)
        score = evaluate(module, validation, between_batches)
        test_score = evaluate(module, test, between_batches)
        weights = job.folder / WEIGHTS_FILE
        try:
            job.folder.mkdir(parents=True, exist_ok=True)
            save_weights(weights, fold(module))
        except OSError as error:
            raise unwritable(weights, error) from error
        return AccuracyResult(
            accuracy=score.accuracy,
            standard_error=score.standard_error,
            seconds=time.monotonic() - started,
            weights=weights,
            details={
                "epochs": self._config.epochs,
                "train_loss": loss,
                "validation_loss": score.loss,
                "test_accuracy": test_score.accuracy,
                "test_standard_error": test_score.standard_error,
                "dataset": self._dataset.name,
                "dataset_sha256": self._dataset.fingerprint,
                "input_size": [height, width],
                "input_mean": self._dataset.mean,
                "input_std": self._dataset.std,
                "device": self._device.type,
            },
        )

    def close(self) -> None:
        """A running training ends before its next batch."""
        self._closed.set()


def fit(
    module: nn.Module, train: Split, config: TrainingConfig, seed: int, between_batches: Callable[[], None]
) -> float:
    """Train in place; returns the mean loss of the last epoch.

    Raises:
        ObjectiveFailed: The loss is no longer finite.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = Nesterov(list(module.parameters()), config.momentum, config.weight_decay)
    augment = Augmentation(train.images, config.shift, flip=config.flip)
    batch = min(config.batch, len(train))
    steps = len(train) // batch  # batch-norm dislikes the small rest; every epoch leaves out another one
    losses: list[float] = []
    module.train()
    for epoch in range(config.epochs):
        order = torch.randperm(len(train), generator=generator)
        losses = []
        for step in range(steps):
            between_batches()
            rows = order[step * batch : (step + 1) * batch]
            images = augment(rows, generator)
            labels = train.labels[rows.to(train.labels.device)]
            loss = cross_entropy(module(images), labels, label_smoothing=config.label_smoothing)
            loss.backward()
            optimizer.step(learning_rate(config, epoch * steps + step, config.epochs * steps))
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise ObjectiveFailed(
                    f"training diverged: the loss is {losses[-1]} at step {step + 1} of epoch {epoch + 1}",
                    "a lower accuracy.learning_rate is more stable",
                    code="diverged",
                )
    return sum(losses) / len(losses)


@torch.no_grad()
def settle_batch_norms(module: nn.Module, train: Split, seed: int, between_batches: Callable[[], None]) -> None:
    """Replace the running statistics of batch-norms by means over training images, all with the final weights.

    Wu & Johnson, arXiv 2105.07576, section 3. Running statistics lag some dozens of steps behind the weights, which
    ruins the evaluation of a training that had hardly more.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # equal weights
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:_SETTLING_IMAGES]
    module.train()
    for rows in order.chunk(max(1, len(order) // _EVALUATION_BATCH)):
        between_batches()
        module(train.images[rows.to(train.images.device)])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """Linear warm-up, then a half cosine to zero (Loshchilov & Hutter, ICLR 2017, eq. 5 without restarts)."""
    warmup = max(1, round(_WARMUP * steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup + 1) / (steps - warmup + 1)))


class Nesterov:
    """SGD with Nesterov momentum (Sutskever et al., ICML 2013) and weight decay, as `torch.optim.SGD` computes it.

    Spelled out because constructing any of torch's optimisers imports its compiler, which takes seconds.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], momentum: float, weight_decay: float) -> None:
        """Args:
        parameters: What is trained; of these, tensors of one axis (batch-norm, biases) do not decay.
        momentum: Share of the velocity that is kept.
        weight_decay: Share of a weight that is added to its gradient.
        """
        self._parameters = [(parameter, torch.zeros_like(parameter)) for parameter in parameters]
        self._momentum = momentum
        self._weight_decay = weight_decay

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Move by the gradients, and forget them."""
        for parameter, velocity in self._parameters:
            gradient = parameter.grad
            if gradient is None:
                continue
            if parameter.ndim > 1:
                gradient.add_(parameter, alpha=self._weight_decay)
            velocity.mul_(self._momentum).add_(gradient)
            parameter.sub_(gradient.add_(velocity, alpha=self._momentum), alpha=learning_rate)
            parameter.grad = None


class Augmentation:
    """Random shifts of each image, the border repeated, and random mirroring."""

    def __init__(self, images: torch.Tensor, shift: float, *, flip: bool) -> None:
        """Args:
        images: (N, C, H, W).
        shift: Greatest shift as a share of height and width.
        flip: Whether to mirror half of the images.
        """
        _, _, height, width = images.shape
        self._reach = round(shift * height), round(shift * width)
        rows, columns = self._reach
        padded = pad(images, (columns, columns, rows, rows), mode="replicate")
        # (N, C, row shifts, column shifts, H, W), a view: one gather then shifts every image by its own amount
        self._windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        self._flip = flip

    def __call__(self, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(B, C, H, W) images of these rows, each with a shift of its own."""
        down, right = (torch.randint(0, 2 * reach + 1, (len(rows),), generator=generator) for reach in self._reach)
        device = self._windows.device
        images = self._windows[rows.to(device), :, down.to(device), right.to(device)]
        if self._flip:
            mirrored = (torch.rand(len(rows), generator=generator) < 0.5).to(device)
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        return images.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Score:
    """How well a network does on a split.

    Attributes:
        accuracy: Percent.
        standard_error: Of the accuracy, binomial, in percent.
        loss: Mean cross-entropy.
    """

    accuracy: float
    standard_error: float
    loss: float


@torch.no_grad()
def evaluate(module: nn.Module, split: Split, between_batches: Callable[[], None]) -> Score:
    """Accuracy and loss in evaluation mode."""
    module.eval()
    correct, loss = 0, 0.0
    for images, labels in zip(
        split.images.split(_EVALUATION_BATCH), split.labels.split(_EVALUATION_BATCH), strict=True
    ):
        between_batches()
        logits = module(images)
        correct += int((logits.argmax(1) == labels).sum())
        loss += cross_entropy(logits, labels, reduction="sum").item()
    return Score(100 * correct / len(split), binomial_error(correct, len(split)), loss / len(split))


def binomial_error(correct: int, count: int) -> float:
    """Standard error of an accuracy in percent, never 0: two failures and successes are added.

    "Plus four" of Agresti & Coull (The American Statistician 1998): 100 % of 180 images is not certainty.
    """
    share = (correct + 2) / (count + 4)
    return 100 * math.sqrt(share * (1 - share) / (count + 4))
