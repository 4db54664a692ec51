"""Artifacts: the bytes depend on the network and its weights alone, and every layer runs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from orchestrator.space.base import NetworkOptions
from orchestrator.space.nasbench201 import NASBench201
from profiling.network import INPUT, Activation, Layer, Network
from profiling.tflite import emit
from profiling.weights import random_weights
from tests.profiling.network_cases import ACTIVATIONS, activated, chain, other_cases, run_litert, squeeze_excite

ROOT = Path(__file__).parents[2]
SPACE = NASBench201()
SMALL = NetworkOptions((1, 8, 8, 3), 10, {"channels": 4, "cells": 1})
CASES = other_cases() | {f"activated_{name}": activated(name) for name in ACTIVATIONS}


def artifact(network: Network, seed: int = 0) -> bytes:
    return emit(network, random_weights(network, seed))


def nasbench201(slots: tuple[int, ...]) -> Network:
    return SPACE.network(SPACE.architecture(slots), SMALL)


@pytest.mark.parametrize("case", CASES)
def test_every_layer_runs_and_has_its_shape(case: str) -> None:
    network = CASES[case]
    images = np.random.default_rng(0).standard_normal(network.input_shape, dtype=np.float32)
    output = run_litert(artifact(network), images)
    assert output.shape == network.shapes[network.output]
    assert np.isfinite(output).all()


@pytest.mark.parametrize("case", CASES)
def test_every_operator_is_at_the_version_that_the_oldest_runtimes_know(case: str) -> None:
    model = schema.Model.GetRootAs(artifact(CASES[case]), 0)
    codes = [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]
    assert {code.Version() for code in codes} == {1}
    assert all(code.BuiltinCode() == code.DeprecatedBuiltinCode() for code in codes)


def test_the_file_says_what_it_is() -> None:
    data = artifact(squeeze_excite())
    model = schema.Model.GetRootAs(data, 0)
    assert data[4:8] == b"TFL3"
    assert (model.Version(), model.Description(), model.SubgraphsLength()) == (3, b"DeviceNAG", 1)
    graph = model.Subgraphs(0)
    assert graph.Tensors(graph.Inputs(0)).Name() == b"input"
    assert graph.Tensors(graph.Outputs(0)).Name() == b"output"
    signature = model.SignatureDefs(0)
    assert signature.SignatureKey() == b"serving_default"
    assert signature.Inputs(0).TensorIndex() == graph.Inputs(0)
    assert signature.Outputs(0).TensorIndex() == graph.Outputs(0)


def test_constant_data_is_aligned_and_stored_once() -> None:
    model = schema.Model.GetRootAs(artifact(squeeze_excite()), 0)
    contents: Counter[bytes] = Counter()
    for index in range(model.BuffersLength()):
        table = model.Buffers(index)._tab
        if field := table.Offset(4):
            assert table.Vector(field) % 16 == 0
            contents[model.Buffers(index).DataAsNumpy().tobytes()] += 1
    assert len(contents) == 2 * 6 + 2 + 1  # 6 weights and biases, hard-sigmoid's two numbers, the axes of both means
    assert set(contents.values()) == {1}


def test_equal_constants_are_one_tensor() -> None:
    gate = partial(Activation, function="hard_sigmoid")
    for network in (chain(gate), chain(gate, gate, gate)):
        graph = schema.Model.GetRootAs(artifact(network), 0).Subgraphs(0)
        assert sum(graph.Tensors(index).Buffer() > 0 for index in range(graph.TensorsLength())) == 2


def test_relus_are_fused_where_the_format_can() -> None:
    def operators(activation: str | None) -> int:
        return schema.Model.GetRootAs(artifact(activated(activation)), 0).Subgraphs(0).OperatorsLength()

    assert operators("relu") == operators("relu6") == operators(None)
    assert operators("hard_swish") == operators(None) + 6
    assert operators("hard_sigmoid") == operators(None) + 2 * 6


def test_bytes_depend_on_no_name_and_no_order() -> None:
    network = squeeze_excite()
    weights = random_weights(network)
    data = emit(network, weights)
    assert data == emit(network, dict(reversed(weights.items())))
    names = {layer.name: f"unheard_of_{index}" for index, layer in enumerate(network.layers)}

    def renamed(layer: Layer) -> Layer:
        return replace(layer, name=names[layer.name], inputs=tuple(names.get(name, INPUT) for name in layer.inputs))

    other = Network("another", network.input_shape, tuple(renamed(layer) for layer in network.layers))
    assert data == emit(other, {names[name]: layer for name, layer in weights.items()})
    assert b"unheard_of" not in data


def test_bytes_tell_networks_and_weights_apart() -> None:
    network = squeeze_excite()
    wider = replace(network, layers=(*network.layers[:-1], replace(network.layers[-1], units=6)))
    assert len({artifact(network), artifact(network, seed=1), artifact(wider)}) == 3


def test_bytes_are_the_same_in_every_process() -> None:
    program = (
        "import hashlib; from profiling.tflite import emit; from profiling.weights import random_weights\n"
        "from tests.profiling.network_cases import squeeze_excite\n"
        "network = squeeze_excite(); print(hashlib.sha256(emit(network, random_weights(network))).hexdigest())"
    )

    def digest(hash_seed: str) -> str:
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", program]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    here = hashlib.sha256(artifact(squeeze_excite())).hexdigest()
    assert digest("1").strip() == digest("2").strip() == here


def test_isomorphic_architectures_are_one_artifact() -> None:
    classes = defaultdict(list)
    for slots in SPACE.all():
        architecture = SPACE.architecture(slots)
        classes[SPACE.isomorphism_class(architecture)].append(architecture.slots)
    largest = sorted(classes.values(), key=lambda members: (-len(members), members))
    chosen = [*largest[:5], *largest[100:1500:100]]
    artifacts, layers = [], set()
    for members in chosen:
        ends = {artifact(nasbench201(slots)) for slots in (members[0], members[len(members) // 2], members[-1])}
        assert len(ends) == 1, members
        artifacts.append(ends.pop())
        layers.add(nasbench201(members[0]).layers)
    assert len(set(artifacts)) == len(layers) > 15  # classes may differ in what reaches no output


def test_an_architecture_that_reaches_nothing_is_a_constant() -> None:
    data = artifact(nasbench201((0,) * 6))
    rng = np.random.default_rng(0)
    one, two = (run_litert(data, rng.standard_normal((1, 8, 8, 3), dtype=np.float32)) for _ in range(2))
    assert one.shape == (1, 10)
    np.testing.assert_array_equal(one, two)


def test_wrong_weights_are_refused() -> None:
    network = squeeze_excite()
    weights = random_weights(network)
    del weights["reduce"]
    with pytest.raises(ValueError, match="no weights for reduce"):
        emit(network, weights)


def test_an_unknown_layer_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="odd: Layer has no TFLite form"):
        emit(Network("n", (1, 4, 4, 1), (Layer("odd", (INPUT,)),)), {})
