"""What is trained is what is deployed: torch and LiteRT agree on every network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from orchestrator.objective.torch_network import TorchNetwork, fold, same_margins
from orchestrator.space.base import NetworkOptions
from orchestrator.space.nasbench201 import NASBench201
from profiling.network import Activation, Add, Conv2D, Layer, Network, Pad, Pool2D, Scale
from profiling.tflite import emit
from profiling.weights import LayerWeights, Weights, check_weights
from tests.profiling.network_cases import (
    ACTIVATIONS,
    WINDOW_KINDS,
    activated,
    networks,
    other_cases,
    run_litert,
    windows,
)

TOLERANCE = 1e-4  # greatest difference over greatest output
WRONG = 1e-2  # what every wrong operator below must exceed

SPACE = NASBench201()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def trained_looking(network: Network, seed: int) -> TorchNetwork:
    """A module in evaluation whose batch-norms have seen data and whose activations reach beyond 6."""
    torch.manual_seed(seed)
    module = TorchNetwork(network)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5)
                part.bias.normal_(std=0.5)
                part.get_buffer("running_mean").normal_(std=0.5)
                part.get_buffer("running_var").uniform_(0.3, 2)
    return module.eval()


def images(network: Network, seed: int = 0) -> torch.Tensor:
    """Channels-first images."""
    batch, height, width, channels = network.input_shape
    return 2 * torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(seed))


def relative_error(module: TorchNetwork, network: Network, weights: Weights) -> float:
    """How far the artifact of this network and weights is from the module."""
    x = images(network)
    with torch.no_grad():
        expected = module(x)
    if expected.ndim == 4:
        expected = expected.permute(0, 2, 3, 1)
    got = run_litert(emit(network, weights), x.permute(0, 2, 3, 1).contiguous().numpy())
    assert got.shape == tuple(expected.shape) == network.shapes[network.output]
    return float(np.abs(got - expected.numpy()).max() / max(expected.abs().max().item(), 1e-6))


def parity(network: Network, seed: int = 0) -> float:
    module = trained_looking(network, seed)
    return relative_error(module, network, fold(module))


def nasbench201(text: str, size: tuple[int, int] = (8, 8), channels: int = 4, cells: int = 1) -> Network:
    options = NetworkOptions((1, *size, 3), 10, {"channels": channels, "cells": cells})
    return SPACE.network(SPACE.parse(text), options)


def test_fifty_random_nasbench201_architectures_agree() -> None:
    rng = np.random.default_rng(201)
    for index, slots in enumerate(SPACE.sample(50, rng)):
        text = SPACE.architecture(slots).text
        size = (int(rng.integers(8, 17)), int(rng.integers(8, 17)))
        network = nasbench201(text, size, channels=int(rng.integers(4, 9)), cells=1 + index % 2)
        assert parity(network, seed=index) <= TOLERANCE, (text, size)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kind", WINDOW_KINDS)
def test_windows_agree_at_every_size_and_stride(kind: str, padding: str) -> None:
    for network in windows(WINDOW_KINDS[kind], padding):
        assert parity(network) <= TOLERANCE, (network.layers, network.input_shape)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_agree_after_every_layer(activation: str) -> None:
    assert parity(activated(activation)) <= TOLERANCE


@pytest.mark.parametrize(("name", "network"), other_cases().items())
def test_every_other_layer_agrees(name: str, network: Network) -> None:
    assert parity(network) <= TOLERANCE


@given(networks())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_random_graphs_agree(network: Network) -> None:
    assert parity(network) <= TOLERANCE


Mutation = Callable[[Network, Weights], tuple[Network, Weights]]

EVERYTHING = "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_3x3~1|avg_pool_3x3~2|"


def exchange(wanted: Callable[[Layer], bool], *replacement: Callable[[Layer], Layer]) -> Mutation:
    """Put other layers, one after the other, in the place of the first layer that is wanted."""

    def mutate(network: Network, weights: Weights) -> tuple[Network, Weights]:
        position = next(index for index, layer in enumerate(network.layers) if wanted(layer))
        victim = network.layers[position]
        chained: list[Layer] = []
        for index, make in enumerate(replacement, start=1):
            layer = make(victim)
            name = victim.name if index == len(replacement) else f"extra{index}"
            chained.append(replace(layer, name=name, inputs=(chained[-1].name,) if chained else layer.inputs))
        layers = (*network.layers[:position], *chained, *network.layers[position + 1 :])
        return Network("wrong", network.input_shape, layers), weights

    return mutate


def reweigh(change: Callable[[LayerWeights], LayerWeights]) -> Mutation:
    """Change the weights of the first 3x3 convolution with stride 1 behind the stem."""

    def mutate(network: Network, weights: Weights) -> tuple[Network, Weights]:
        convolutions = [layer for layer in network.layers if isinstance(layer, Conv2D) and layer.kernel == 3]
        name = convolutions[1].name
        return network, {**weights, name: change(weights[name])}

    return mutate


def is_pool(layer: Layer) -> bool:
    return isinstance(layer, Pool2D) and layer.kernel == 3


def is_strided(layer: Layer) -> bool:
    return isinstance(layer, Conv2D) and layer.stride == 2


def pad_all_round(layer: Layer) -> Layer:
    return Pad(layer.name, layer.inputs, top=1, bottom=1, left=1, right=1)


WRONG_OPERATORS: dict[str, Mutation] = {
    "maximum instead of average": exchange(is_pool, lambda layer: replace(layer, kind="max")),
    "average that counts the padding": exchange(is_pool, pad_all_round, lambda layer: replace(layer, padding="valid")),
    "missing ReLU": exchange(
        lambda layer: isinstance(layer, Activation), lambda layer: Scale(layer.name, layer.inputs, factor=1.0)
    ),
    "missing fused ReLU": exchange(
        lambda layer: isinstance(layer, Conv2D) and layer.activation == "relu",
        lambda layer: replace(layer, activation=None),
    ),
    "ReLU6 instead of ReLU": exchange(
        lambda layer: isinstance(layer, Conv2D) and layer.activation == "relu",
        lambda layer: replace(layer, activation="relu6"),
    ),
    "one summand missing": exchange(
        lambda layer: isinstance(layer, Add), lambda layer: Scale(layer.name, layer.inputs[:1], factor=1.0)
    ),
    "symmetric padding": exchange(is_strided, pad_all_round, lambda layer: replace(layer, padding="valid")),
    "kernel flipped": reweigh(lambda w: LayerWeights(np.ascontiguousarray(w.weight[:, ::-1, ::-1]), w.bias)),
    "kernel transposed": reweigh(lambda w: LayerWeights(np.ascontiguousarray(w.weight.swapaxes(1, 2)), w.bias)),
    "channels exchanged": reweigh(lambda w: LayerWeights(np.ascontiguousarray(w.weight.swapaxes(0, 3)), w.bias)),
    "batch-norm shift not folded": reweigh(lambda w: LayerWeights(w.weight, np.zeros_like(w.bias))),
}


@pytest.mark.parametrize("wrong", WRONG_OPERATORS)
def test_a_wrong_operator_would_be_noticed(wrong: str) -> None:
    network = nasbench201(EVERYTHING)
    module = trained_looking(network, seed=0)
    assert relative_error(module, network, fold(module)) <= TOLERANCE
    assert relative_error(module, *WRONG_OPERATORS[wrong](network, fold(module))) > WRONG


def test_the_classifier_needs_no_flattening_and_the_batch_is_free() -> None:
    network = nasbench201(EVERYTHING)
    module = trained_looking(network, seed=3)
    x = torch.cat([images(network, seed) for seed in range(3)])
    with torch.no_grad():
        together = module(x)
        alone = torch.cat([module(image[None]) for image in x])
    assert together.shape == (3, 10)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_training_changes_what_is_folded_and_stays_in_agreement() -> None:
    torch.manual_seed(0)
    network = nasbench201(EVERYTHING)
    module = TorchNetwork(network)
    before = fold(copy.deepcopy(module))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    x, labels = torch.randn(16, 3, 8, 8), torch.randint(0, 10, (16,))
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    weights = fold(module.eval())
    check_weights(network, weights)
    assert all(np.abs(weights[name].weight - before[name].weight).max() > 0 for name in weights)
    assert relative_error(module, network, weights) <= TOLERANCE


def test_parameters_are_as_the_network_counts_them() -> None:
    for network in (nasbench201(EVERYTHING), *other_cases().values()):
        assert sum(parameter.numel() for parameter in TorchNetwork(network).parameters()) == network.parameters


def test_feature_maps_are_channels_last_for_channels_first_images() -> None:
    module = TorchNetwork(nasbench201(EVERYTHING))
    formats = []
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.register_forward_hook(
                lambda _, inputs, output: formats.append(output.is_contiguous(memory_format=torch.channels_last))
            )
    module(torch.randn(2, 3, 8, 8))
    assert formats
    assert all(formats)


def test_an_unknown_layer_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="odd: Layer has no torch form"):
        TorchNetwork(Network("n", (1, 4, 4, 1), (Layer("odd", ("input",)),)))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "margins"),
    [(8, 3, 1, (1, 1)), (8, 3, 2, (0, 1)), (7, 3, 2, (1, 1)), (8, 2, 1, (0, 1)), (8, 1, 2, (0, 0)), (5, 5, 3, (1, 2))],
)
def test_same_margins_are_tensorflows(size: int, kernel: int, stride: int, margins: tuple[int, int]) -> None:
    assert same_margins(size, kernel, stride) == margins
