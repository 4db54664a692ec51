"""Networks for tests: one per kind of layer, and random ones; and how to run an artifact here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from hypothesis import strategies as st
from numpy.typing import NDArray

from profiling.network import (
    INPUT,
    Activation,
    ActivationName,
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
    Scale,
)

Step = Callable[..., Layer]  # a layer but for its name and inputs

IMAGE = (1, 7, 10, 3)
ACTIVATIONS: tuple[ActivationName | None, ...] = (None, *get_args(ActivationName))


def chain(*steps: Step, input_shape: tuple[int, int, int, int] = IMAGE) -> Network:
    """Layers one after the other."""
    layers: list[Layer] = []
    for step in steps:
        layers.append(step(f"layer{len(layers)}", (layers[-1].name if layers else INPUT,)))
    return Network("chain", input_shape, tuple(layers))


def windows(kind: Callable[..., Step], padding: str) -> list[Network]:
    """Kernels of 1 to 5 with strides of 1 to 3 over sizes that are even and odd."""
    return [
        chain(kind(kernel=kernel, stride=stride, padding=padding), input_shape=shape)
        for kernel in (1, 2, 3, 5)
        for stride in (1, 2, 3)
        for shape in ((1, 7, 10, 3), (2, 8, 5, 3))
    ]


WINDOW_KINDS: dict[str, Callable[..., Step]] = {
    "convolution": partial(partial, Conv2D, filters=4),
    "depthwise": partial(partial, DepthwiseConv2D),
    "average_pool": partial(partial, Pool2D, kind="average"),
    "max_pool": partial(partial, Pool2D, kind="max"),
}


def activated(activation: ActivationName | None) -> Network:
    """The activation after every kind of layer that can carry one."""
    layers: tuple[Layer, ...] = (
        Conv2D("conv", (INPUT,), filters=4, kernel=3, activation=activation),
        DepthwiseConv2D("depthwise", ("conv",), kernel=3, batch_norm=False, activation=activation),
        BatchNorm("norm", ("depthwise",), activation=activation),
        Add("add", ("norm", "conv"), activation=activation),
        GlobalMean("mean", ("add",)),
        BatchNorm("norm2", ("mean",), activation=activation),
        FullyConnected("dense", ("norm2",), units=6, activation=activation),
    )
    return Network("activated", IMAGE, layers)


def squeeze_excite() -> Network:
    """A block as in MobileNetV3: expand, depthwise, gate, project, residual."""
    layers: tuple[Layer, ...] = (
        Conv2D("expand", (INPUT,), filters=8, kernel=1, activation="hard_swish"),
        DepthwiseConv2D("depthwise", ("expand",), kernel=5, activation="hard_swish"),
        GlobalMean("squeeze", ("depthwise",), keep_dims=True),
        Conv2D("reduce", ("squeeze",), filters=4, kernel=1, batch_norm=False, activation="relu"),
        Conv2D("excite", ("reduce",), filters=8, kernel=1, batch_norm=False, activation="hard_sigmoid"),
        Multiply("gate", ("depthwise", "excite")),
        Conv2D("project", ("gate",), filters=3, kernel=1),
        Add("residual", ("project", INPUT)),
        Multiply("square", ("residual", "residual")),
        GlobalMean("mean", ("square",)),
        FullyConnected("classifier", ("mean",), units=5),
    )
    return Network("squeeze_excite", IMAGE, layers)


def other_cases() -> dict[str, Network]:
    """Every layer that is neither a window nor covered by `activated`, and blocks of several."""
    standalone = {f"{name}_alone": chain(partial(Activation, function=name)) for name in get_args(ActivationName)}
    return standalone | {
        "global_mean": chain(GlobalMean),
        "global_mean_keep": chain(partial(GlobalMean, keep_dims=True)),
        "scale": chain(partial(Scale, factor=-0.37)),
        "pad": chain(partial(Pad, top=1, bottom=0, left=2, right=3)),
        "batch_norm": chain(BatchNorm),
        "one_channel": chain(partial(DepthwiseConv2D, kernel=3), input_shape=(1, 6, 6, 1)),
        "one_filter": chain(partial(Conv2D, filters=1, kernel=3)),
        "one_pixel": chain(
            partial(Conv2D, filters=3, kernel=3),
            partial(Pool2D, kind="average", kernel=3, stride=2),
            input_shape=(1, 1, 1, 2),
        ),
        "batch_of_3": chain(
            partial(Conv2D, filters=2, kernel=3), GlobalMean, partial(FullyConnected, units=2), input_shape=(3, 5, 5, 2)
        ),
        "squeeze_excite": squeeze_excite(),
        "head_without_bias": chain(
            partial(GlobalMean, keep_dims=True),
            partial(Conv2D, filters=6, kernel=1, batch_norm=False, bias=False, activation="hard_swish"),
            partial(FullyConnected, units=4),
            input_shape=(2, 5, 5, 3),
        ),
    }


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Random graphs of up to eight layers over small images, with or without a classifier."""
    size = st.integers(1, 9)
    shape = (draw(st.integers(1, 2)), draw(size), draw(size), draw(st.integers(1, 4)))
    layers: list[Layer] = []
    shapes = {INPUT: shape}
    for index in range(draw(st.integers(1, 8))):
        layer = draw(_layers(f"layer{index}", shapes))
        layers.append(layer)
        shapes = dict(Network("partial", shape, tuple(layers)).shapes)
    if draw(st.booleans()):
        layers.append(GlobalMean("mean", (layers[-1].name,)))
        layers.append(FullyConnected("classifier", ("mean",), units=draw(st.integers(1, 5))))
    return Network("random", shape, tuple(layers))


@st.composite
def _layers(draw: st.DrawFn, name: str, shapes: dict[str, tuple[int, ...]]) -> Layer:
    """A layer that fits onto one of the tensors there are, or onto two of them."""
    source = draw(st.sampled_from(sorted(shapes)))
    alike = sorted(other for other, shape in shapes.items() if shape == shapes[source])
    one, two = (source,), (source, draw(st.sampled_from(alike)))
    padding = draw(st.sampled_from(("same", "valid")))
    largest = 5 if padding == "same" else min(5, *shapes[source][1:3])
    window = {"kernel": draw(st.integers(1, largest)), "stride": draw(st.integers(1, 3)), "padding": padding}
    activation = draw(st.sampled_from(ACTIVATIONS))
    match draw(st.integers(0, 9)):
        case 0:
            filters, batch_norm = draw(st.integers(1, 4)), draw(st.booleans())
            return Conv2D(name, one, filters=filters, batch_norm=batch_norm, activation=activation, **window)
        case 1:
            return DepthwiseConv2D(name, one, batch_norm=draw(st.booleans()), activation=activation, **window)
        case 2:
            return Pool2D(name, one, kind=draw(st.sampled_from(("average", "max"))), **window)
        case 3:
            return BatchNorm(name, one, activation=activation)
        case 4:
            return Activation(name, one, function=activation or "relu")
        case 5:
            return GlobalMean(name, one, keep_dims=True)
        case 6:
            return Scale(name, one, factor=draw(st.sampled_from((-1.5, 0.5, 2.0))))
        case 7:
            top, bottom, left, right = draw(st.tuples(*[st.integers(0, 2)] * 4))
            return Pad(name, one, top=top, bottom=bottom, left=left, right=right)
        case 8:
            return Add(name, two, activation=activation)
        case _:
            return Multiply(name, two)


def run_litert(artifact: bytes, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The output for NHWC images, by LiteRT's interpreter on one thread."""
    interpreter = Interpreter(model_content=artifact, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
