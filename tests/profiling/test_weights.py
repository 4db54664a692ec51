"""Weights: shapes, random ones that are the same everywhere, and their files."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from profiling.network import BatchNorm, Conv2D, DepthwiseConv2D, FullyConnected, GlobalMean, Network
from profiling.weights import LayerWeights, Weights, check_weights, load_weights, random_weights, save_weights
from profiling.weights import weight_shapes as shapes_of
from tests.profiling.network_cases import chain, squeeze_excite

NETWORK = chain(
    partial(Conv2D, filters=8, kernel=3),
    partial(DepthwiseConv2D, kernel=5),
    BatchNorm,
    GlobalMean,
    partial(FullyConnected, units=4),
)


def equal(left: Weights, right: Weights) -> bool:
    """Whether two sets of weights are the same bits."""
    return left.keys() == right.keys() and all(
        np.array_equal(left[name].weight, right[name].weight) and np.array_equal(left[name].bias, right[name].bias)
        for name in left
    )


def test_layouts_are_tflites() -> None:
    assert shapes_of(NETWORK) == {
        "layer0": ((8, 3, 3, 3), (8,)),
        "layer1": ((1, 5, 5, 8), (8,)),
        "layer2": ((8,), (8,)),
        "layer4": ((4, 8), (4,)),
    }


def test_random_weights_depend_on_the_seed_and_not_on_names() -> None:
    weights = random_weights(NETWORK, seed=1)
    check_weights(NETWORK, weights)
    assert equal(weights, random_weights(NETWORK, seed=1))
    assert not equal(weights, random_weights(NETWORK, seed=2))
    renamed = {"input": "input"} | {layer.name: f"other{n}" for n, layer in enumerate(NETWORK.layers)}
    layers = tuple(
        replace(layer, name=renamed[layer.name], inputs=tuple(renamed[name] for name in layer.inputs))
        for layer in NETWORK.layers
    )
    others = random_weights(Network("other", NETWORK.input_shape, layers), seed=1)
    assert equal(weights, dict(zip(weights, others.values(), strict=True)))


def test_random_weights_are_the_same_on_every_machine() -> None:
    weights = random_weights(chain(partial(Conv2D, filters=2, kernel=1), BatchNorm), seed=0)
    assert [float(value).hex() for value in weights["layer0"].weight.flat] == [
        "0x1.8caeea0000000p-2",
        "-0x1.4d62700000000p-1",
        "-0x1.4c5ee60000000p+0",
        "-0x1.5e12480000000p+0",
        "0x1.c5a9ea0000000p-1",
        "0x1.2addf00000000p+0",
    ]
    assert [float(value).hex() for value in weights["layer1"].weight] == [
        "0x1.023bcc0000000p+0",
        "0x1.1646940000000p+0",
    ]


def test_random_weights_keep_the_variance_of_a_relu_network() -> None:
    wide = chain(partial(Conv2D, filters=64, kernel=3), input_shape=(1, 8, 8, 32))
    kernel = random_weights(wide)["layer0"].weight
    assert kernel.var() == pytest.approx(2 / (9 * 32), rel=0.05)
    assert kernel.mean() == pytest.approx(0, abs=0.002)


def test_files_give_back_the_same_bits(tmp_path: Path) -> None:
    weights = random_weights(squeeze_excite(), seed=5)
    save_weights(tmp_path / "weights.safetensors", weights)
    assert equal(weights, load_weights(tmp_path / "weights.safetensors"))
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_a_corrupt_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(path, random_weights(NETWORK))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is no safetensors file"):
        load_weights(path)


@pytest.mark.parametrize("names", [("a.weight",), ("a.weight", "a.bias", "b.scale"), ("bias", "weight")])
def test_a_file_of_other_tensors_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "other.safetensors"
    save_file({name: np.zeros(3, np.float32) for name in names}, path)
    with pytest.raises(ValueError, match="holds no weights of a network"):
        load_weights(path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="weights"):
        load_weights(tmp_path / "weights.safetensors")


def test_wrong_weights_are_refused_by_name() -> None:
    weights = random_weights(NETWORK)
    first = weights["layer0"]
    with pytest.raises(ValueError, match="no weights for layer0"):
        check_weights(NETWORK, {name: weights[name] for name in weights if name != "layer0"})
    with pytest.raises(ValueError, match="weights for layer3: the network has no such"):
        check_weights(NETWORK, {**weights, "layer3": first})
    with pytest.raises(ValueError, match=r"layer0.weight: needs float32 \(8, 3, 3, 3\), got float32 \(3, 3, 3, 8\)"):
        check_weights(NETWORK, {**weights, "layer0": LayerWeights(first.weight.transpose(1, 2, 3, 0), first.bias)})
    with pytest.raises(ValueError, match=r"layer0.bias: needs float32 \(8,\), got float64"):
        check_weights(NETWORK, {**weights, "layer0": LayerWeights(first.weight, first.bias.astype(np.float64))})
