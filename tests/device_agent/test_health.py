"""Health: strikes lead to quarantine, quarantines grow, probation ends them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.health import Health, HealthPolicy

POLICY = HealthPolicy(strikes=3, first_quarantine_s=60, factor=2, longest_quarantine_s=200, recovery=4)


def test_the_third_strike_in_a_row_sets_aside() -> None:
    health = Health(POLICY).struck("device_lost", 0).struck("device_lost", 1).succeeded(2)
    assert health.strikes == 0
    for now_s in (3, 4, 5):
        assert health.state(now_s) == "healthy"
        health = health.struck("device_offline", now_s)
    assert health.state(5) == "quarantined"
    assert health.reason == "device_offline"
    assert health.until_s == 65


def test_probation_ends_by_a_success_or_by_any_strike() -> None:
    health = Health(POLICY)
    for now_s in (0, 0, 0):
        health = health.struck("lost", now_s)
    assert health.state(59.9) == "quarantined"
    assert health.state(60) == "probation"
    assert health.succeeded(60).state(60) == "healthy"
    again = health.struck("lost", 60)
    assert again.until_s == 60 + 120
    third = again.struck("lost", 180)
    assert third.until_s == 180 + 200, "the longest quarantine"


def test_what_comes_to_light_during_a_quarantine_changes_nothing() -> None:
    health = Health(POLICY)
    for _ in range(3):
        health = health.struck("lost", 0)
    assert health.struck("late", 10) == health
    assert health.succeeded(10) == health


def test_quarantines_are_forgotten_after_enough_successes() -> None:
    health = Health(POLICY)
    for _ in range(3):
        health = health.struck("lost", 0)
    for now_s in (60, 61, 62):
        health = health.succeeded(now_s)
        assert health.quarantines == 1
    assert health.succeeded(63).quarantines == 0


def test_a_policy_has_to_make_sense() -> None:
    with pytest.raises(ValueError, match="no policy"):
        HealthPolicy(strikes=0)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1e4)), max_size=200))
def test_whatever_happens_it_is_never_set_aside_for_ever(events: list[tuple[bool, float]]) -> None:
    health, now_s = Health(POLICY), 0.0
    for good, wait_s in events:
        now_s += wait_s
        health = health.succeeded(now_s) if good else health.struck("fault", now_s)
        assert health.until_s is None or health.until_s <= now_s + POLICY.longest_quarantine_s
        assert health.state(now_s + POLICY.longest_quarantine_s) != "quarantined"
        assert health.strikes >= 0 or health.state(now_s) != "healthy"


def test_weeks_of_failing_overflow_nothing() -> None:
    assert POLICY.quarantine_s(100_000) == 200
