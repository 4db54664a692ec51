"""What is learned from devices, and that nothing of a held-out one is."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.errors import DataError
from orchestrator.predict.latency.beliefs import beliefs
from orchestrator.predict.latency.noise import fit_noise, noise_shapes
from orchestrator.predict.latency.prices import fit_prices
from orchestrator.predict.latency.prior import LatencyPrior, family_of, fit_prior
from orchestrator.predict.latency.trial import run_trial, unseen
from tests.orchestrator.predict.latency.made_up import (
    SPACE,
    STRUCTURES,
    additive,
    inputs,
    networks,
    prior,
    tables,
)  # fmt: skip


def same(first: LatencyPrior, second: LatencyPrior) -> bool:
    arrays = all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("prices", "spreads", "noise"))
    return arrays and (first.devices, first.families, first.structures) == (
        second.devices, second.families, second.structures,
    )  # fmt: skip


def test_prices_are_recovered_in_spite_of_absurd_values() -> None:
    amounts = STRUCTURES.amounts(inputs(networks()))[0].numpy()
    latency_ms, truth = additive(5, noise=0.01), additive(5, noise=0.0)
    latency_ms[::10] *= 3.0
    scale = float(np.median(latency_ms))
    fit = fit_prices(amounts, latency_ms / scale)
    # Every cell has six edges, so the constant may be charged by the edge as well: sums are what can be told.
    assert amounts @ fit.values * scale == pytest.approx(truth, rel=0.02)
    assert fit.spread < 0.03
    assert (fit_prices(amounts, np.random.default_rng(0).random(len(amounts)) + 0.5).values >= 0).all()


def test_the_structure_of_each_device_is_found() -> None:
    seen = inputs(networks())
    found = fit_prior(STRUCTURES, {f"d{row}": (seen, additive(row, structure=row)) for row in range(6)})
    assert found.structures == (0, 1, 2, 3, 4, 5)


def test_a_prior_without_a_device_is_one_that_never_saw_it() -> None:
    known = tables(5)
    held_out = {name: values for name, values in known.items() if name != "phoneb"}
    assert same(fit_prior(STRUCTURES, known).without(["phoneb"]), fit_prior(STRUCTURES, held_out))


def test_no_label_of_a_held_out_device_or_row_reaches_a_prediction() -> None:
    known = tables(4)
    slots, latency_ms = networks(), known["phonec"][1]
    trial = run_trial(SPACE, fit_prior(STRUCTURES, known), "phonec", slots, latency_ms, 6)
    measured = {row.tobytes() for row in trial.measured.slots}
    others = np.array([row.tobytes() not in measured for row in slots])
    lied = np.where(others, latency_ms[::-1], latency_ms)
    liars = {**known, "phonec": (known["phonec"][0], lied)}
    again = run_trial(SPACE, fit_prior(STRUCTURES, liars), "phonec", slots, lied, 6)
    assert trial.left_out == again.left_out == ("phonec",)
    assert trial.evaluated == len(slots) - 6
    assert np.array_equal(trial.measured.slots, again.measured.slots)
    seen = inputs(slots)
    for one, other in zip(trial.adapted.marginal(seen), again.adapted.marginal(seen), strict=True):
        assert np.array_equal(one.numpy(), other.numpy())
    assert again.quality.spearman < trial.quality.spearman


def test_batch_sizes_of_a_device_are_held_out_with_it() -> None:
    seen = inputs(networks())
    names = ("gpu_1", "gpu_32", "gpu_256", "phone", "silver_4114", "other")
    known = fit_prior(STRUCTURES, {name: (seen, additive(row)) for row, name in enumerate(names)})
    left, out = unseen(known, "gpu_32")
    assert out == ("gpu_1", "gpu_32", "gpu_256")
    assert left.devices == ("phone", "silver_4114", "other")
    assert unseen(known, "gpu_64")[1] == ("gpu_1", "gpu_32", "gpu_256")
    assert unseen(known, "unknown")[1] == ()
    assert family_of("silver_4114", names) == "silver_4114"
    assert known.says == pytest.approx([1 / 12] * 3 + [1 / 4] * 3)
    with pytest.raises(DataError, match="knows no other device"):
        known.without(names)


def test_beliefs_are_a_distribution_with_room_for_the_unlike() -> None:
    for known in (prior(), fit_prior(STRUCTURES, tables(1))):
        found = beliefs(known, STRUCTURES)
        assert sum(each.share for each in found) == pytest.approx(1.0)
        assert {each.structure for each in found} == set(range(len(STRUCTURES.names)))
        assert all(np.linalg.eigvalsh(each.covariance).min() > 0 for each in found)
        assert max(each.stray for each in found) > 0.1


def test_the_shape_of_noise_is_learned_with_as_few_bands_as_there_are() -> None:
    rng = np.random.default_rng(0)
    steady = fit_noise(rng.normal(0, 0.02, 4000))
    assert steady[0] == pytest.approx([1, 0, 0, 0], abs=0.01)
    assert steady[2, 0] == pytest.approx(0.02, rel=0.1)
    slow = np.where(rng.random(4000) < 0.3, 0.2, 0.0) + rng.normal(0, 0.02, 4000)
    slow[::50] = 2.0
    shares, offsets, sds = fit_noise(slow)
    assert shares == pytest.approx([0.69, 0.29, 0, 0.02], abs=0.02)
    assert offsets[:2] == pytest.approx([0, 0.2], abs=0.02)
    assert sds[:2] == pytest.approx([0.02, 0.02], rel=0.2)


def test_noise_of_known_devices_is_expected_of_a_new_one() -> None:
    found = noise_shapes(prior().noise, prior().says)
    assert found.weights.sum() == pytest.approx(1.0)
    assert found.shares.sum(1) == pytest.approx(1.0)
    assert found.sds[:8] == pytest.approx(prior().noise[:, 2])


def test_a_constant_column_teaches_nothing() -> None:
    seen = inputs(networks())
    with pytest.raises(DataError, match="stuck: every latency is 2 ms"):
        fit_prior(STRUCTURES, {"stuck": (seen, np.full(len(seen), 2.0))})
    with pytest.raises(DataError, match="no devices"):
        fit_prior(STRUCTURES, {})
