"""Priors by quality, listed and drawn, against what they are by definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.generate.diffusion_nag.quality import Tilt, tilted_draws, tilted_weights
from orchestrator.space.base import one_hot
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from tests.contracts.generator_contract import LinearUtility

SPACE = NASBench201()
EVERYTHING = SPACE.all()


def log_work(space: NASBench201 | MobileNetV3, slots: np.ndarray) -> np.ndarray:
    width = max(map(len, space.choices))
    return np.asarray(space.encoding().work(torch.from_numpy(one_hot(slots, width))).log())


def test_a_standard_deviation_per_temperature_is_a_factor_of_e() -> None:
    quality = LinearUtility(6, 5, differentiable=True).of(EVERYTHING)
    weights = tilted_weights(SPACE, EVERYTHING, quality, Tilt(0.5, for_its_work=False))
    assert weights.sum() == pytest.approx(1)
    assert np.allclose(np.diff(np.log(weights)), np.diff(quality) / (0.5 * quality.std()))
    uniform = tilted_weights(SPACE, EVERYTHING, quality, Tilt(1e9, for_its_work=False))
    assert np.allclose(uniform * len(EVERYTHING), 1)


def test_for_its_work_every_level_of_work_counts_alike_and_the_best_of_each_most() -> None:
    work = log_work(SPACE, EVERYTHING)
    quality = work + 0.3 * LinearUtility(6, 5, differentiable=True).of(EVERYTHING)  # the best are large
    plain, fair = (tilted_weights(SPACE, EVERYTHING, quality, Tilt(0.2, for_its_work=own)) for own in (False, True))
    assert fair.sum() == pytest.approx(1)
    small, large = work < np.quantile(work, 0.2), work > np.quantile(work, 0.8)
    assert plain[small].sum() < 0.01 * plain[large].sum()
    assert fair[small].sum() > 0.3 * fair[large].sum()
    alike = np.flatnonzero(work == work[7000])
    order = np.argsort(quality[alike])
    assert (np.diff(fair[alike][order]) >= 0).all()


def test_draws_come_from_the_tilted_distribution() -> None:
    utility = LinearUtility(6, 5, differentiable=True)
    drawn, described = tilted_draws(SPACE, utility, 1500, 0, Tilt(0.5, for_its_work=False), "weights")
    quality = utility.of(EVERYTHING)
    weights = tilted_weights(SPACE, EVERYTHING, quality, Tilt(0.5, for_its_work=False))
    expected, spread = weights @ quality, quality.std()
    error = 4 * np.sqrt(weights @ (quality - expected) ** 2 / 1500) + 0.05 * spread  # the spread is itself drawn
    assert abs(utility.of(drawn).mean() - expected) < error
    for value in range(5):
        share = (weights[:, None] * np.equal(EVERYTHING, value)).sum(axis=0)
        assert np.abs((drawn == value).mean(axis=0) - share).max() < 0.06
    assert described.kind == "tilted_draws"
    assert described.source == "weights, temperature 0.5"
    assert described.architectures(SPACE) is None


def test_draws_for_their_work_reach_both_ends_of_a_space_too_large_to_list() -> None:
    space = MobileNetV3()
    utility = LinearUtility(25, 9, differentiable=True)
    first, again, other = (
        tilted_draws(space, utility, 64, seed, Tilt(0.3, for_its_work=True), "weights")[0] for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first != other).any()
    assert space.is_legal(first).all()
    assert not first[space.inactive(first)].any()
    uniform = space.sample(1000, np.random.default_rng(0))
    work = log_work(space, first)
    assert work.min() < log_work(space, uniform).min()
    assert work.max() > log_work(space, uniform).max()
    assert np.abs(np.diff(np.sort(work))).max() < 0.15, "levels are spread evenly"
    assert utility.of(first).mean() > utility.of(uniform).mean() + utility.of(uniform).std()
