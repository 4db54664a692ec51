from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from orchestrator.generate.ednag.codec import Codec
from orchestrator.generate.ednag.denoise import (
    ddim_step,
    drift,
    estimate,
    forward,
    log_fitness_probability,
    probability,
)
from orchestrator.generate.ednag.schedule import alphas
from orchestrator.space.nasbench201 import NASBench201

CODEC = Codec(NASBench201())


def population(count: int, seed: int = 0) -> np.ndarray:
    """(`N`, 6, 5) clean vectors."""
    return CODEC.encode(NASBench201().sample(count, np.random.default_rng(seed)))


def test_fitness_is_a_matter_of_rank() -> None:
    scores = np.array([-np.inf, 3.0, 5.0, 3.0, 100.0])
    logs = log_fitness_probability(scores, pressure=2.0)
    assert logs == pytest.approx([0.0, 0.75, 1.5, 0.75, 2.0])
    assert logs == pytest.approx(log_fitness_probability(np.exp(scores / 10) * 7, pressure=2.0)), "in any unit"
    assert probability(logs).sum() == pytest.approx(1)
    assert log_fitness_probability(np.array([4.0]), pressure=2.0) == pytest.approx([0.0])


def test_the_estimate_is_bayes_rule() -> None:
    """Against the sum as it is written, member by member."""
    members, signal = population(12), 0.1
    noisy = forward(members[:5], signal, np.random.default_rng(1))
    log_prior = np.linspace(-3, 3, 12)
    for x, found in zip(noisy.astype(float), estimate(noisy, members, log_prior, signal), strict=True):
        weights = np.array(
            [
                np.exp(g) * np.exp(-((x - np.sqrt(signal) * m.astype(float)) ** 2).sum() / (2 * (1 - signal)))
                for g, m in zip(log_prior, members, strict=True)
            ]
        )
        expected = (weights[:, None, None] * members).sum(axis=0) / weights.sum()
        assert found == pytest.approx(expected, abs=1e-4)


def test_at_pure_noise_the_estimate_is_the_mean_under_fitness() -> None:
    members, log_prior = population(6), np.arange(6.0)
    found = estimate(forward(members, 0.0, np.random.default_rng(0)), members, log_prior, 0.0)
    expected = np.einsum("n,nsv->sv", probability(log_prior), members)
    assert found == pytest.approx(np.broadcast_to(expected, found.shape), abs=1e-5)


def test_the_drift_points_from_all_to_the_fit() -> None:
    """Against the sums as they are written."""
    members, weights = population(300), probability(np.linspace(0, 3, 300))
    towards = np.einsum("n,nsv->sv", weights, members) - members.mean(axis=0)
    by_chance = ((weights - 1 / 300) ** 2).sum() * ((members - members.mean(axis=0)) ** 2).sum() / 300
    found = drift(members, np.linspace(0, 3, 300))
    expected = towards / np.linalg.norm(towards) * max(1 - by_chance / (towards**2).sum(), 0.0)
    assert found == pytest.approx(expected, abs=1e-4)


def test_where_fitness_says_something_the_drift_says_it() -> None:
    """Fit is who has the last choice in the first slot."""
    slots = NASBench201().sample(800, np.random.default_rng(0))
    members, fit = CODEC.encode(slots), (slots[:, 0] == 4).astype(float)
    told = drift(members, 3.0 * fit)
    assert np.linalg.norm(told) > 0.9
    assert np.unravel_index(told.argmax(), told.shape) == (0, 4)
    assert (told[0] ** 2).sum() > 0.9 * (told**2).sum()


def test_where_fitness_says_nothing_there_is_hardly_a_drift() -> None:
    rng = np.random.default_rng(0)
    by_chance = [np.linalg.norm(drift(population(30, seed), 3.0 * rng.random(30))) for seed in range(50)]
    assert np.mean(by_chance) < 0.25
    assert not drift(population(30), np.zeros(30)).any(), "where all are equally fit, there is none"
    assert not drift(population(1), np.zeros(1)).any()


def test_a_deterministic_step_keeps_the_noise_that_it_sees() -> None:
    clean, rng = population(8), np.random.default_rng(0)
    z = rng.standard_normal(clean.shape).astype(np.float32)
    noisy = np.float32(np.sqrt(0.3)) * clean + np.float32(np.sqrt(0.7)) * z
    expected = np.sqrt(0.6) * clean + np.sqrt(0.4) * z
    assert ddim_step(noisy, clean, 0.3, 0.6, 0.0, rng) == pytest.approx(expected, abs=1e-5)


def test_an_ancestral_step_draws_from_the_posterior() -> None:
    """Mean and variance of q(x_s | x_t, x_0) as Ho et al. (2020, eq. 7) have them, with alpha = 0.3 -> 0.6."""
    a, b, rng = 0.3, 0.6, np.random.default_rng(0)
    clean = np.repeat(population(1), 4000, axis=0)
    noisy = np.repeat(forward(clean[:1], a, rng), 4000, axis=0)
    stepped = ddim_step(noisy, clean, a, b, 1.0, rng)
    mean = np.sqrt(b) * (1 - a / b) / (1 - a) * clean[0] + np.sqrt(a / b) * (1 - b) / (1 - a) * noisy[0]
    assert stepped.mean(axis=0) == pytest.approx(mean, abs=0.05)
    assert stepped.var() == pytest.approx((1 - b) / (1 - a) * (1 - a / b) + mean.var(), rel=0.03)


@pytest.mark.parametrize("noise", [0.0, 0.8, 1.0])
def test_steps_keep_the_variance(noise: float) -> None:
    clean, rng = population(2000), np.random.default_rng(0)
    stepped = ddim_step(forward(clean, 0.3, rng), clean, 0.3, 0.7, noise, rng)
    assert (stepped - np.sqrt(0.7) * clean).var() == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_toy_distribution_is_recovered(noise: float) -> None:
    """From pure noise to four architectures, in proportion to what fitness gives them."""
    slots = NASBench201().sample(4, np.random.default_rng(3))
    members, wanted = CODEC.encode(slots), np.array([0.5, 0.3, 0.15, 0.05])
    rng = np.random.default_rng(0)
    x = forward(np.zeros((3000, 6, 5), dtype=np.float32), 0.0, rng)
    for now, then in pairwise(alphas(60)):
        x = ddim_step(x, estimate(x, members, np.log(wanted), now), now, then, noise, rng)
    found, legal = CODEC.decode(x)
    shares = [(found == row).all(axis=1).mean() for row in slots]
    assert legal.all()
    assert sum(shares) == pytest.approx(1.0, abs=0.005)
    assert shares == pytest.approx(wanted, abs=0.035)
