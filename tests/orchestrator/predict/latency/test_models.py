"""Folders of models: amounts, priors, what known devices add, and that nothing leaks from a device that is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.errors import CheckpointError, DataError
from orchestrator.predict.latency.layers import AMOUNTS, layer_amounts
from orchestrator.predict.latency.made_up_models import made_up_tables
from orchestrator.predict.latency.measuring_models import telling_order
from orchestrator.predict.latency.model_prior import (
    AdaptedModels,
    ModelPrior,
    fit_model_prior,
    load_adapted_models,
    load_model_prior,
    save_adapted_models,
    save_model_prior,
)
from orchestrator.predict.latency.model_sources import Sources
from orchestrator.predict.latency.models import (
    MODEL_AMOUNTS,
    ModelFile,
    ModelStructures,
    amounts_of,
    as_cost,
    model_amounts,
    read_models,
)
from orchestrator.predict.latency.quality import assess
from profiling.network_layers import network_layers
from tests.orchestrator.predict.latency.model_folder import CORRUPT, ODD, latencies, network, write_folder

COUNT = 24


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelFile, ...]:
    return read_models(write_folder(tmp_path_factory.mktemp("models") / "folder", COUNT))[0]


def prior_of(models: tuple[ModelFile, ...], devices: int = 3, synthetic: int = 4) -> ModelPrior:
    """Of some devices that have run all models, and made-up ones."""
    amounts, sha256 = amounts_of(models), [model.sha256 for model in models]
    tables = latencies(models, devices, 5)
    known = {name: dict(zip(sha256, values.tolist(), strict=True)) for name, values in tables.items()}
    sources = Sources({name: (amounts, values) for name, values in tables.items()}, known, {})
    return fit_model_prior(models, sources, synthetic=synthetic)


def test_a_folder_is_its_models_and_what_is_wrong_with_others(tmp_path: Path) -> None:
    found, left_out = read_models(write_folder(tmp_path / "folder", 3, odd=True))
    assert [model.name for model in found] == ["a0.tflite", "a1.tflite", "a2.tflite", ODD]
    assert list(left_out) == [CORRUPT]
    assert "damaged" in left_out[CORRUPT]
    assert found[0].sha256 == found[2].sha256 != found[1].sha256
    assert [dict(model.unpriced) for model in found[1:]] == [{}, {}, {"CUSTOM:Fancy": 1}]
    assert found[0].artifact().sha256 == found[0].sha256
    found[0].path.write_bytes(found[1].path.read_bytes())
    with pytest.raises(DataError, match="has changed"):
        found[0].artifact()


def test_a_folder_without_models(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_models(tmp_path / "none")
    (tmp_path / "x.tflite").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"no \.tflite file that can be described\n  x\.tflite is no"):
        read_models(tmp_path)


def test_amounts_of_our_networks_are_those_of_their_files(models: tuple[ModelFile, ...]) -> None:
    for seed in range(5):
        layers = network_layers(network(seed))
        direct = model_amounts(layers)
        (read,) = amounts_of([next(model for model in models if model.name == f"a{seed}.tflite")]).numpy()
        assert direct.tolist() == read.tolist()
        assert direct[: len(AMOUNTS)].tolist() == layer_amounts([as_cost(layer) for layer in layers]).tolist()
        assert not direct[len(AMOUNTS) :].any()
        assert len(direct) == len(MODEL_AMOUNTS)


def test_structures_are_relative_to_what_is_expected_and_so_are_gradients(models: tuple[ModelFile, ...]) -> None:
    structures, amounts = ModelStructures(), amounts_of(models)
    twice = torch.cat([torch.full((len(models), 1), 2.0, dtype=torch.float64), amounts], dim=1)
    assert torch.allclose(2 * structures.amounts(twice)[0], amounts)
    kinship = structures.kinship(twice, twice)
    assert torch.allclose(kinship.diagonal(), torch.ones(len(models), dtype=torch.float64))


def test_made_up_devices_are_sums_over_layers(models: tuple[ModelFile, ...]) -> None:
    tables = made_up_tables(models, 2, seed=3)
    for inputs, latency_ms in tables.values():
        assert torch.allclose(inputs[: len(models)], amounts_of(models))
        assert len(inputs) == len(latency_ms) > len(models)
        assert (latency_ms > 0).all()
    again = made_up_tables(models, 2, seed=3)
    assert all(np.array_equal(again[name][1], values) for name, (_, values) in tables.items())


def test_ten_measurements_rank_all_other_models(models: tuple[ModelFile, ...]) -> None:
    view = fit_model_prior(models, None, synthetic=6).view_of(models)
    order = telling_order(view, models)
    assert len(order) == len(set(order)) == COUNT - 1, "a copy is not measured"
    assert telling_order(view, models, random=True, seed=1) != telling_order(view, models, random=True, seed=2)
    rows, others = np.array(order[:10]), np.array(order[10:])
    for latency_ms in latencies(models, 3, 11).values():
        found = assess(view.predict(view.adapted(rows, latency_ms[rows]), others), latency_ms[others])
        assert found.spearman > 0.9


def test_a_device_like_a_known_one_is_told_by_its_latencies(models: tuple[ModelFile, ...]) -> None:
    prior = prior_of(models)
    view = prior.view_of(models)
    assert view.prior.amounts_of[-3:] == tuple(f"latency on device {index}" for index in range(3))
    known = np.array([prior.known_ms["device 1"][model.sha256] for model in models])
    # What no sum over layers explains, both devices share.
    quirks = np.exp(np.random.default_rng(8).normal(0, 0.2, len(models)))
    quirky = {model.sha256: float(ms) for model, ms in zip(models, known * quirks, strict=True)}
    told = ModelPrior(prior.prices, {**prior.known_ms, "device 1": quirky}).view_of(models)
    order = telling_order(told, models)
    rows, others = np.array(order[:6]), np.array(order[6:])
    latency_ms = 3.0 * known * quirks
    found = assess(told.predict(told.adapted(rows, latency_ms[rows]), others), latency_ms[others])
    blind = fit_model_prior(models, None, synthetic=4).view_of(models)
    without = assess(blind.predict(blind.adapted(rows, latency_ms[rows]), others), latency_ms[others])
    assert found.within_10_percent > max(0.8, without.within_10_percent)


def test_a_device_that_is_left_out_leaves_nothing_behind(models: tuple[ModelFile, ...]) -> None:
    whole = prior_of(models)
    left = whole.without(["device 1"])
    assert "device 1" not in left.known_ms
    assert not any("device 1" in name for name in left.view_of(models).prior.amounts_of)
    tampered = ModelPrior(whole.prices, {**whole.known_ms, "device 1": dict.fromkeys(whole.known_ms["device 1"], 9.0)})
    assert torch.equal(tampered.without(["device 1"]).view_of(models).inputs, left.view_of(models).inputs)


def test_devices_that_ran_few_of_the_models_are_known_by_their_prices_alone(models: tuple[ModelFile, ...]) -> None:
    whole = prior_of(models)
    few = dict(list(whole.known_ms["device 0"].items())[:5])
    view = ModelPrior(whole.prices, {**whole.known_ms, "device 0": few}).view_of(models)
    assert [name for name in view.prior.amounts_of if name.startswith("latency")] == [
        "latency on device 1",
        "latency on device 2",
    ]
    most = dict(list(whole.known_ms["device 0"].items())[:-5])
    filled = ModelPrior(whole.prices, {"device 0": most}).view_of(models)
    exact = ModelPrior(whole.prices, {"device 0": whole.known_ms["device 0"]}).view_of(models)
    assert torch.isfinite(filled.inputs).all()
    assert torch.allclose(filled.inputs[:, -1].log(), exact.inputs[:, -1].log(), atol=0.7)


def test_files_give_the_same_predictor(models: tuple[ModelFile, ...], tmp_path: Path) -> None:
    prior = prior_of(models)
    save_model_prior(tmp_path / "p.safetensors", prior)
    again = load_model_prior(tmp_path / "p.safetensors")
    assert torch.equal(again.view_of(models).inputs, prior.view_of(models).inputs)
    values = np.linspace(1, 2, 4)
    made = AdaptedModels(
        prior, amounts_of(models[:4]), tuple(model.sha256 for model in models[:4]), values, values * 0, {"name": "x"}
    )
    save_adapted_models(tmp_path / "d.safetensors", made)
    said, same = made.predict(models)[1], load_adapted_models(tmp_path / "d.safetensors").predict(models)[1]
    assert same.latency_ms.tolist() == said.latency_ms.tolist()
    with pytest.raises(CheckpointError, match="is not a latency prior of models"):
        load_model_prior(tmp_path / "d.safetensors")


def test_the_order_of_measurements_does_not_matter(models: tuple[ModelFile, ...]) -> None:
    view = fit_model_prior(models, None, synthetic=3).view_of(models)
    latency_ms = latencies(models, 1, 4)["device 0"]
    rows, every = np.arange(8), np.arange(len(models))
    one = view.predict(view.adapted(rows, latency_ms[rows]), every)
    other = view.predict(view.adapted(rows[::-1].copy(), latency_ms[rows[::-1]]), every)
    assert one.latency_ms.tolist() == other.latency_ms.tolist()


def test_no_devices_at_all(models: tuple[ModelFile, ...]) -> None:
    with pytest.raises(DataError, match="no devices to learn from"):
        fit_model_prior(models, None, synthetic=0)
