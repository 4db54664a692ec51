"""Meta-training: set encoder and process together, by what they predict of tasks from other tasks.

    L = - log p(skills of the targets | skills of the context),    targets and context: disjoint tasks

The likelihood of all tasks at once would do for the process, but an encoder learns to tell the tasks it has seen apart,
which it is never asked again: on unseen kinds of data sets it ranked worse than without looking. For the same reason
the targets are all tasks of one source, where sources are known: relatives in the context would give them away. Each
step draws other images of every class, other targets and another context.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.generate.training import Progress
from orchestrator.predict.transfer.predictor import ArchitectureFeatures, Knowledge, TransferPredictor, embed
from orchestrator.predict.transfer.process import Points, TaskKernel, negative_log_likelihood, to_skill
from orchestrator.predict.transfer.set_encoder import Bank, SetEncoder, draw_features, feature_bank
from orchestrator.predict.transfer.tasks import Task
from orchestrator.space.base import Space

_TARGETS = 4  # one task of so many is predicted from the others, where sources are unknown
_LENGTHS = 1e-3  # pull of length scales towards 1


@dataclass(frozen=True)
class TransferConfig:
    """How a transfer predictor is trained.

    Attributes:
        steps: Of Adam.
        learning_rate: Of the process's hyper-parameters; the encoder's is a fifth of it.
        weight_decay: Of the encoder.
        seed: All randomness derives from it.
        share: Of the tasks that a step sees.
        points: Evaluations that a step sees at most.
        embedding: `Z`.
        knows_datasets: Whether data sets are looked at; without, it is the predictor that all data sets share.
    """

    steps: int = 300
    learning_rate: float = 0.03
    weight_decay: float = 1e-2
    seed: int = 0
    share: float = 0.7
    points: int = 300
    embedding: int = 4
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
    torch.manual_seed(config.seed)  # of the layers' first weights
    rng = np.random.default_rng(config.seed)
    features = ArchitectureFeatures(space)
    encoder, kernel = SetEncoder(embedding=config.embedding), TaskKernel(features.count)
    banks = [feature_bank(task.images) for task in tasks]
    _standardise(encoder, banks, rng)
    if not config.knows_datasets:
        with torch.no_grad():
            kernel.amplitudes[1:3] = -30.0
    optimiser = torch.optim.AdamW(
        [
            {"params": encoder.parameters(), "lr": config.learning_rate / 5, "weight_decay": config.weight_decay},
            {"params": kernel.parameters(), "lr": config.learning_rate, "weight_decay": 0.0},
        ]
    )
    inputs = [features.of(task.slots) for task in tasks]
    skills = [to_skill(torch.from_numpy(task.accuracies).float(), task.images.classes) for task in tasks]
    for step in range(1, config.steps + 1):
        chosen = rng.permutation(len(tasks))[: max(2, math.ceil(config.share * len(tasks)))].tolist()
        points, observed = _draw(encoder, banks, inputs, skills, chosen, config, rng)
        targets = torch.isin(points.tasks, torch.tensor(_targets([tasks[number].source for number in chosen], chosen)))
        loss = _predictive_loss(kernel, points, observed, targets) + _LENGTHS * kernel.lengths.square().mean()
        optimiser.zero_grad()
        loss.backward()
        if not config.knows_datasets and kernel.amplitudes.grad is not None:
            kernel.amplitudes.grad[1:3] = 0.0
        nn.utils.clip_grad_norm_([*encoder.parameters(), *kernel.parameters()], 1.0)
        optimiser.step()
        progress(Progress(step, loss.item(), time.perf_counter() - started, time.process_time() - cpu_started))
        if stop():
            break
    return TransferPredictor(space, encoder, kernel, _knowledge(encoder, tasks, banks))


def _targets(sources: Sequence[str], chosen: Sequence[int]) -> list[int]:
    """Which of the chosen tasks are predicted from the others; the first is one of them."""
    if sources[0] and len(set(sources)) > 1:
        return [task for task, source in zip(chosen, sources, strict=True) if source == sources[0]]
    return list(chosen[: max(1, len(chosen) // _TARGETS)])


def _predictive_loss(kernel: TaskKernel, points: Points, skills: Tensor, targets: Tensor) -> Tensor:
    """- log p(targets | the rest), per target; (`N`,) boolean `targets`. From p(all) = p(rest) p(targets | rest)."""
    rest = points.where(~targets)
    joint = len(points) * negative_log_likelihood(kernel, points, skills)
    return (joint - len(rest) * negative_log_likelihood(kernel, rest, skills[~targets])) / targets.sum()


def _standardise(encoder: SetEncoder, banks: Sequence[Bank], rng: np.random.Generator) -> None:
    """Sets the scale of image features from the tasks, each as important as the others."""
    drawn = torch.cat([draw_features(bank, rng).flatten(0, 1)[:100] for bank in banks])
    encoder.centre.copy_(drawn.mean(0))
    encoder.scale.copy_(drawn.std(0).clamp_min(1e-3))


def _draw(
    encoder: SetEncoder,
    banks: Sequence[Bank],
    inputs: Sequence[Tensor],
    skills: Sequence[Tensor],
    chosen: Sequence[int],
    config: TransferConfig,
    rng: np.random.Generator,
) -> tuple[Points, Tensor]:
    """Evaluations of some tasks, each task embedded by a fresh draw of its images."""
    share = min(1.0, config.points / sum(len(skills[task]) for task in chosen))
    numbers, embeddings, features, targets = [], [], [], []
    for number in chosen:
        kept = torch.from_numpy(rng.permutation(len(skills[number]))[: max(2, round(share * len(skills[number])))])
        embedding = encoder(draw_features(banks[number], rng))
        numbers.append(torch.full((len(kept),), number))
        embeddings.append(embedding.expand(len(kept), -1))
        features.append(inputs[number][kept])
        targets.append(skills[number][kept])
    return Points(torch.cat(numbers), torch.cat(embeddings), torch.cat(features)), torch.cat(targets)


def _knowledge(encoder: SetEncoder, tasks: Sequence[Task], banks: Sequence[Bank]) -> Knowledge:
    return Knowledge(
        names=tuple(task.name for task in tasks),
        embeddings=torch.stack([embed(encoder, bank) for bank in banks]),
        classes=tuple(task.images.classes for task in tasks),
        tasks=torch.cat([torch.full((len(task.slots),), number) for number, task in enumerate(tasks)]),
        slots=np.concatenate([task.slots for task in tasks]),
        accuracies=torch.cat([torch.from_numpy(task.accuracies).float() for task in tasks]),
    )
