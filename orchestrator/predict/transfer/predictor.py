"""TransferPredictor: accuracy of an architecture on a data set that nothing was trained on yet.

DiffusionNAG's transferable predictor (An et al., ICLR 2024) with two differences: it says how sure it is, and what is
evaluated on the new data set conditions it at once, without fine-tuning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import CheckpointError
from orchestrator.generate.pool import width
from orchestrator.generate.tensor_file import read_model, write_tensors
from orchestrator.predict.accuracy_belief import AccuracyBelief
from orchestrator.predict.transfer.image_features import FEATURES_VERSION
from orchestrator.predict.transfer.process import Points, Posterior, TaskKernel, to_accuracy, to_skill
from orchestrator.predict.transfer.set_encoder import Bank, SetEncoder, draw_features, feature_bank
from orchestrator.predict.transfer.tasks import LabelledImages
from orchestrator.space.base import FloatArray, IntArray, Space, one_hot

FORMAT = "devicenag-transfer/1"
_NEW = -1  # number of a data set that is none of those trained on
_DRAWS = 5  # of images that an embedding is the mean of
_SAMPLE = 300  # architectures that stand for the space where doubt is summed up
_LEAST_DOUBT = 0.005  # skill
_RETRAIN = "train one with: nag train accuracy"


@dataclass(frozen=True)
class Knowledge:
    """What a predictor was trained on, embedded.

    Attributes:
        names: Of the tasks.
        embeddings: (tasks, `Z`).
        classes: Of each task.
        tasks: (`N`,) which task each evaluation belongs to.
        slots: (`N`, `S`) architectures.
        accuracies: (`N`,) percent.
    """

    names: tuple[str, ...]
    embeddings: Tensor
    classes: tuple[int, ...]
    tasks: Tensor
    slots: IntArray
    accuracies: Tensor


class ArchitectureFeatures:
    """The space's accuracy features, standardised over it."""

    def __init__(self, space: Space, *, sample: int = 2000) -> None:
        """Args:
        space: Whose encoding is used.
        sample: Architectures that the scale is taken from; always the same.
        """
        self._encoding, self._width = space.encoding(), width(space)
        drawn = self._encoding.accuracy(self._relaxed(space.sample(sample, np.random.default_rng(0))))
        self._mean, spread = drawn.mean(0), drawn.std(0)
        self._scale = torch.where(spread > 1e-9, spread, 1.0)

    @property
    def count(self) -> int:
        """`F`."""
        return len(self._mean)

    def relaxed(self, slots: Tensor) -> Tensor:
        """(`B`, `F`) of (`B`, `S`, `V`) relaxed architectures, single precision."""
        return ((self._encoding.accuracy(slots.double()) - self._mean) / self._scale).float()

    def of(self, slots: IntArray) -> Tensor:
        """(`B`, `F`) of (`B`, `S`) architectures."""
        return self.relaxed(self._relaxed(slots))

    def _relaxed(self, slots: IntArray) -> Tensor:
        return torch.from_numpy(one_hot(slots, self._width))


class TransferPredictor:
    """A trained set encoder and process; `on` a data set it becomes a predictor of accuracy there."""

    def __init__(self, space: Space, encoder: SetEncoder, kernel: TaskKernel, knowledge: Knowledge) -> None:
        """Args:
        space: What architectures are from.
        encoder: Trained.
        kernel: Trained.
        knowledge: The evaluations it answers from.
        """
        self.space, self.knowledge = space, knowledge
        self.encoder, self.kernel = encoder.eval().requires_grad_(False), kernel.eval().requires_grad_(False)
        self.features = ArchitectureFeatures(space)

    def on(self, images: LabelledImages, *, seed: int = 0) -> DatasetAccuracy:
        """The predictor for a data set, before anything was evaluated on it; a few images of each class are enough."""
        embedding = embed(self.encoder, feature_bank(images), seed)
        return DatasetAccuracy(self, embedding, images.classes, self._posterior)

    @cached_property
    def _posterior(self) -> Posterior:
        known = self.knowledge
        points = Points(known.tasks, known.embeddings[known.tasks], self.features.of(known.slots))
        classes = torch.tensor(known.classes)[known.tasks]
        chance = 100 / classes
        skills = (known.accuracies - chance) / (100 - chance)
        return Posterior(self.kernel, points, skills.float(), torch.zeros(len(points)))

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        """Write a checkpoint. Raises CheckpointError."""
        known = self.knowledge
        tensors = {f"encoder.{name}": value for name, value in self.encoder.state_dict().items()}
        tensors |= {f"kernel.{name}": value for name, value in self.kernel.state_dict().items()}
        tensors |= {"embeddings": known.embeddings, "tasks": known.tasks, "accuracies": known.accuracies}
        tensors["slots"] = torch.from_numpy(known.slots)
        header = {
            "format": FORMAT,
            "space": self.space.name,
            "choices": [list(choices) for choices in self.space.choices],
            "features_version": FEATURES_VERSION,
            "architecture_features": self.features.count,
            "names": list(known.names),
            "classes": list(known.classes),
            "embedding": known.embeddings.shape[1],
            "provenance": provenance,
        }
        write_tensors(path, tensors, header)

    @classmethod
    def load(cls, path: Path, space: Space) -> Self:
        """Read a checkpoint. Raises CheckpointError."""
        noun = "predictor of accuracy across data sets"
        tensors, header = read_model(path, space, format=FORMAT, noun=noun, retrain=_RETRAIN)
        if header.get("features_version") != FEATURES_VERSION:
            raise CheckpointError(f"{path} was trained when images were looked at in another way", _RETRAIN)
        try:
            encoder = SetEncoder(embedding=int(header["embedding"]))
            encoder.load_state_dict(_below("encoder.", tensors))
            kernel = TaskKernel(int(header["architecture_features"]))
            kernel.load_state_dict(_below("kernel.", tensors))
            knowledge = Knowledge(
                tuple(map(str, header["names"])), tensors["embeddings"], tuple(map(int, header["classes"])),
                tensors["tasks"], tensors["slots"].numpy(), tensors["accuracies"],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} is corrupt: {error}", _RETRAIN) from error
        predictor = cls(space, encoder, kernel, knowledge)
        if predictor.features.count != header["architecture_features"]:
            raise CheckpointError(f"{path} was trained when {space.name} had other features", _RETRAIN)
        return predictor


