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
from orchestrator.predict.transfer.descriptors import DESCRIPTORS, DESCRIPTORS_VERSION, describe
from orchestrator.predict.transfer.process import Points, Posterior, TaskKernel, to_accuracy, to_skill
from orchestrator.predict.transfer.tasks import LabelledImages
from orchestrator.space.base import FloatArray, IntArray, Space, one_hot

FORMAT = "devicenag-transfer/2"
_NEW = -1  # number of a data set that is none of those trained on
_SAMPLE = 300  # architectures that stand for the space where doubt is summed up
_LEAST_DOUBT = 0.005  # skill
_RETRAIN = "train one with: nag train accuracy"


@dataclass(frozen=True)
class Knowledge:
    """What a predictor was trained on.

    Attributes:
        names: Of the tasks.
        descriptors: (tasks, `Z`) of the images.
        classes: Of each task.
        tasks: (`N`,) which task each evaluation belongs to.
        slots: (`N`, `S`) architectures.
        accuracies: (`N`,) percent.
    """

    names: tuple[str, ...]
    descriptors: Tensor
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
        """(`B`, `F`) of (`B`, `S`, `V`) relaxed architectures."""
        return (self._encoding.accuracy(slots.double()) - self._mean) / self._scale

    def of(self, slots: IntArray) -> Tensor:
        """(`B`, `F`) of (`B`, `S`) architectures."""
        return self.relaxed(self._relaxed(slots))

    def _relaxed(self, slots: IntArray) -> Tensor:
        return torch.from_numpy(one_hot(slots, self._width))


class TransferPredictor:
    """A trained process and what it was trained on; `on` a data set it becomes a predictor of accuracy there."""

    def __init__(self, space: Space, kernel: TaskKernel, knowledge: Knowledge) -> None:
        """Args:
        space: What architectures are from.
        kernel: Trained.
        knowledge: The evaluations it answers from.
        """
        self.space, self.knowledge = space, knowledge
        self.kernel = kernel.eval().requires_grad_(False)
        self.features = ArchitectureFeatures(space)

    def on(self, images: LabelledImages) -> DatasetAccuracy:
        """The predictor for a data set, before anything was evaluated on it; a few images of each class are enough."""
        return DatasetAccuracy(self, describe(images), images.classes, self._posterior)

    @cached_property
    def _posterior(self) -> Posterior:
        known = self.knowledge
        points = Points(known.tasks, known.descriptors[known.tasks], self.features.of(known.slots))
        skills = to_skill(known.accuracies, torch.tensor(known.classes)[known.tasks])
        return Posterior(self.kernel, points, skills, torch.zeros_like(skills))

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        """Write a checkpoint. Raises CheckpointError."""
        known = self.knowledge
        tensors = {f"kernel.{name}": value for name, value in self.kernel.state_dict().items()}
        tensors |= {"descriptors": known.descriptors, "tasks": known.tasks, "accuracies": known.accuracies}
        tensors["slots"] = torch.from_numpy(known.slots)
        header = {
            "format": FORMAT,
            "space": self.space.name,
            "choices": [list(choices) for choices in self.space.choices],
            "descriptors": list(DESCRIPTORS),
            "descriptors_version": DESCRIPTORS_VERSION,
            "architecture_features": self.features.count,
            "names": list(known.names),
            "classes": list(known.classes),
            "provenance": provenance,
        }
        write_tensors(path, tensors, header)

    @classmethod
    def load(cls, path: Path, space: Space) -> Self:
        """Read a checkpoint. Raises CheckpointError."""
        noun = "predictor of accuracy across data sets"
        tensors, header = read_model(path, space, format=FORMAT, noun=noun, retrain=_RETRAIN)
        if (header.get("descriptors"), header.get("descriptors_version")) != (list(DESCRIPTORS), DESCRIPTORS_VERSION):
            raise CheckpointError(f"{path} was trained when images were looked at in another way", _RETRAIN)
        try:
            kernel = TaskKernel(int(header["architecture_features"]), len(DESCRIPTORS))
            kernel.load_state_dict(_below("kernel.", tensors))
            knowledge = Knowledge(
                tuple(map(str, header["names"])), tensors["descriptors"], tuple(map(int, header["classes"])),
                tensors["tasks"], tensors["slots"].numpy(), tensors["accuracies"],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} is corrupt: {error}", _RETRAIN) from error
        predictor = cls(space, kernel, knowledge)
        if predictor.features.count != header["architecture_features"]:
            raise CheckpointError(f"{path} was trained when {space.name} had other features", _RETRAIN)
        return predictor


class DatasetAccuracy:
    """Accuracy on one data set, in percent: a differentiable utility, with its uncertainty."""

    differentiable = True

    def __init__(self, predictor: TransferPredictor, descriptors: Tensor, classes: int, posterior: Posterior) -> None:
        """Use `TransferPredictor.on` instead."""
        self._predictor, self._descriptors, self._classes = predictor, descriptors, classes
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
            percent * math.sqrt(float(self._predictor.kernel.noise_variance())),
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
        skills = to_skill(torch.as_tensor(np.asarray(accuracies), dtype=torch.float64), self._classes)
        variances = torch.zeros_like(skills)
        if standard_errors is not None:
            chance = 100 / self._classes
            variances = torch.as_tensor(np.nan_to_num(standard_errors) / (100 - chance)).square()
        points = self._points(self._predictor.features.of(slots))
        return DatasetAccuracy(
            self._predictor, self._descriptors, self._classes, self._posterior.conditioned(points, skills, variances)
        )

    def _points(self, features: Tensor) -> Points:
        count = len(features)
        return Points(torch.full((count,), _NEW), self._descriptors.expand(count, -1), features)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
