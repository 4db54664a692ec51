"""Fronts and hypervolumes against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.optimize.pareto import hypervolume, pareto_mask


def test_front_by_definition() -> None:
    rng = np.random.default_rng(0)
    for objectives in (1, 2, 3):
        points = rng.integers(0, 5, size=(30, objectives)).astype(float)
        expected = [not any((b >= a).all() and (b > a).any() for b in points) for a in points]
        np.testing.assert_array_equal(pareto_mask(points), expected)


def test_equal_points_share_the_front() -> None:
    assert pareto_mask(np.array([[1.0, 2.0], [1.0, 2.0], [0.0, 2.0]])).tolist() == [True, True, False]
    assert pareto_mask(np.zeros((0, 2))).shape == (0,)


def test_hypervolume_by_hand() -> None:
    points = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [1.0, 1.0], [-5.0, 9.0]])
    assert hypervolume(points, np.zeros(2)) == pytest.approx(6.0)
    assert hypervolume(points, np.array([9.0, 9.0])) == 0.0
    assert hypervolume(np.array([[3.0], [5.0]]), np.array([1.0])) == pytest.approx(4.0)


@pytest.mark.parametrize("objectives", [2, 3])
def test_hypervolume_against_counting_cells(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    points = rng.integers(0, 7, size=(12, objectives)).astype(float)
    corners = np.stack(np.meshgrid(*[np.arange(6)] * objectives), axis=-1).reshape(-1, objectives)
    dominated = (points[None] >= corners[:, None] + 1).all(axis=2).any(axis=1).sum()
    assert hypervolume(points, np.zeros(objectives)) == pytest.approx(dominated)
