"""Which latencies are worth knowing more precisely: those that may be on the front, or on either side of a bound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.optimize.goal import Goal
from orchestrator.optimize.observation import Observed
from orchestrator.optimize.pareto import pareto_mask
from orchestrator.space.base import FloatArray

_DRAWS = 512
_DOUBT = 0.05  # what is less likely than this does not matter


def worth_measuring_on(
    goal: Goal, asked: Sequence[Mapping[str, Observed]], others: Sequence[Mapping[str, Observed]]
) -> list[frozenset[str]]:
    """Of each architecture, the costs whose measurement should go on.

    An architecture counts that no other dominates, with a probability of 5 % at least, given the errors of its own
    measurements. Of such a one, costs that are minimised are worth knowing; a bounded one only as long as it is
    undecided whether the bound is kept.

    Args:
        goal: Objectives and bounds.
        asked: By metric, what was measured of each so far; incomplete ones are not worth it.
        others: What was measured of all the others, the rivals; incomplete ones are left out.
    """
    complete = [each for each in (*asked, *others) if set(goal.metrics) <= set(each)]
    values = [{name: seen.value for name, seen in each.items()} for each in complete]
    kept = [row for row, each in enumerate(values) if goal.is_feasible(each)]
    points = np.array([goal.point(values[row]) for row in kept]).reshape(len(kept), len(goal.objectives))
    rivals = {id(complete[row]): point for row, point in zip(kept, points, strict=True)}
    return [_wanted(goal, each, rivals) if set(goal.metrics) <= set(each) else frozenset() for each in asked]


def _wanted(goal: Goal, own: Mapping[str, Observed], rivals: Mapping[int, FloatArray]) -> frozenset[str]:
    """What is worth knowing of one architecture, among feasible points by whose they are."""
    normal = np.random.default_rng(0).standard_normal((len(goal.metrics), _DRAWS))  # the same for all
    draws = {name: _draws(own[name], name != goal.maximize, z) for name, z in zip(goal.metrics, normal, strict=True)}
    points = np.stack([draws[goal.maximize], *(-draws[name] for name in goal.minimize)], axis=1)
    others = np.array([point for whose, point in rivals.items() if whose != id(own)]).reshape(-1, points.shape[1])
    others = others[pareto_mask(others)]
    good = ~(others[None] >= points[:, None]).all(-1).any(-1)
    within = {each.metric: draws[each.metric] <= math.log(each.bound) for each in goal.subject_to}
    feasible = np.all([np.ones(_DRAWS, dtype=bool), *within.values()], axis=0)
    wanted = set(goal.minimize) if np.mean(good & feasible) > _DOUBT else set()
    if good.mean() > _DOUBT:
        wanted |= {name for name, kept in within.items() if _DOUBT < kept.mean() < 1 - _DOUBT}
    return frozenset(wanted)


def _draws(seen: Observed, logarithmic: bool, normal: FloatArray) -> FloatArray:
    value = math.log(seen.value) if logarithmic else seen.value
    return np.asarray(value + math.sqrt(seen.variance or 0.0) * normal)
