"""The smooth oracle: how far a search gets that knows from the start all that a table can teach.

Accuracy and latency of each architecture are predicted by a Gaussian process fitted on the rest of the *full* table
(out of fold, isomorphic architectures in one fold). What it leaves is the architecture's own luck, which no search can
know before looking; the oracle looks where the improvement that it expects is largest: of the hypervolume, or of the
accuracy within a budget. The distance from its curve to 1 is the table's noise, not the search's failure.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from yardstick import Yardstick

from orchestrator.generate.pool import width
from orchestrator.optimize.acquisition import log_expected_improvement, log_feasibility, undominated
from orchestrator.space.base import FloatArray, IntArray, Space, one_hot

_FOLDS = 3
_FITTED_ON = 2500  # architectures outside of a fold; more hardly helps
_SHORTLIST = 500  # of a batch
# Hyper-parameters at the mode of their posterior on 700 classes of NAS-Bench-201's accuracies (CIFAR-100, 12 epochs).
_SMOOTH, _LENGTH, _LINEAR, _SLOTS, _DECAY, _NOISE = 1.5, 1.7, 0.63, 0.08, 0.23, 0.022


def oracle_search(
    yardstick: Yardstick, evaluations: int, seed: int, *, budget_ms: float | None = None, batch: int = 5
) -> IntArray:
    """(`N`, `S`): what the oracle looks up, in order; the seed deals the folds.

    Args:
        yardstick: Of a table.
        evaluations: `N`.
        seed: Of the folds.
        budget_ms: Search for the highest accuracy within it; None: for the front.
        batch: Look-ups between two decisions.
    """
    values = torch.as_tensor(yardstick.points(yardstick.listed))
    mean, deviation = _knowledge(yardstick, seed)
    reference = torch.as_tensor(yardstick.reference)

    def worth(front: Tensor, rows: Tensor) -> Tensor:
        """(`B`,) log of the improvement that is expected of rows over the (`F`, 2) points known."""
        if budget_ms is None:
            return log_expected_improvement(mean[rows], deviation.expand(len(rows), 2), undominated(front, reference))
        within = front[front[:, 1] >= -math.log(budget_ms), :1]
        gain = log_expected_improvement(mean[rows, :1], deviation[:1], undominated(within, reference[:1]))
        return gain + log_feasibility(-mean[rows, 1], deviation[1], math.log(budget_ms))

    known: list[int] = []
    free = torch.ones(len(values), dtype=torch.bool)
    while len(known) < evaluations:
        front = values[known]
        rows = free.nonzero()[:, 0]
        shortlist = rows[worth(front, rows).topk(_SHORTLIST).indices]
        for _ in range(min(batch, evaluations - len(known))):
            shortlist = shortlist[free[shortlist]]
            chosen = int(shortlist[worth(front, shortlist).argmax()])
            free[chosen] = False
            known.append(chosen)
            front = torch.cat([front, mean[chosen, None]])  # believed until the batch is back
    return np.asarray(yardstick.listed[known])


@lru_cache(maxsize=4)
def _knowledge(yardstick: Yardstick, seed: int) -> tuple[Tensor, Tensor]:
    """(`N`, 2) what is expected of each architecture, and (2,) how far it is off where it matters."""
    space, slots = yardstick.space, yardstick.listed
    values = yardstick.points(slots)
    encoding, relaxed = space.encoding(), torch.as_tensor(one_hot(slots, width(space)))
    folds = _folds(space, slots, seed)
    floor = 2 * yardstick.reference[0] - values[:, 0].max()  # how bad the worst are does not matter
    expected = np.stack(
        [
            _out_of_fold(encoding.accuracy(relaxed), relaxed, np.maximum(values[:, 0], floor), folds),
            _out_of_fold(encoding.costs(relaxed), relaxed, values[:, 1], folds),
        ],
        axis=1,
    )
    relevant = (values > yardstick.reference).all(axis=1)
    return torch.as_tensor(expected), torch.as_tensor((values - expected)[relevant].std(axis=0))


def _folds(space: Space, slots: IntArray, seed: int) -> IntArray:
    """(`N`,) fold of each architecture; isomorphic ones share theirs."""
    names = [space.isomorphism_class(space.architecture(row)) for row in slots]
    _, which = np.unique(names, return_inverse=True)
    return np.asarray(np.random.default_rng(seed).integers(_FOLDS, size=which.max() + 1)[which])


def _out_of_fold(features: Tensor, relaxed: Tensor, values: FloatArray, folds: IntArray) -> FloatArray:
    """(`N`,) predictions of each value by a process that has not seen its fold."""
    scaled = (features - features.mean(0)) / features.std(0).clamp_min(1e-9) / features.shape[1] ** 0.5
    flat = relaxed.flatten(-2)
    shift, scale = values.mean(), values.std()
    targets = torch.as_tensor((values - shift) / scale)
    found = torch.zeros(len(values), dtype=torch.float64)
    for fold in range(_FOLDS):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        outside = np.random.default_rng(fold).permutation(outside)[:_FITTED_ON]
        known = _kernel(scaled[outside], scaled[outside], flat[outside], flat[outside])
        known.diagonal().add_(_NOISE)
        weights = torch.cholesky_solve(targets[outside, None], torch.linalg.cholesky(known))
        cross = _kernel(scaled[inside], scaled[outside], flat[inside], flat[outside])
        found[inside] = (cross @ weights).squeeze(-1)
    return np.asarray((shift + scale * found).numpy())


def _kernel(x1: Tensor, x2: Tensor, slots1: Tensor, slots2: Tensor) -> Tensor:
    """Matern-5/2 and linear in the features, exponential in the number of slots that differ."""
    distance = 5**0.5 / _LENGTH * torch.cdist(x1, x2)
    differing = slots1.sum(-1)[:, None] + slots2.sum(-1)[None] - 2 * slots1 @ slots2.T
    smooth = (1 + distance + distance**2 / 3) * torch.exp(-distance)
    return _SMOOTH * smooth + _LINEAR * x1 @ x2.T + _SLOTS * torch.exp(-_DECAY * differing)
