"""What observations imply: surrogates, the front, the reference point, and the acquisition function over them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from orchestrator.optimize.acquisition import Acquisition
from orchestrator.optimize.goal import Goal
from orchestrator.optimize.observation import Observation
from orchestrator.optimize.pareto import pareto_mask
from orchestrator.predict.accuracy_belief import AccuracyBelief
from orchestrator.predict.price_beliefs import PriceBelief
from orchestrator.predict.surrogates import Measured, Surrogate, SurrogateFitter
from orchestrator.space.base import FloatArray, IntArray

_BEYOND_SLOWEST = 0.1  # log: how far above the largest initial cost the reference point lies
_FLOOR = 0.3  # how far below the reference accuracies still differ, in distances from the reference to the best
_NEAREST = 8  # elites where no architecture is feasible yet


@dataclass(frozen=True)
class Knowledge:
    """What is known before a campaign has measured anything.

    Attributes:
        observations: Of other campaigns, on the same devices: surrogates learn from them, the front is without them.
        prices: By metric of latency, what the device may charge.
        accuracy: What is believed of the campaign's data set; None: nothing.
    """

    observations: tuple[Observation, ...] = ()
    prices: Mapping[str, tuple[PriceBelief, ...]] = field(default_factory=dict)
    accuracy: AccuracyBelief | None = None


@dataclass(frozen=True)
class Beliefs:
    """What is believed after some observations.

    Attributes:
        acquisition: What is worth measuring.
        elites: (`N`, `S`) the front, most accurate first; without any feasible architecture, the nearest to feasible.
    """

    acquisition: Acquisition
    elites: IntArray


def is_complete(goal: Goal, observation: Observation) -> bool:
    """Whether every metric of the goal is known."""
    return set(goal.metrics) <= set(observation.metrics)


def reference_point(goal: Goal, observations: Sequence[Observation]) -> FloatArray:
    """(`M`,) in `Goal.point` coordinates: the lower quartile of accuracy, a little above the largest costs.

    Args:
        goal: Its objectives.
        observations: At least one, all with every objective.
    """
    points = np.stack([goal.point({name: got.value for name, got in each.metrics.items()}) for each in observations])
    return np.array([np.quantile(points[:, 0], 0.25), *(points[:, 1:].min(axis=0) - _BEYOND_SLOWEST)])


def believe(
    goal: Goal,
    fitter: SurrogateFitter,
    observations: Sequence[Observation],
    reference: FloatArray,
    knowledge: Knowledge | None = None,
) -> Beliefs:
    """Fit everything.

    Args:
        goal: What is wanted.
        fitter: Fits surrogates for the space.
        observations: In any order; at least one complete.
        reference: (`M`,) improvements count above it.
        knowledge: From before the campaign; None: nothing.
    """
    knowledge = knowledge or Knowledge()
    known = sorted([*observations, *knowledge.observations], key=_by_slots)
    complete = sorted((each for each in observations if is_complete(goal, each)), key=_by_slots)
    measured = {name: _measured(known, name) for name in goal.metrics}
    surrogates = {
        name: _accuracy(fitter, seen, float(reference[0]), knowledge.accuracy)
        if name == goal.maximize
        else fitter.cost(seen, knowledge.prices.get(name, ()))
        for name, seen in measured.items()
    }
    slots = np.array([each.slots for each in complete], dtype=np.int64)
    relaxed = fitter.relaxed(slots)
    with torch.no_grad():
        truth = {name: fitted.truth(relaxed, _measured(complete, name)).numpy() for name, fitted in surrogates.items()}
    points = np.stack([truth[goal.maximize], *(-truth[name] for name in goal.minimize)], axis=1)
    excess = _excess(goal, truth)
    feasible = excess <= 0
    if not feasible.any():
        # Any accuracy is an improvement then; what matters is to become feasible.
        reference = np.array([min(reference[0], points[:, 0].min()), *reference[1:]])
        elites = slots[np.argsort(excess, kind="stable")[:_NEAREST]]
    else:
        front = np.flatnonzero(feasible)[pareto_mask(points[feasible])]
        elites = slots[front[np.argsort(-points[front, 0], kind="stable")]]
    acquisition = Acquisition(
        goal, surrogates, fitter.log_connected, torch.as_tensor(points[feasible]), torch.as_tensor(reference)
    )
    return Beliefs(acquisition, elites)


def _by_slots(observation: Observation) -> tuple[object, ...]:
    """An order that does not depend on arrival, not even between measurements of one architecture."""
    return (observation.slots, sorted((name, got.value) for name, got in observation.metrics.items()))


def _measured(observations: Sequence[Observation], metric: str) -> Measured:
    rows = [(each.slots, each.metrics[metric]) for each in observations if metric in each.metrics]
    return Measured(
        np.array([slots for slots, _ in rows], dtype=np.int64),
        np.array([got.value for _, got in rows], dtype=np.float64),
        np.array([math.nan if got.variance is None else got.variance for _, got in rows], dtype=np.float64),
    )


def _accuracy(
    fitter: SurrogateFitter, measured: Measured, reference: float, believed: AccuracyBelief | None
) -> Surrogate:
    floor = reference - _FLOOR * max(float(measured.values.max()) - reference, 0.0)
    return fitter.accuracy(measured, floor=floor, believed=believed)


def _excess(goal: Goal, truth: Mapping[str, FloatArray]) -> FloatArray:
    """(`N`,) by how much bounds are broken, in log, summed over constraints."""
    broken = [np.maximum(truth[each.metric] - math.log(each.bound), 0.0) for each in goal.subject_to]
    return np.sum([np.zeros_like(truth[goal.maximize]), *broken], axis=0)
