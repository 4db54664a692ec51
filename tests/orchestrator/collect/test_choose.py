"""Which architectures are chosen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.collect.choose import choose, farthest, stratified
from orchestrator.collect.config import SpaceModels
from orchestrator.errors import ConfigError
from orchestrator.space.base import Architecture

SPACE = {"kind": "nasbench201", "input": [1, 8, 8, 1], "channels": 4, "cells": 1}


def chosen(how: str, count: int = 20, seed: int = 0, **changes: object) -> list[Architecture]:
    source = SpaceModels.model_validate(
        {"kind": "space", "space": SPACE, "count": count, "choose": how, "strata": 8, **changes}
    )
    return choose(source, "models[0]", np.random.default_rng(seed))


@pytest.mark.parametrize("how", ["uniform", "stratified", "diverse"])
def test_networks_are_different_and_the_seed_decides(how: str) -> None:
    source = SpaceModels.model_validate({"kind": "space", "space": SPACE, "count": 1})
    space = source.space.make()
    architectures = chosen(how)
    assert len({space.computation(architecture) for architecture in architectures}) == 20
    assert architectures == chosen(how)
    assert architectures != chosen(how, seed=1)


def test_a_space_that_has_fewer_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        chosen("uniform", count=6000)
    (problem,) = caught.value.problems
    assert (problem.field, problem.allowed) == ("models[0].count", "at most 4990: it has no more networks")
    assert len(chosen("uniform", count=6000, distinct="architecture")) == 6000


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), st.integers(2, 8), st.integers(0, 9))
def test_strata_get_as_many_as_each_other_as_far_as_they_have_them(values: list[float], strata: int, seed: int) -> None:
    count = (len(values) + 1) // 2
    array = np.array(values)
    picked = stratified(array, count, strata, np.random.default_rng(seed))
    assert len(set(picked.tolist())) == count
    edges = np.linspace(array.min(), array.max(), strata + 1)[1:-1]
    taken = np.bincount(np.digitize(array[picked], edges), minlength=strata)
    there = np.bincount(np.digitize(array, edges), minlength=strata)
    # Where one got two fewer than another, it has no more.
    assert all(taken[i] == there[i] for i in range(strata) if taken[i] < taken.max() - 1)


@given(st.integers(0, 99), st.integers(2, 12))
def test_those_chosen_are_farther_apart_than_any_other_is_from_them(seed: int, count: int) -> None:
    points = np.random.default_rng(seed).normal(size=(60, 3))
    picked = points[farthest(points, count, np.random.default_rng(seed))]
    apart = np.linalg.norm(picked[:, None] - picked, axis=2)[~np.eye(count, dtype=bool)].min()
    covered = np.linalg.norm(points[:, None] - picked, axis=2).min(axis=1).max()
    assert covered <= apart + 1e-9  # which bounds the covering radius by twice the least possible one


def test_equal_features_are_chosen_once_each() -> None:
    assert sorted(farthest(np.zeros((5, 2)), 5, np.random.default_rng(0)).tolist()) == [0, 1, 2, 3, 4]
