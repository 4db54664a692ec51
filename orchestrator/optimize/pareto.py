"""Pareto fronts and the hypervolume that they dominate; every coordinate is better when larger."""

from __future__ import annotations

import numpy as np

from orchestrator.space.base import BoolArray, FloatArray


def pareto_mask(points: FloatArray) -> BoolArray:
    """(`N`,): which of (`N`, `M`) points no other point dominates. Of equal points, all or none are on the front.

    Points are taken by falling first coordinate, ties by the next: only points before it can dominate a point, and of
    those it suffices to ask the ones that nothing dominates. Time and memory grow with the front, not with `N` squared.
    """
    different, which = np.unique(points, axis=0, return_inverse=True)  # sorted upwards
    kept = np.zeros(len(different), dtype=bool)
    if points.shape[1] == 2:  # the second coordinate must exceed all those before it
        second = different[::-1, 1]
        before = np.maximum.accumulate(np.concatenate([[-np.inf], second[:-1]]))[: len(second)]
        kept[::-1] = second > before
        return np.asarray(kept[which.reshape(-1)])
    front = np.empty_like(different)
    size = 0
    for row in range(len(different) - 1, -1, -1):
        point = different[row]
        if not (front[:size] >= point).all(axis=1).any():
            kept[row] = True
            front[size] = point
            size += 1
    return np.asarray(kept[which.reshape(-1)])


def hypervolume(points: FloatArray, reference: FloatArray) -> float:
    """Volume dominated by (`N`, `M`) points above the (`M`,) reference point; 0 where nothing exceeds it.

    Exact: by sorting for two objectives, by BoTorch's box decomposition for more.
    """
    above = points[(points > reference).all(axis=1)]
    if len(above) == 0:
        return 0.0
    if points.shape[1] == 1:
        return float(above.max() - reference[0])
    if points.shape[1] > 2:
        import torch
        from botorch.utils.multi_objective.hypervolume import Hypervolume

        front = torch.as_tensor(above[pareto_mask(above)], dtype=torch.float64)
        return float(Hypervolume(torch.as_tensor(reference, dtype=torch.float64)).compute(front))
    order = np.lexsort((-above[:, 1], -above[:, 0]))  # from the largest first coordinate downwards
    first, second = above[order].T
    ceiling = np.maximum.accumulate(second)
    gained = np.diff(ceiling, prepend=reference[1])  # what each point adds on top of those to its right
    return float(((first - reference[0]) * gained).sum())