class DatasetAccuracy:
    """Accuracy on one data set, in percent: a differentiable utility, with its uncertainty."""

    differentiable = True

    def __init__(self, predictor: TransferPredictor, embedding: Tensor, classes: int, posterior: Posterior) -> None:
        """Use `TransferPredictor.on` instead."""
        self._predictor, self._embedding, self._classes = predictor, embedding, classes
        self._posterior = posterior

    def __call__(self, slots: Tensor) -> Tensor:
        """(`B`,) expected percent, of (`B`, `S`, `V`) relaxed architectures."""
        return self._mean(slots)

    def marginal(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """(`B`,) mean in percent and variance, of (`B`, `S`, `V`) relaxed architectures."""
        mean, variance = self._posterior(self._points(self._predictor.features.relaxed(slots)))
        scale = to_accuracy(torch.tensor(1.0), self._classes) - to_accuracy(torch.tensor(0.0), self._classes)
        return to_accuracy(mean, self._classes).to(slots.dtype), (variance * scale**2).to(slots.dtype)

    def of(self, slots: IntArray) -> FloatArray:
        """(`B`,) expected percent, of (`B`, `S`) architectures."""
        with torch.no_grad():
            mean = self._posterior.mean(self._points(self._predictor.features.of(slots)))
            return np.asarray(to_accuracy(mean, self._classes).double().numpy())

    def belief(self) -> AccuracyBelief:
        """What a campaign on this data set begins with.

        How hard the data set is for all architectures alike is left out of the doubt: that, the first trainings say.
        """
        drawn = self._predictor.space.sample(_SAMPLE, np.random.default_rng(0))
        with torch.no_grad():
            _, covariance = self._posterior.joint(self._points(self._predictor.features.of(drawn)))
        percent = 100 - 100 / self._classes  # of one unit of skill
        apart = covariance.diagonal().mean() - covariance.mean()
        return AccuracyBelief(
            self._mean, percent * math.sqrt(float(apart.clamp_min(_LEAST_DOUBT**2))),
            percent * math.exp(0.5 * float(self._predictor.kernel.noise)),
        )  # fmt: skip

    def _mean(self, slots: Tensor) -> Tensor:
        """(...) expected percent, of (..., `S`, `V`) relaxed architectures."""
        flat = slots.reshape(-1, *slots.shape[-2:])
        mean = self._posterior.mean(self._points(self._predictor.features.relaxed(flat)))
        return to_accuracy(mean, self._classes).to(slots.dtype).reshape(slots.shape[:-2])

    def given(
        self, slots: IntArray, accuracies: Sequence[float] | FloatArray, standard_errors: FloatArray | None = None
    ) -> DatasetAccuracy:
        """The same, knowing accuracies on this data set.

        Args:
            slots: (`N`, `S`) evaluated architectures.
            accuracies: (`N`,) percent.
            standard_errors: (`N`,) percent; None where unknown.
        """
        skills = to_skill(torch.as_tensor(np.asarray(accuracies), dtype=torch.float32), self._classes)
        variances = torch.zeros(len(skills))
        if standard_errors is not None:
            chance = 100 / self._classes
            variances = torch.as_tensor(np.nan_to_num(standard_errors) / (100 - chance)).float().square()
        points = self._points(self._predictor.features.of(slots))
        return DatasetAccuracy(
            self._predictor, self._embedding, self._classes, self._posterior.conditioned(points, skills, variances)
        )

    def _points(self, features: Tensor) -> Points:
        count = len(features)
        return Points(torch.full((count,), _NEW), self._embedding.expand(count, -1), features)


def embed(encoder: SetEncoder, bank: Bank, seed: int = 0) -> Tensor:
    """(`Z`,): the mean embedding over several draws of images."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        return torch.stack([encoder(draw_features(bank, rng)) for _ in range(_DRAWS)]).mean(0)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
