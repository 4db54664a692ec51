"""How well a predictor ranks architectures on tasks that it was not trained on, by how many it was told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from orchestrator.predict.transfer.predictor import TransferPredictor
from orchestrator.predict.transfer.tasks import Task

EVALUATED = (0, 1, 5, 10)
_FEWEST = 5  # architectures that a rank correlation is taken over


def try_on(
    predictor: TransferPredictor, tasks: Sequence[Task], *, evaluated: Sequence[int] = EVALUATED, seed: int = 0
) -> dict[int, float]:
    """Evaluated architectures -> Spearman's rank correlation over the others, the mean over tasks.

    Args:
        predictor: Trained on other tasks.
        tasks: Each with more architectures than the most evaluated.
        evaluated: How many accuracies of the task the predictor is told.
        seed: Chooses which.
    """
    found: dict[int, list[float]] = {count: [] for count in evaluated}
    for task in tasks:
        on = predictor.on(task.images)
        order = np.random.default_rng(seed).permutation(len(task.slots))
        for count in evaluated:
            told, rest = order[:count], order[count:]
            if len(rest) < _FEWEST or np.ptp(task.accuracies[rest]) == 0:
                continue
            knowing = on.given(task.slots[told], task.accuracies[told]) if count else on
            predicted = knowing.of(task.slots[rest])
            # A predictor that tells no two architectures apart has no rank correlation; it has learned nothing.
            found[count].append(
                float(spearmanr(predicted, task.accuracies[rest]).statistic) if np.ptp(predicted) > 0 else 0.0
            )
    return {count: float(np.mean(values)) for count, values in found.items() if values}
