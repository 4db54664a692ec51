"""Describing a network and reading back its `.tflite` say the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from orchestrator.space.base import Space
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from profiling.network import INPUT, Layer, Network
from profiling.network_layers import network_layers
from profiling.tflite import emit
from profiling.tflite_layers import ModelLayer, model_layers
from profiling.tflite_reader import read_model
from profiling.weights import random_weights
from tests.profiling.network_cases import ACTIVATIONS, WINDOW_KINDS, activated, networks, other_cases, windows

CASES = other_cases() | {f"activated_{name}": activated(name) for name in ACTIVATIONS}


def read_back(network: Network) -> tuple[ModelLayer, ...]:
    return model_layers(read_model(emit(network, random_weights(network))))


@pytest.mark.parametrize("case", CASES)
def test_every_layer(case: str) -> None:
    assert network_layers(CASES[case]) == read_back(CASES[case])


@pytest.mark.parametrize("kind", WINDOW_KINDS)
def test_every_window(kind: str) -> None:
    for network in windows(WINDOW_KINDS[kind], "same"):
        assert network_layers(network) == read_back(network)


@given(networks())
@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_random_networks(network: Network) -> None:
    assert network_layers(network) == read_back(network)


@pytest.mark.parametrize("space", [NASBench201(), MobileNetV3()], ids=lambda space: space.name)
def test_networks_of_spaces(space: Space) -> None:
    for row in space.sample(2, np.random.default_rng(0)):
        network = space.network(space.architecture(row), space.usual_network)
        layers = network_layers(network)
        assert layers == read_back(network)
        assert sum(layer.multiply_adds for layer in layers) == network.multiply_adds


def test_a_layer_that_nobody_knows() -> None:
    class Fancy(Layer):
        """Not one of ours."""

    with pytest.raises(ValueError, match="fancy: Fancy has no TFLite form"):
        network_layers(Network("odd", (1, 2, 2, 1), (Fancy("fancy", (INPUT,)),)))
