"""Selecting a batch out of a pool: one after the other, each believed to come out as predicted (kriging believer)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.optimize.acquisition import Acquisition, log_acquisition, undominated
from orchestrator.optimize.goal import Goal


@dataclass(frozen=True)
class Pick:
    """A chosen row of the pool.

    Attributes:
        row: Its number.
        acquisition: Log acquisition at the time.
        expected: By metric, mean and variance of what is to be found; of the log for costs.
    """

    row: int
    acquisition: float
    expected: Mapping[str, tuple[float, float]]


def select_batch(acquisition: Acquisition, pool: Tensor, pending: Tensor, count: int) -> list[Pick]:
    """The `count` most valuable of (`P`, `S`, `V`) architectures, best first.

    Believing a mean leaves all means as they are and shrinks the covariance by one rank, so the surrogates are
    evaluated once, jointly over the pool. (The constant liar of Ginsbourger et al. 2010, with the mean as the lie.)

    Args:
        acquisition: Goal, surrogates and the front so far.
        pool: (`P`, `S`, `V`) to choose from.
        pending: (`Q`, `S`, `V`) being measured: believed before anything is chosen.
        count: Wanted; all of the pool at most.
    """
    belief = _Belief(acquisition, torch.cat([pool, pending]))
    for row in range(len(pool), len(pool) + len(pending)):
        belief.accept(row)
    connected = acquisition.log_connected(pool)
    picks: list[Pick] = []
    free = torch.ones(len(pool), dtype=torch.bool)
    for _ in range(min(count, len(pool))):
        found = belief.marginal()
        values = log_acquisition(acquisition.goal, found, belief.boxes)[: len(pool)] + connected
        row = int(torch.where(free, values.nan_to_num(-math.inf), -math.inf).argmax())
        if not free[row]:  # every value left is minus infinity: any free row will do
            row = int(free.int().argmax())
        free[row] = False
        expected = {name: (float(mean[row]), float(variance[row])) for name, (mean, variance) in found.items()}
        picks.append(Pick(row, float(values[row]), expected))
        belief.accept(row)
    return picks


class _Belief:
    """Joint normal belief about a pool, updated by accepting means as if they had been measured."""

    def __init__(self, acquisition: Acquisition, pool: Tensor) -> None:
        self._goal: Goal = acquisition.goal
        self._reference = acquisition.reference
        self._front = acquisition.front
        self.boxes = acquisition.boxes
        self._rest = {name: surrogate.rest for name, surrogate in acquisition.surrogates.items()}
        with torch.no_grad():
            joint = {name: surrogate.joint(pool) for name, surrogate in acquisition.surrogates.items()}
        self._means = {name: mean for name, (mean, _) in joint.items()}
        self._covariances = {name: covariance.clone() for name, (_, covariance) in joint.items()}

    def marginal(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By metric, mean and variance (`P`,) of what is to be found."""
        return {
            name: (self._means[name], covariance.diagonal().clamp_min(0.0) + self._rest[name])
            for name, covariance in self._covariances.items()
        }

    def accept(self, row: int) -> None:
        """Row of the pool measured, with the mean as its outcome."""
        for name, covariance in self._covariances.items():
            column = covariance[:, row].clone()
            covariance -= torch.outer(column, column) / (column[row] + self._rest[name]).clamp_min(1e-12)
        values = {name: float(mean[row]) for name, mean in self._means.items()}
        if all(values[each.metric] <= math.log(each.bound) for each in self._goal.subject_to):
            signed = [values[self._goal.maximize], *(-values[name] for name in self._goal.minimize)]
            self._front = torch.cat([self._front, self._front.new_tensor([signed])])
            self.boxes = undominated(self._front, self._reference)
