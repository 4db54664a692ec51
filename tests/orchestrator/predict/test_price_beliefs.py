"""What other devices charge helps a device like them, and does not harm one unlike all of them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch

from orchestrator.generate.pool import width
from orchestrator.predict.latency.prior import LatencyPrior, fit_prior
from orchestrator.predict.latency.structures import relaxed, structures_of
from orchestrator.predict.price_beliefs import PriceBelief, belief_of_device, beliefs_of, expected_prices
from orchestrator.predict.surrogates import Measured, Surrogate, SurrogateFitter
from orchestrator.space.base import FloatArray, IntArray
from orchestrator.space.nasbench201 import NASBench201

SPACE = NASBench201()
STRUCTURES = structures_of(SPACE)
FITTER = SurrogateFitter(SPACE)
PRICES = np.array([3.0, 0.1, 0.6, 2.0, 5.0, 1.5])  # constant, none, skip, 1x1, 3x3, pool
TEST = SPACE.sample(400, np.random.default_rng(99))


def latency_of(slots: IntArray, seed: int | None = None, structure: int = 0) -> FloatArray:
    """Of a device that charges about the usual prices, everyone a little differently."""
    amounts = STRUCTURES.amounts(relaxed(slots, width(SPACE)))[structure].numpy()
    own = 1.0 if seed is None else np.random.default_rng(seed).lognormal(0, 0.2, len(PRICES))
    return np.asarray(amounts[:, : len(PRICES)] @ (PRICES * own))


@lru_cache(maxsize=1)
def prior() -> LatencyPrior:
    slots = SPACE.sample(300, np.random.default_rng(1))
    inputs = relaxed(slots, width(SPACE))
    return fit_prior(STRUCTURES, {f"phone {seed}": (inputs, latency_of(slots, seed)) for seed in range(6)})


@lru_cache(maxsize=1)
def believed() -> tuple[PriceBelief, ...]:
    return beliefs_of(prior(), STRUCTURES, SPACE)


def fitted(latency: FloatArray, slots: IntArray, beliefs: tuple[PriceBelief, ...]) -> Surrogate:
    return FITTER.cost(Measured(slots, latency, np.full(len(slots), 4e-4)), beliefs)


def error(surrogate: Surrogate, truth: FloatArray) -> float:
    with torch.no_grad():
        mean, _ = surrogate.marginal(FITTER.relaxed(TEST))
    return float(np.median(np.abs(mean.numpy() - np.log(truth))))


@pytest.mark.parametrize("structure", [0, 1])
def test_a_device_like_others_is_known_after_few_measurements(structure: int) -> None:
    few = SPACE.sample(8, np.random.default_rng(2))
    seen, truth = (40 * latency_of(slots, 77, structure) for slots in (few, TEST))
    assert error(fitted(seen, few, believed()), truth) < 0.06


def test_that_is_more_than_the_measurements_alone_tell() -> None:
    few = SPACE.sample(8, np.random.default_rng(2))
    informed, alone = (
        error(fitted(latency_of(few, 77), few, beliefs), latency_of(TEST, 77)) for beliefs in (believed(), ())
    )
    assert informed < 0.6 * alone


def test_a_device_unlike_all_is_learned_all_the_same() -> None:
    odd = np.array([1.0, 2.0, 3.0, 0.2, 0.1, 6.0])
    many = SPACE.sample(40, np.random.default_rng(3))
    seen, truth = (STRUCTURES.amounts(relaxed(s, width(SPACE)))[0].numpy()[:, :6] @ odd for s in (many, TEST))
    assert error(fitted(seen, many, believed()), truth) < 1.2 * error(fitted(seen, many, ()), truth) + 0.005


def test_a_phone_before_its_update_says_nearly_everything() -> None:
    then, now = (SPACE.sample(count, np.random.default_rng(seed)) for count, seed in ((40, 4), (4, 5)))
    before = belief_of_device(SPACE, then, latency_of(then, 5), np.full(40, 4e-4))
    surrogate = fitted(1.3 * latency_of(now, 5), now, (before,))
    assert error(surrogate, 1.3 * latency_of(TEST, 5)) < 0.03


def test_a_few_strays_do_not_decide() -> None:
    slots = SPACE.sample(20, np.random.default_rng(6))
    latency = latency_of(slots, 77)
    latency[:2] *= [0.001, 3.0]
    assert error(fitted(latency, slots, believed()), latency_of(TEST, 77)) < 0.06


def test_the_unit_of_latency_does_not_matter() -> None:
    slots = SPACE.sample(10, np.random.default_rng(7))
    amounts = SPACE.encoding().costs(relaxed(slots, width(SPACE))).numpy()
    latency, variances = latency_of(slots, 77), np.full(10, 4e-4)
    work = belief_of_device(SPACE, slots, latency, variances).prior
    expected = expected_prices(believed(), work, amounts, latency, variances)
    larger = type(work)(1000 * work.mean, 1000 * work.factor)
    scaled = expected_prices(believed(), larger, amounts, 1000 * latency, variances)
    np.testing.assert_allclose(scaled.mean, 1000 * expected.mean, rtol=1e-6)
    np.testing.assert_allclose(scaled.factor, 1000 * expected.factor, rtol=1e-4, atol=1e-3)


def test_gradients_are_those_of_the_prediction() -> None:
    slots = SPACE.sample(10, np.random.default_rng(8))
    surrogate = fitted(latency_of(slots, 77), slots, believed())
    generator = torch.Generator().manual_seed(0)
    inside = torch.rand(2, 6, 5, generator=generator, dtype=torch.float64).softmax(-1).requires_grad_()
    assert torch.autograd.gradcheck(lambda each: surrogate.marginal(each), (inside,), eps=1e-6, atol=1e-5)
