"""Latencies are worth knowing where they decide about the front or a bound."""

from __future__ import annotations

from orchestrator.optimize.goal import Constraint, Goal
from orchestrator.optimize.observation import Observed
from orchestrator.optimize.precision import worth_measuring_on

A, B = "latency_ms[a]", "latency_ms[b]"
PARETO = Goal("accuracy", (A,))
BOUNDED = Goal("accuracy", (), (Constraint(A, 10.0),))
ERROR = 0.03


def seen(accuracy: float, **latency_ms: float) -> dict[str, Observed]:
    costs = {f"latency_ms[{name}]": Observed(value, ERROR**2) for name, value in latency_ms.items()}
    return {"accuracy": Observed(accuracy, 0.01), **costs}


def test_points_of_the_front_are_measured_on_and_clearly_dominated_ones_are_not() -> None:
    front = [seen(70, a=5), seen(80, a=10), seen(90, a=20)]
    behind = [seen(60, a=15), seen(79, a=30)]
    found = worth_measuring_on(PARETO, [*front, *behind], [])
    assert found == [{A}] * 3 + [set()] * 2


def test_what_may_still_be_on_the_front_is_measured_on() -> None:
    rival = [seen(80, a=10)]
    near, far = seen(79, a=10 * (1 + ERROR)), seen(79, a=10 * (1 + 4 * ERROR))
    assert worth_measuring_on(PARETO, [near, far], rival) == [{A}, set()]


def test_a_bound_that_is_surely_kept_needs_no_more() -> None:
    best, near, slow, poor = seen(90, a=5), seen(92, a=10.2), seen(95, a=14), seen(60, a=10)
    found = worth_measuring_on(BOUNDED, [best, near, slow, poor], [])
    assert found == [set(), {A}, set(), set()]


def test_of_two_costs_each_is_asked_for_by_its_own_role() -> None:
    goal = Goal("accuracy", (A,), (Constraint(B, 10.0),))
    sure, undecided = seen(90, a=5, b=4), seen(91, a=5, b=10)
    assert worth_measuring_on(goal, [sure, undecided], []) == [{A}, {A, B}]


def test_incomplete_ones_are_not_worth_it_and_no_rivals() -> None:
    lacking = {A: Observed(1.0, 0.0)}
    assert worth_measuring_on(PARETO, [lacking, seen(50, a=9)], [lacking]) == [set(), {A}]
    assert worth_measuring_on(PARETO, [], []) == []
