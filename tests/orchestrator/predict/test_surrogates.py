"""Surrogates on made-up landscapes: they learn, know what they do not know, and use each variance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from botorch.acquisition import qLogExpectedImprovement
from botorch.sampling import SobolQMCNormalSampler
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from orchestrator.predict.cost_model import PricePrior, fit_prices, prices_of_work, work_prior
from orchestrator.predict.surrogates import Measured, Surrogate, SurrogateFitter
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201

SPACE = NASBench201()
FITTER = SurrogateFitter(SPACE)
PRICES = np.array([1.0, 0.1, 0.1, 0.8, 2.5, 0.6] + 8 * [0.0])


def accuracy_of(slots: np.ndarray) -> np.ndarray:
    """Something smooth in the features, with a floor that many reach."""
    features = SPACE.encoding().accuracy(FITTER.relaxed(slots)).numpy()
    return np.maximum(40 + 6 * features[:, 9] + 3 * features[:, 11] - 4 * (features[:, 3] > 0), 10.0)


def latency_of(slots: np.ndarray) -> np.ndarray:
    return np.asarray(SPACE.encoding().costs(FITTER.relaxed(slots)).numpy() @ PRICES)


def sample(count: int, seed: int) -> np.ndarray:
    return np.unique(SPACE.sample(count, np.random.default_rng(seed)), axis=0)


def unknown(count: int) -> np.ndarray:
    return np.full(count, np.nan)


def z_scores(surrogate: Surrogate, slots: np.ndarray, truth: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        mean, variance = surrogate.marginal(FITTER.relaxed(slots))
    return np.asarray((truth - mean.numpy()) / variance.sqrt().numpy())


@pytest.mark.parametrize("seed", [0, 1])
def test_accuracy_is_learned_from_few_labels(seed: int) -> None:
    train, test = sample(40, seed), sample(300, seed + 100)
    noise = np.random.default_rng(seed).normal(0, 0.3, len(train))
    measured = Measured(train, accuracy_of(train) + noise, np.full(len(train), 0.09))
    surrogate = FITTER.accuracy(measured, floor=-math.inf)
    with torch.no_grad():
        mean, _ = surrogate.marginal(FITTER.relaxed(test))
    assert spearmanr(mean.numpy(), accuracy_of(test))[0] > 0.9
    assert np.mean(np.abs(z_scores(surrogate, test, accuracy_of(test))) < 3) > 0.9


@pytest.mark.parametrize("seed", [0, 1])
def test_latency_is_learned_from_ten_measurements(seed: int) -> None:
    train, test = sample(10, seed), sample(300, seed + 100)
    noise = np.exp(np.random.default_rng(seed).normal(0, 0.02, len(train)))
    surrogate = FITTER.cost(Measured(train, latency_of(train) * noise, np.full(len(train), 4e-4)))
    with torch.no_grad():
        mean, _ = surrogate.marginal(FITTER.relaxed(test))
    assert spearmanr(mean.numpy(), latency_of(test))[0] > 0.9


def test_one_absurd_latency_does_not_spoil_the_rest() -> None:
    train, test = sample(30, 0), sample(300, 100)
    latency = latency_of(train)
    latency[0] *= 1e-3
    surrogate = FITTER.cost(Measured(train, latency, unknown(len(train))))
    with torch.no_grad():
        mean, _ = surrogate.marginal(FITTER.relaxed(test))
    assert np.median(np.abs(mean.numpy() - np.log(latency_of(test)))) < 0.05


def test_prices_are_recovered_and_never_negative() -> None:
    amounts = SPACE.encoding().costs(FITTER.relaxed(sample(60, 0))).numpy()
    rng = np.random.default_rng(0)
    latency = amounts @ PRICES * np.exp(rng.normal(0, 0.02, len(amounts)))
    prices = fit_prices(amounts, latency, np.full(len(amounts), 4e-4))
    assert (prices >= 0).all()
    assert np.median(np.abs(amounts @ prices / (amounts @ PRICES) - 1)) < 0.02


def test_a_prior_holds_where_nothing_was_measured() -> None:
    amounts = np.array([[1.0, 1.0, 0.0], [1.0, 2.0, 0.0], [1.0, 3.0, 0.0]])
    prior = PricePrior.of(np.array([1.0, 1.0, 7.0]), np.eye(3))
    prices = fit_prices(amounts, amounts @ np.array([2.0, 3.0, 0.0]), np.full(3, 1e-4), prior)
    np.testing.assert_allclose(prices, [2.0, 3.0, 7.0], rtol=0.05)


def test_prices_in_proportion_to_work_are_a_start() -> None:
    amounts = np.abs(np.random.default_rng(0).normal(size=(40, 6)))
    amounts[:, 0] = 1.0
    nominal = np.array([2.0, 0.0, 1.0, 5.0, 3.0, 0.5])
    found = prices_of_work(amounts, amounts @ nominal)
    np.testing.assert_allclose(found, nominal, atol=1e-4)
    few = amounts[:4]
    prior = work_prior(few, 0.7 + 0.1 * few @ nominal, np.full(4, 1e-4), found, amounts.mean(axis=0))
    np.testing.assert_allclose(prior.mean, 0.1 * nominal + 0.7 * np.eye(6)[0], atol=0.05)
    assert (np.diag(prior.factor) > 0).all()


def test_a_large_space_is_learned_from_fewer_measurements_than_it_has_prices() -> None:
    space = MobileNetV3()
    fitter = SurrogateFitter(space)
    rng = np.random.default_rng(0)
    slots = space.sample(500, rng)
    relaxed = fitter.relaxed(slots)
    amounts = space.encoding().costs(relaxed).numpy()
    nominal = prices_of_work(amounts, space.encoding().work(relaxed).numpy())
    latency = amounts @ (0.2 + 0.05 * nominal * rng.uniform(0.7, 1.3, len(nominal)))
    measured = latency[:20] * np.exp(rng.normal(0, 0.02, 20))
    surrogate = fitter.cost(Measured(slots[:20], measured, np.full(20, 4e-4)))
    with torch.no_grad():
        mean, variance = surrogate.marginal(relaxed[20:])
    error = mean.numpy() - np.log(latency[20:])
    assert np.sqrt((error**2).mean()) < 0.05
    assert (error**2 / variance.numpy()).mean() < 2.0


def test_isomorphic_architectures_share_what_features_do_not_explain() -> None:
    train = sample(60, 0)
    values = accuracy_of(train)
    lucky = np.array([[0, 0, 0, 3, 0, 0], [3, 0, 0, 3, 0, 0], [0, 2, 0, 3, 0, 0]])  # one network, written three ways
    neighbour = np.array([[0, 0, 0, 2, 0, 0]])
    train = np.concatenate([train[~(train[:, None] == lucky[None]).all(2).any(1)], lucky[:2]])
    values = accuracy_of(train)
    values[-2:] += 4.0
    surrogate = FITTER.accuracy(Measured(train, values, np.zeros(len(train))), floor=-math.inf)
    with torch.no_grad():
        mean, _ = surrogate.marginal(FITTER.relaxed(np.concatenate([lucky[2:], neighbour])))
    excess = mean.numpy() - accuracy_of(np.concatenate([lucky[2:], neighbour]))
    assert excess[0] > 1.5
    assert excess[0] > excess[1] + 1.0


def test_a_precise_measurement_counts_more_than_a_vague_one() -> None:
    train = sample(30, 0)
    values = accuracy_of(train)
    values[5] += 15.0
    means = []
    for variance in (0.01, 400.0):
        variances = np.full(len(train), 0.01)
        variances[5] = variance
        surrogate = FITTER.accuracy(Measured(train, values, variances), floor=-math.inf)
        with torch.no_grad():
            means.append(float(surrogate.marginal(FITTER.relaxed(train[5:6]))[0]))
    assert means[0] - means[1] > 2.0


def test_what_is_believed_of_a_measured_architecture() -> None:
    train = sample(30, 0)
    values = accuracy_of(train) + np.random.default_rng(0).normal(0, 1.0, len(train))
    relaxed = FITTER.relaxed(train)
    exact = Measured(train, values, np.zeros(len(train)))
    vague = Measured(train, values, unknown(len(train)))
    surrogate = FITTER.accuracy(exact, floor=-math.inf)
    assert 0.2 < surrogate.rest < 5, "exact values still differ from what features explain"
    with torch.no_grad():
        smooth, _ = surrogate.marginal(relaxed)
        np.testing.assert_allclose(surrogate.truth(relaxed, exact).numpy(), values)
        np.testing.assert_allclose(surrogate.truth(relaxed, vague).numpy(), smooth.numpy())


def test_any_botorch_acquisition_is_differentiable_in_the_architecture() -> None:
    train = sample(20, 0)
    surrogate = FITTER.accuracy(Measured(train, accuracy_of(train), unknown(len(train))), floor=-math.inf)
    sampler = SobolQMCNormalSampler(torch.Size([16]), seed=0)
    acquisition = qLogExpectedImprovement(surrogate.model, best_f=float(accuracy_of(train).max()), sampler=sampler)
    relaxed = torch.rand(3, 1, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    acquisition(relaxed).sum().backward()
    assert relaxed.grad is not None
    assert relaxed.grad.isfinite().all()
    assert relaxed.grad.abs().sum() > 0


@pytest.mark.parametrize("metric", ["accuracy", "cost"])
def test_joint_marginal_and_botorch_agree(metric: str) -> None:
    train, test = sample(20, 0), FITTER.relaxed(sample(10, 1))
    if metric == "accuracy":
        surrogate = FITTER.accuracy(Measured(train, accuracy_of(train), unknown(len(train))), floor=-math.inf)
    else:
        surrogate = FITTER.cost(Measured(train, latency_of(train), unknown(len(train))))
    with torch.no_grad():
        mean, variance = surrogate.marginal(test)
        joint, covariance = surrogate.joint(test)
        posterior = surrogate.model.posterior(test.flatten(-2))
    torch.testing.assert_close(mean, joint)
    torch.testing.assert_close(variance, covariance.diagonal() + surrogate.rest)
    torch.testing.assert_close(mean, posterior.mean.squeeze(-1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(variance - surrogate.rest, posterior.variance.squeeze(-1), rtol=1e-3, atol=1e-6)


def test_a_fit_depends_on_nothing_but_the_measurements() -> None:
    train = sample(20, 0)
    measured = Measured(train, accuracy_of(train), unknown(len(train)))
    means = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        surrogate = FITTER.accuracy(measured, floor=-math.inf)
        with torch.no_grad():
            means.append(surrogate.marginal(FITTER.relaxed(sample(5, 1)))[0])
    assert torch.equal(means[0], means[1])


def test_an_operator_that_nothing_measured_contains_leaves_doubt_but_not_nonsense() -> None:
    """Four networks, none with pooling: those with it are uncertain, by a factor and not by powers of ten."""
    slots = np.array([[2, 1, 1, 2, 1, 1], [3, 3, 3, 2, 3, 3], [2, 2, 2, 1, 2, 2], [1, 1, 1, 1, 3, 1]])
    measured = Measured(slots, np.array([0.0074, 0.0146, 0.0049, 0.0051]), np.array([0.015, 0.006, 2e-6, 5e-5]))
    _, variance = FITTER.cost(measured).marginal(FITTER.relaxed(sample(500, seed=0)))
    assert variance.sqrt().max() < math.log(10)


def test_ten_latencies_of_calm_and_of_noisy_devices_leave_as_much_doubt_as_is_due() -> None:
    test = sample(500, 100)
    inside = []
    for noise in (0.01, 0.03, 0.1):
        for seed in range(4):
            rng = np.random.default_rng([seed, int(1000 * noise)])
            train = sample(10, seed + 200)
            measured = latency_of(train) * np.exp(rng.normal(0, noise, len(train)))
            truth = np.log(latency_of(test)) + rng.normal(0, noise, len(test))
            inside.append(
                np.mean(np.abs(z_scores(FITTER.cost(Measured(train, measured, unknown(10))), test, truth)) < 1.645)
            )
    assert 0.85 < np.mean(inside) < 0.99
    assert np.min(inside) > 0.6
