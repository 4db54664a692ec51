"""Goals as data and as text."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.optimize.goal import Constraint, Goal, parse_goal


def test_a_pareto_goal() -> None:
    goal = parse_goal("accuracy", "latency_ms[host]", [])
    assert goal == Goal("accuracy", ("latency_ms[host]",))
    assert goal.metrics == goal.objectives == ("accuracy", "latency_ms[host]")
    assert goal.is_feasible({})
    np.testing.assert_allclose(goal.point({"accuracy": 70.0, "latency_ms[host]": math.e}), [70.0, -1.0])


def test_a_constrained_goal() -> None:
    goal = parse_goal("accuracy", None, ["latency_ms[R58 M] <= 3", " latency_ms[host]<=1e1 "])
    assert goal.subject_to == (Constraint("latency_ms[R58 M]", 3.0), Constraint("latency_ms[host]", 10.0))
    assert goal.objectives == ("accuracy",)
    assert goal.metrics == ("accuracy", "latency_ms[R58 M]", "latency_ms[host]")
    assert goal.is_feasible({"latency_ms[R58 M]": 3.0, "latency_ms[host]": 9.0})
    assert not goal.is_feasible({"latency_ms[R58 M]": 3.1, "latency_ms[host]": 9.0})
    assert not goal.is_feasible({"latency_ms[R58 M]": 3.0})


def test_every_wrong_piece_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_goal("speed", ["latency_ms[a]", "latency", "latency_ms[a]"], ["latency_ms[a] >= 3", "accuracy <= 3"])
    fields = [problem.field for problem in caught.value.problems]
    assert fields == [
        "goal.maximize",
        "goal.minimize[1]",
        "goal.minimize[2]",
        "goal.subject_to[0]",
        "goal.subject_to[1]",
    ]
    assert "latency_ms[a] >= 3" in str(caught.value)


@pytest.mark.parametrize("text", ["", "latency_ms[] <= 3", "latency_ms[a] <= ", "latency_ms[a] <= nan"])
@pytest.mark.parametrize("bound", ["0", "-1", "inf", "three"])
def test_impossible_bounds_are_refused(text: str, bound: str) -> None:
    for wrong in (text, f"latency_ms[a] <= {bound}"):
        with pytest.raises(ConfigError):
            parse_goal("accuracy", None, [wrong])


@given(st.text(max_size=40))
def test_any_text_is_a_constraint_or_a_config_error(text: str) -> None:
    try:
        goal = parse_goal("accuracy", None, [text])
    except ConfigError:
        return
    assert goal.subject_to[0].bound > 0


@given(st.floats(1e-6, 1e6))
def test_constraints_survive_their_text(bound: float) -> None:
    rounded = float(f"{bound:g}")
    constraint = Constraint("latency_ms[pixel 7]", rounded)
    assert parse_goal("accuracy", None, [str(constraint)]).subject_to == (constraint,)
