"""What a campaign wants: objectives and constraints, as data and as the text of a config."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.errors import ConfigError, Problem
from orchestrator.space.base import FloatArray

ACCURACY = "accuracy"
_LATENCY = re.compile(r"latency_ms\[[^\[\]\s][^\[\]]*\]")
_CONSTRAINT = re.compile(r"\s*(?P<metric>[^<>=]*?)\s*<=\s*(?P<bound>[^<>=]*?)\s*")
_LATENCY_FORM = "latency_ms[DEVICE], e.g. latency_ms[host]"


@dataclass(frozen=True)
class Constraint:
    """An upper bound: `metric` <= `bound`, in the metric's own unit."""

    metric: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric} <= {self.bound:g}"


@dataclass(frozen=True)
class Goal:
    """One metric to maximise, positive costs to minimise, and bounds on costs.

    Attributes:
        maximize: The metric that should be large; compared as it is.
        minimize: Costs that should be small; compared by their logarithm, so that a ratio counts the same everywhere.
        subject_to: Bounds that an architecture must keep to be feasible.
    """

    maximize: str
    minimize: tuple[str, ...] = ()
    subject_to: tuple[Constraint, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that must be known: the maximised one, then the costs, each once."""
        bounded = (constraint.metric for constraint in self.subject_to)
        return tuple(dict.fromkeys((self.maximize, *self.minimize, *bounded)))

    @property
    def objectives(self) -> tuple[str, ...]:
        """The `M` metrics that span the front: the maximised one, then the minimised ones."""
        return (self.maximize, *self.minimize)

    def is_feasible(self, values: Mapping[str, float]) -> bool:
        """Whether every bound is kept; a value that is missing keeps none."""
        return all(values.get(each.metric, math.inf) <= each.bound for each in self.subject_to)

    def point(self, values: Mapping[str, float]) -> FloatArray:
        """(`M`,) the objectives as coordinates that are all better when larger: accuracy, -log latency.

        Raises:
            KeyError: An objective is missing.
        """
        return np.array([values[self.maximize], *(-math.log(values[name]) for name in self.minimize)])


def parse_goal(maximize: str, minimize: str | Sequence[str] | None, subject_to: Sequence[str]) -> Goal:
    """The goal that a config describes, e.g. `("accuracy", None, ["latency_ms[host] <= 3"])`.

    Raises:
        ConfigError: With every piece that is wrong.
    """
    costs = (minimize,) if isinstance(minimize, str) else tuple(minimize or ())
    problems: list[Problem] = []
    if maximize != ACCURACY:
        problems.append(Problem("goal.maximize", maximize, ACCURACY))
    for index, name in enumerate(costs):
        field = "goal.minimize" if isinstance(minimize, str) else f"goal.minimize[{index}]"
        if not _LATENCY.fullmatch(name):
            problems.append(Problem(field, name, _LATENCY_FORM))
        elif name in costs[:index]:
            problems.append(Problem(field, name, "each metric once"))
    constraints: list[Constraint] = []
    for index, text in enumerate(subject_to):
        constraint = _constraint(text)
        if constraint is None:
            allowed = "METRIC <= MILLISECONDS, e.g. latency_ms[host] <= 3"
            problems.append(Problem(f"goal.subject_to[{index}]", text, allowed))
        else:
            constraints.append(constraint)
    if problems:
        raise ConfigError("goal", problems, "costs are minimised or bounded; accuracy is maximised")
    return Goal(maximize, costs, tuple(constraints))


def _constraint(text: str) -> Constraint | None:
    """The bound that a text describes; None where it describes none."""
    match = _CONSTRAINT.fullmatch(text)
    if match is None or not _LATENCY.fullmatch(match["metric"]):
        return None
    try:
        bound = float(match["bound"])
    except ValueError:
        return None
    return Constraint(match["metric"], bound) if 0 < bound < math.inf else None
