"""Adapted predictors: what they learn, how sure they are, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.errors import DataError
from orchestrator.predict.latency.adapt import adapt
from orchestrator.predict.latency.adapted import AdaptedLatency
from orchestrator.predict.latency.prior import fit_prior
from orchestrator.predict.latency.quality import Prediction, Quality, assess, leave_one_out, predict
from orchestrator.predict.latency.references import choose_references, random_references
from orchestrator.predict.latency.structures import SlotStructures, relaxed
from orchestrator.predict.latency.synthetic import draw_devices
from orchestrator.space.base import FloatArray
from tests.orchestrator.predict.latency.made_up import (
    SPACE,
    STRUCTURES,
    additive,
    inputs,
    networks,
    on_device,
    prior,
    tables,
)  # fmt: skip


def adapted(latency_ms: FloatArray, count: int, seed: int = 0) -> tuple[AdaptedLatency, Prediction, Quality]:
    """On references; with the prediction of all other networks, and how good it is."""
    chosen = choose_references(SPACE, STRUCTURES, prior(), count, seed=seed, pool=networks())
    position = {row.tobytes(): index for index, row in enumerate(networks())}
    rows = np.array([position[row.tobytes()] for row in chosen], dtype=np.int64)
    model = adapt(prior(), STRUCTURES, inputs(chosen), latency_ms[rows])
    others = np.setdiff1d(np.arange(len(latency_ms)), rows)
    prediction = predict(model, inputs(networks()[others]))
    return model, prediction, assess(prediction, latency_ms[others])


@pytest.mark.parametrize("seed", [20, 21, 22])
def test_ten_measurements_are_enough_for_a_sum_of_prices(seed: int) -> None:
    _, _, quality = adapted(additive(seed), 10)
    assert quality.spearman > 0.98
    assert quality.within_10_percent > 0.9
    assert quality.coverage_90 > 0.75


@pytest.mark.parametrize("structure", [1, 3, 5])
def test_what_a_device_pays_for_is_found_out(structure: int) -> None:
    model, _, quality = adapted(additive(30, structure=structure), 12)
    shares = np.zeros(len(STRUCTURES.names))
    for cell in model.cells:
        shares[cell.structure] += float(cell.weights.sum())
    assert shares[structure] > 0.5
    assert quality.spearman > 0.97


def test_more_measurements_than_hypotheses_are_weighed_on_count_all() -> None:
    latency_ms = additive(24)
    few, many = (adapted(latency_ms, count)[1:] for count in (30, 45))
    assert many[1].spearman > 0.99
    assert many[1].within_5_percent >= few[1].within_5_percent - 0.02
    assert np.median(many[0].sd) < 0.05


def test_nothing_measured_is_a_wide_guess() -> None:
    _, prediction, quality = adapted(additive(23), 0)
    assert np.median(prediction.sd) > 0.2
    assert quality.coverage_90 > 0.9
    assert quality.spearman > 0.8


def test_a_device_unlike_any_is_noticed_and_learned() -> None:
    """Branches that overlap are no sum of the prices of what every known device executes."""
    alike = float(np.median(adapted(additive(24), 16)[1].sd))
    ranks = []
    for device in draw_devices(2, seed=11, overlap=1.0):
        latency_ms = on_device(device)
        (_, _, vague), (_, prediction, clear) = (adapted(latency_ms, count) for count in (5, 16))
        assert vague.coverage_90 > 0.5
        assert clear.coverage_90 > 0.8
        assert clear.spearman > 0.9
        assert np.median(prediction.sd) > 2 * alike
        ranks.append((vague.spearman, clear.spearman))
    before, after = np.mean(ranks, axis=0)
    assert after > before


def test_what_no_price_explains_widens_the_intervals() -> None:
    """Half the networks take twice as long, for no reason that an architecture shows."""
    latency_ms = additive(24)
    odd = latency_ms * np.where(np.random.default_rng(0).random(len(latency_ms)) < 0.5, 1.5, 1.0)
    calm, doubtful = (adapted(values, 20) for values in (latency_ms, odd))
    assert np.median(doubtful[1].sd) > 2 * np.median(calm[1].sd)
    assert doubtful[0].rest > calm[0].rest
    assert doubtful[2].coverage_90 > 0.8


def test_the_order_of_measuring_does_not_matter_and_nothing_is_random() -> None:
    seen, latency_ms = inputs(networks()[:12]), additive(25)[:12]
    mixed = np.random.default_rng(0).permutation(12)
    one = adapt(prior(), STRUCTURES, seen, latency_ms)
    other = adapt(prior(), STRUCTURES, seen[torch.from_numpy(mixed)], latency_ms[mixed])
    test = inputs(networks()[12:40])
    for first, second in zip(one.marginal(test), other.marginal(test), strict=True):
        assert torch.equal(first, second)
    assert one.log_evidence == other.log_evidence


def test_a_measurement_of_little_certainty_counts_less() -> None:
    seen, latency_ms = inputs(networks()[:10]), additive(26, noise=0.0)[:10]
    wrong = latency_ms.copy()
    wrong[3] *= 1.25
    variances = np.full(10, 1e-4)
    doubted = variances.copy()
    doubted[3] = 0.1
    test = inputs(networks()[20:120])
    truth = np.log(additive(26, noise=0.0)[20:120])
    errors = [
        np.abs(adapt(prior(), STRUCTURES, seen, wrong, each).marginal(test)[0].numpy() - truth).mean()
        for each in (variances, doubted)
    ]
    assert errors[1] < errors[0]


def test_gradients_are_those_of_finite_differences() -> None:
    """Of mean and variance, with respect to relaxed slots, between the vertices and at one."""
    model, *_ = adapted(additive(27), 10)
    rng = np.random.default_rng(0)
    inner = torch.from_numpy(rng.dirichlet(np.ones(5), size=(2, 6)) * 0.5) + inputs(networks()[:2]) * 0.5
    for part in (0, 1):
        checked = torch.autograd.gradcheck(
            lambda some, part=part: model.marginal(some)[part], (inner.requires_grad_(),), atol=1e-6, rtol=1e-3
        )
        assert checked


def test_joint_agrees_with_marginal() -> None:
    model, *_ = adapted(additive(28), 8)
    test = inputs(networks()[40:60])
    mean, covariance = model.joint(test)
    marginal_mean, variance = model.marginal(test)
    assert torch.allclose(mean, marginal_mean)
    assert torch.linalg.eigvalsh(covariance).min() > -1e-8
    assert (covariance.diagonal() <= variance + 1e-9).all()


def test_quantiles_hold_what_they_promise() -> None:
    model, *_ = adapted(additive(29), 10)
    spread = model.distribution(inputs(networks()[:30]))
    for share in (0.05, 0.5, 0.95):
        assert torch.allclose(
            spread.cdf(spread.quantile(share).unsqueeze(-1))[:, 0], torch.tensor(share).double(), atol=0.02
        )
    assert (spread.quantile(0.95) > spread.quantile(0.05)).all()


def test_each_measurement_can_be_predicted_from_the_others() -> None:
    seen, latency_ms = inputs(networks()[:4]), additive(31)[:4]
    found = leave_one_out(prior(), STRUCTURES, seen, latency_ms, np.full(4, np.nan))
    changed = latency_ms.copy()
    changed[2] *= 5
    again = leave_one_out(prior(), STRUCTURES, seen, changed, np.full(4, np.nan))
    assert found.mean[2] == again.mean[2]
    assert (found.low_ms < found.high_ms).all()


def test_chains_of_slots_are_learned_by_name_and_place() -> None:
    rng = np.random.default_rng(0)
    structures = SlotStructures(tuple(("skip", "small", "large") for _ in range(6)))
    slots = rng.integers(0, 3, (300, 6))
    seen = relaxed(slots, 3)
    cost = np.array([0.1, 1.0, 2.0])

    def device(seed: int) -> FloatArray:
        own = np.random.default_rng(seed)
        places = np.exp(own.normal(0, 0.2, (6, 3))) * cost * own.uniform(0.5, 2)
        return np.asarray(0.5 + places[np.arange(6), slots].sum(1))

    known = fit_prior(structures, {f"d{seed}": (seen, device(seed)) for seed in range(6)})
    latency_ms = device(50)
    model = adapt(known, structures, seen[:10], latency_ms[:10])
    assert assess(predict(model, seen[10:]), latency_ms[10:]).spearman > 0.93


@pytest.mark.parametrize(
    ("latency_ms", "variances", "said"),
    [
        ([1.0, np.nan, 2.0], None, "measurement 1: a latency of nan ms"),
        ([1.0, 2.0, -3.0], None, "measurement 2: a latency of -3.0 ms"),
        ([0.0, 2.0, 3.0], None, "measurement 0: a latency of 0.0 ms"),
        ([1.0, 2.0, 3.0], [0.1, -1.0, 0.1], "measurement 1: a variance of -1.0"),
        ([1.0, 2.0], None, "3 architectures, 2 latencies"),
    ],
)
def test_what_cannot_be_a_latency_is_refused(latency_ms: list[float], variances: list[float] | None, said: str) -> None:
    given = None if variances is None else np.array(variances)
    with pytest.raises(DataError, match=said):
        adapt(prior(), STRUCTURES, inputs(networks()[:3]), np.array(latency_ms), given)


def test_a_prior_of_another_space_is_refused() -> None:
    other = SlotStructures((("a", "b"),))
    with pytest.raises(DataError, match="prior's prices are for 7 amounts"):
        adapt(prior(), other, relaxed(np.array([[0]]), 2), np.array([1.0]))


def test_references_are_different_networks_and_the_same_every_time() -> None:
    chosen = choose_references(SPACE, STRUCTURES, prior(), 12, seed=3)
    assert np.array_equal(chosen, choose_references(SPACE, STRUCTURES, prior(), 12, seed=3))
    assert len(np.unique(chosen, axis=0)) == 12
    assert (SPACE.encoding().connected(inputs(chosen)).numpy() > 0).all()
    assert np.array_equal(chosen[:5], choose_references(SPACE, STRUCTURES, prior(), 5, seed=3))
    assert len(choose_references(SPACE, STRUCTURES, prior(), 450, pool=networks())) == 450
    assert choose_references(SPACE, STRUCTURES, prior(), 0).shape == (0, 6)


def test_references_leave_less_in_doubt_than_random_networks() -> None:
    pool, everything = networks()[:200], inputs(networks())
    doubts: dict[str, list[float]] = {"chosen": [], "random": []}
    for seed in range(20, 23):
        latency_ms = dict(zip(map(bytes, networks()), additive(seed, noise=0.05), strict=True))
        sets = {
            "chosen": choose_references(SPACE, STRUCTURES, prior(), 5, seed=seed, pool=pool),
            "random": random_references(SPACE, 5, seed=seed, pool=pool),
        }
        for kind, chosen in sets.items():
            measured = np.array([latency_ms[bytes(row)] for row in chosen])
            mean, _ = adapt(prior(), STRUCTURES, inputs(chosen), measured).marginal(everything)
            doubts[kind].append(float(np.abs(mean.numpy() - np.log(additive(seed, noise=0.0))).mean()))
    assert np.mean(doubts["chosen"]) < np.mean(doubts["random"])


def test_made_up_sources_differ_from_one_another() -> None:
    assert len({tuple(values) for _, values in tables(5).values()}) == 5
