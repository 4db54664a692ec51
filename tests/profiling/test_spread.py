"""Components of variance, and robust location."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiling.spread import Prior, Session, locations, spread_of
from tests.profiling.night import sessions


def location(values: np.ndarray, sds: np.ndarray, prior_sd: float = math.inf) -> tuple[float, float]:
    """Of one row."""
    centres, errors = locations(values[None, :], sds[None, :], prior_sd)
    return float(centres[0]), float(errors[0])


def test_rows_do_not_disturb_each_other() -> None:
    rows = np.array([[0.0, 0.01, math.nan], [math.nan] * 3, [0.5, -0.5, math.nan], [1.0, 1.01, 0.99]])
    sds = np.full(rows.shape, 0.01)
    together, errors = locations(rows, sds)
    for index, row in enumerate(rows):
        centre, error = location(row, sds[index])
        assert (together[index], errors[index]) == (pytest.approx(centre, abs=1e-5), pytest.approx(error, rel=1e-3))


def test_location_is_the_mean_of_values_that_agree() -> None:
    values = np.array([0.01, -0.01, 0.02, -0.02, 0.0])
    centre, error = location(values, np.full(5, 0.02))
    assert centre == pytest.approx(0.0, abs=1e-6)
    assert error == pytest.approx(0.02 / math.sqrt(5), rel=0.1)


def test_a_few_outliers_leave_the_location_alone() -> None:
    values = np.array([0.0, 0.001, -0.001, 0.3, 0.0, 0.002, -0.4])
    centre, _ = location(values, np.full(7, 0.01))
    assert abs(centre) < 0.002


def test_two_that_disagree_are_decided_by_what_is_believed() -> None:
    centre, _ = location(np.array([0.05, 0.0]), np.full(2, 0.005), prior_sd=0.007)
    assert abs(centre) < 0.001
    centre, error = location(np.array([0.5, 0.0]), np.full(2, 0.005))
    assert (centre, error) == (0.25, 0.5)  # nothing is believed: anything between them


def test_nothing_gives_what_is_believed() -> None:
    assert location(np.array([math.nan]), np.array([0.1]), prior_sd=0.02) == (0.0, 0.02)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12), st.floats(-3, 3))
def test_location_moves_with_the_values(values: list[float], by: float) -> None:
    sds = np.full(len(values), 0.01)
    here, _ = location(np.array(values), sds)
    there, _ = location(np.array(values) + by, sds)
    assert min(values) - 1e-6 <= here <= max(values) + 1e-6
    assert there - by == pytest.approx(here, abs=2e-4)


def test_components_are_found_apart_from_each_other() -> None:
    rng = np.random.default_rng(0)
    group = sessions(rng, 40, blocks=6, block_sd=0.02, common_sd=0.03)
    spread = spread_of([group], list(group[0].logs), Prior())
    assert np.median([component.sd for component in spread.block.values()]) == pytest.approx(0.02, rel=0.1)
    assert spread.common.sd == pytest.approx(0.03, rel=0.3)
    assert spread.own.sd < 0.004  # there is none


def test_one_session_leaves_what_is_believed_of_sessions() -> None:
    (only,) = sessions(np.random.default_rng(0), 1)
    spread = spread_of([[only]], list(only.logs), Prior(common_sd_log=0.01, own_sd_log=0.002))
    assert (spread.common.sd, spread.own.sd) == (0.01, 0.002)


def test_disturbed_blocks_do_not_widen_the_spread_of_blocks() -> None:
    rng = np.random.default_rng(1)
    quiet = sessions(rng, 6, blocks=8)
    loud = [Session({m: logs + 0.5 * (np.arange(8) == 3) for m, logs in session.logs.items()}) for session in quiet]
    models = list(quiet[0].logs)
    before, after = (spread_of([group], models, Prior()).block["m0"].sd for group in (quiet, loud))
    assert after < 1.6 * before
