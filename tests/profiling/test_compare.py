"""Ratios of latencies and what is said of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiling.compare import Effect, Policy, compare_sessions, discoveries, is_suspect, pooled, verdicts
from profiling.spread import Session
from tests.profiling.night import sessions

POLICY = Policy()


def test_a_model_that_changed_is_told_from_those_that_did_not() -> None:
    rng = np.random.default_rng(0)
    before = sessions(rng, 4)
    comparison = compare_sessions([before], sessions(rng, 6, change={"m3": 1.05}), POLICY)
    found = verdicts(comparison.own, POLICY)
    assert {model for model, verdict in found.items() if verdict == "slower"} == {"m3"}
    assert comparison.own["m3"].low < 1.05 < comparison.own["m3"].high
    assert comparison.shift.ratio == pytest.approx(1.0, abs=0.01)


def test_what_all_models_share_is_the_devices() -> None:
    rng = np.random.default_rng(1)
    before = sessions(rng, 4)
    comparison = compare_sessions([before], sessions(rng, 6, change={f"m{i}": 1.08 for i in range(12)}), POLICY)
    assert comparison.shift.low < 1.08 < comparison.shift.high
    assert verdicts({"shift": comparison.shift}, POLICY) == {"shift": "slower"}
    assert "slower" not in verdicts(comparison.own, POLICY).values()
    assert pooled(comparison).ratio == pytest.approx(1.08, rel=0.01)


def test_half_of_the_models_may_change_without_hiding_each_other() -> None:
    rng = np.random.default_rng(2)
    changed = {f"m{i}": 1.06 + 0.02 * i for i in range(5)}
    comparison = compare_sessions([sessions(rng, 4)], sessions(rng, 6, change=changed), POLICY)
    found = verdicts(comparison.own, POLICY)
    assert {model for model, verdict in found.items() if verdict == "slower"} == set(changed)


def test_a_session_of_controls_only_does_not_disturb_the_others() -> None:
    rng = np.random.default_rng(3)
    now = sessions(rng, 4, common_sd=0.03)
    now[2] = Session({model: logs for model, logs in now[2].logs.items() if model in ("m0", "m1", "m2", "m3")})
    comparison = compare_sessions([sessions(rng, 4)], now, POLICY)
    assert max(abs(effect.log_ratio) for effect in comparison.own.values()) < 0.03


def test_several_nights_of_a_baseline_make_the_error_smaller() -> None:
    rng = np.random.default_rng(4)
    one, two, now = sessions(rng, 3), sessions(rng, 3), sessions(rng, 3)
    single = compare_sessions([one], now, POLICY).own["m0"].error
    assert compare_sessions([one, two], now, POLICY).own["m0"].error < single


def test_nothing_in_common_is_an_error() -> None:
    first, second = Session({"a": np.zeros(3)}), Session({"b": np.zeros(3)})
    with pytest.raises(ValueError, match="no model"):
        compare_sessions([[first]], [second], POLICY)


def test_a_difference_that_does_not_matter_is_no_alarm_however_sure() -> None:
    sure, unsure, none = Effect(math.log(1.01), 1e-4, 50), Effect(math.log(1.06), 0.04, 50), Effect(0.0, 1e-3, 50)
    assert verdicts({"sure": sure, "unsure": unsure, "none": none}, POLICY) == {
        "sure": "same",
        "unsure": "unclear",
        "none": "same",
    }
    assert verdicts({"fast": Effect(-0.1, 0.005, 50)}, POLICY) == {"fast": "faster"}
    assert is_suspect(unsure, POLICY)
    assert not is_suspect(sure, POLICY)


def test_detectable_is_found_as_often_as_said() -> None:
    effect = Effect(0.0, 0.008, 40)
    true = math.log(effect.detectable(POLICY.margin))
    seen = np.random.default_rng(5).normal(true, effect.error, 4000)
    found = [verdicts({0: Effect(value, 0.008, 40)}, POLICY)[0] == "slower" for value in seen]
    assert np.mean(found) == pytest.approx(0.95, abs=0.02)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_discoveries_are_the_smallest_and_stand_their_test(p_values: list[float]) -> None:
    found = discoveries(dict(enumerate(p_values)), 0.05)
    limit = 0.05 * len(found) / len(p_values)
    assert all(p_values[key] <= limit for key in found)
    assert all(p >= max((p_values[key] for key in found), default=0) for k, p in enumerate(p_values) if k not in found)


def test_wrong_policies_are_refused() -> None:
    with pytest.raises(ValueError, match="margin"):
        Policy(margin=-0.1)
    with pytest.raises(ValueError, match="false_discoveries"):
        Policy(false_discoveries=0.0)
