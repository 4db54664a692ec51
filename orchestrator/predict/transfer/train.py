"""Meta-training: the process's hyper-parameters, by what it predicts of tasks from tasks of other sources.

    L = - sum over sources of log p(skills on the source's tasks | skills on all other tasks)

The likelihood of all tasks at once would do for a process that is right; this one is asked for data sets of kinds that
it has not seen, so that is what it is trained for: how much data sets that look alike tell of one another is learned
from kinds left out. Where looking does not help there, its amplitude shrinks and the predictor is the one without.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from orchestrator.generate.training import Progress
from orchestrator.predict.transfer.descriptors import DESCRIPTORS, describe
from orchestrator.predict.transfer.predictor import ArchitectureFeatures, Knowledge, TransferPredictor
from orchestrator.predict.transfer.process import Points, TaskKernel, left_out_loss, to_skill
from orchestrator.predict.transfer.tasks import Task
from orchestrator.space.base import Space

_PULL = 1e-3  # of length scales and of the scales of descriptors, towards 1
_LOOKING = slice(1, 3)  # amplitudes of what data sets alike have in common
_NEVER = -30.0  # log amplitude of what is left out


@dataclass(frozen=True)
class TransferConfig:
    """How a transfer predictor is trained.

    Attributes:
        steps: Of Adam.
        learning_rate: Of all hyper-parameters.
        seed: Of the evaluations that a step sees.
        points: How many those are, of all tasks together.
        knows_datasets: Whether data sets are looked at; without, it is the predictor that all data sets share.
    """

    steps: int = 60
    learning_rate: float = 0.05
    seed: int = 0
    points: int = 250
    knows_datasets: bool = True


def train_transfer(
    space: Space,
    tasks: Sequence[Task],
    config: TransferConfig,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> TransferPredictor:
    """Train a predictor on tasks.

    Args:
        space: What architectures are from.
        tasks: Two or more.
        config: How.
        progress: Told after every step.
        stop: Asked after every step; once true, training ends early and the predictor is what it is.
    """
    started, cpu_started = time.perf_counter(), time.process_time()
    rng = np.random.default_rng(config.seed)
    knowledge = _knowledge(tasks)
    kernel = TaskKernel((features := ArchitectureFeatures(space)).count, len(DESCRIPTORS))
    kernel.standardise(knowledge.descriptors)
    if not config.knows_datasets:
        with torch.no_grad():
            kernel.amplitudes[_LOOKING] = _NEVER
    points = Points(knowledge.tasks, knowledge.descriptors[knowledge.tasks], features.of(knowledge.slots))
    classes = torch.tensor(knowledge.classes)[knowledge.tasks]
    skills = to_skill(knowledge.accuracies, classes)
    groups = torch.from_numpy(_groups(tasks))[knowledge.tasks]
    optimiser = torch.optim.Adam(kernel.parameters(), lr=config.learning_rate)
    for step in range(1, config.steps + 1):
        seen = torch.from_numpy(np.sort(rng.permutation(len(points))[: config.points]))
        loss = left_out_loss(kernel, points.where(seen), skills[seen], groups[seen])
        pull = kernel.lengths.square().mean() + kernel.scales.square().mean()
        optimiser.zero_grad()
        (loss + _PULL * pull).backward()
        if not config.knows_datasets and kernel.amplitudes.grad is not None:
            kernel.amplitudes.grad[_LOOKING] = 0.0
        optimiser.step()
        progress(Progress(step, loss.item(), time.perf_counter() - started, time.process_time() - cpu_started))
        if stop():
            break
    return TransferPredictor(space, kernel, knowledge)


def _groups(tasks: Sequence[Task]) -> np.ndarray:
    """(tasks,) which are predicted together: those of one source, or, where sources tell nothing, each alone."""
    sources = [task.source or f"task {number}" for number, task in enumerate(tasks)]
    if len(set(sources)) < 2:
        return np.arange(len(tasks))
    return np.unique(sources, return_inverse=True)[1]


def _knowledge(tasks: Sequence[Task]) -> Knowledge:
    return Knowledge(
        names=tuple(task.name for task in tasks),
        descriptors=torch.stack([describe(task.images) for task in tasks]),
        classes=tuple(task.images.classes for task in tasks),
        tasks=torch.cat([torch.full((len(task.slots),), number) for number, task in enumerate(tasks)]),
        slots=np.concatenate([task.slots for task in tasks]),
        accuracies=torch.cat([torch.from_numpy(task.accuracies) for task in tasks]),
    )
