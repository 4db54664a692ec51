"""Networks: shapes, sizes, and what cannot be built."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, settings

from profiling.network import (
    INPUT,
    Add,
    BatchNorm,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    GlobalMean,
    Layer,
    Multiply,
    Network,
    Pad,
    Pool2D,
)
from tests.profiling.network_cases import IMAGE, chain, networks, squeeze_excite


def test_shapes_follow_the_layers() -> None:
    network = chain(
        partial(Conv2D, filters=8, kernel=3, stride=2),
        partial(Pad, top=1, bottom=0, left=2, right=3),
        partial(Pool2D, kind="max", kernel=2, stride=2, padding="valid"),
        partial(DepthwiseConv2D, kernel=3),
        GlobalMean,
        partial(FullyConnected, units=5),
    )
    shapes = [(1, 4, 5, 8), (1, 5, 10, 8), (1, 2, 5, 8), (1, 2, 5, 8), (1, 8), (1, 5)]
    assert [network.shapes[layer.name] for layer in network.layers] == shapes
    assert network.shapes[INPUT] == IMAGE
    assert network.output == "layer5"


def test_parameters_and_multiply_adds_are_counted_by_hand() -> None:
    network = chain(
        partial(Conv2D, filters=8, kernel=3, stride=2),  # 4x5 outputs
        partial(Conv2D, filters=4, kernel=1, batch_norm=False),
        partial(DepthwiseConv2D, kernel=5),
        BatchNorm,
        GlobalMean,
        partial(FullyConnected, units=10),
    )
    assert network.parameters == (9 * 3 * 8 + 16) + (8 * 4 + 4) + (25 * 4 + 8) + 8 + (4 * 10 + 10)
    assert network.multiply_adds == 20 * (9 * 3 * 8 + 8 * 4 + 25 * 4) + 40


def test_squeeze_excite_gates_every_channel() -> None:
    assert squeeze_excite().shapes["excite"] == (1, 1, 1, 8)


@given(networks())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_every_shape_is_positive_and_every_input_known(network: Network) -> None:
    assert all(min(shape) >= 1 for shape in network.shapes.values())
    assert all(name in network.shapes for layer in network.layers for name in layer.inputs)


CONV = partial(Conv2D, filters=4, kernel=3)

IMPOSSIBLE: dict[str, tuple[tuple[Layer, ...], str]] = {
    "no layers": ((), "has no layers"),
    "a name twice": ((CONV("a", (INPUT,)), CONV("a", (INPUT,))), "two layers are called 'a'"),
    "a name for the input": ((CONV(INPUT, (INPUT,)),), "two layers are called 'input'"),
    "a later layer read": ((CONV("a", ("b",)), CONV("b", (INPUT,))), r"a: reads \['b'\]"),
    "too few inputs": ((Add("sum", (INPUT,)),), "sum: needs 2 inputs, got 1"),
    "too many inputs": ((CONV("a", (INPUT, INPUT)),), "a: needs 1 inputs, got 2"),
    "unequal summands": ((CONV("a", (INPUT,)), Add("sum", ("a", INPUT))), "sum: cannot add"),
    "a gate of other channels": (
        (CONV("a", (INPUT,)), GlobalMean("gate", ("a",), keep_dims=True), Multiply("product", (INPUT, "gate"))),
        "product: cannot multiply",
    ),
    "a window too large": ((Conv2D("a", (INPUT,), filters=1, kernel=9, padding="valid"),), "a: a 9x9 window"),
    "no stride": ((Conv2D("a", (INPUT,), filters=1, kernel=3, stride=0),), "a: a window needs"),
    "no filters": ((Conv2D("a", (INPUT,), filters=0, kernel=3),), r"a: has no elements"),
    "features from an image": ((FullyConnected("a", (INPUT,), units=3),), r"a: needs \(batch, features\)"),
    "a window over features": ((GlobalMean("m", (INPUT,)), CONV("a", ("m",))), r"a: needs \(batch, height"),
    "the mean of features": ((GlobalMean("m", (INPUT,)), GlobalMean("n", ("m",))), r"n: needs \(batch, height"),
    "negative padding": ((Pad("p", (INPUT,), top=-1, bottom=0, left=0, right=0),), "p: padding takes nothing away"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_cannot_be_is_refused_by_name(what: str) -> None:
    layers, message = IMPOSSIBLE[what]
    with pytest.raises(ValueError, match=message):
        Network("impossible", IMAGE, layers)
