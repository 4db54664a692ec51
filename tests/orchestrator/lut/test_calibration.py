"""Calibration and agreement against values known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.lut.calibration import Calibration, agreement, fit


def test_a_straight_line_is_found_though_some_networks_are_off() -> None:
    sums = np.linspace(10, 40, 15)
    measured = 2.0 + 1.1 * sums
    measured[[2, 7, 11]] *= [1.5, 3.0, 1.2]
    found = fit(sums, measured)
    assert found.scale == pytest.approx(1.1, rel=0.02)
    assert found.offset_ms == pytest.approx(2.0, abs=0.5)


def test_equal_sums_say_nothing_of_the_slope() -> None:
    found = fit(np.array([1.0, 1.0, 2.0]), np.array([3.0, 3.0, 5.0]))
    assert found == Calibration(1.0, 2.0)


def test_agreement_in_numbers() -> None:
    measured = np.array([10.0, 20.0, 30.0, 40.0])
    found = agreement(measured * [1.04, 1.07, 1.2, 1.01], measured)
    assert found.networks == 4
    assert found.within_5_percent == 50
    assert found.within_10_percent == 75
    assert found.bias_percent == pytest.approx(5.5)
    assert found.spearman == 1
    assert agreement(measured[::-1], measured).spearman == -1
