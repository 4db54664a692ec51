"""What each operator of a network takes, without compiling it: the same as reading its `.tflite` back.

A layer whose activation the format cannot fuse is several operators, as in `profiling.tflite_graph`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

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
    Shape,
)
from profiling.tflite_layers import Kind, ModelLayer
from profiling.weights import weight_shapes

_FLOAT_BYTES = 4
_FUSED = ("relu", "relu6")


def network_layers(network: Network) -> tuple[ModelLayer, ...]:
    """Every operator of a float32 network, in order of execution. Raises ValueError for a layer of an unknown kind."""
    layers: list[ModelLayer] = []
    made_by: dict[str, int] = {}
    weights = weight_shapes(network)
    for layer in network.layers:
        waits_for = tuple(sorted({made_by[name] for name in layer.inputs if name != INPUT}))
        inputs, output = network.input_shapes(layer), network.shapes[layer.name]
        for operator in _operators(layer, [math.prod(shape) for shape in weights.get(layer.name, ())]):
            layers.append(_layer(layer, operator, inputs, output, waits_for))
            made_by[layer.name] = len(layers) - 1
            inputs, waits_for = [output], (len(layers) - 1,)  # the parts of a layer follow one another
    return tuple(layers)


@dataclass(frozen=True)
class _Operator:
    """What a layer is, or is split into; `weights` are numbers."""

    code: str
    kind: Kind = "elementwise"
    weights: int = 0


def _operators(layer: Layer, weights: Sequence[int]) -> Iterator[_Operator]:
    """The operators of a layer."""
    match layer:
        case Conv2D(kernel=kernel):
            yield _Operator("CONV_2D", "pointwise" if kernel == 1 else "convolution", sum(weights))
        case DepthwiseConv2D():
            yield _Operator("DEPTHWISE_CONV_2D", "depthwise", sum(weights))
        case FullyConnected():
            yield _Operator("FULLY_CONNECTED", "fully connected", sum(weights))
        case BatchNorm():
            scale, shift = (count if count > 1 else 0 for count in weights)  # a single number is no weight
            yield _Operator("MUL", weights=scale)
            yield _Operator("ADD", weights=shift)
        case Pool2D(kind=kind):
            yield _Operator(f"{kind.upper()}_POOL_2D", "pooling")
        case GlobalMean():
            yield _Operator("MEAN", "pooling")
        case Add():
            yield _Operator("ADD")
        case Multiply() | Scale():
            yield _Operator("MUL")
        case Pad():
            yield _Operator("PAD")
        case Activation(function=function):
            yield from _activation(function)
            return
        case _:
            raise ValueError(f"{layer.name}: {type(layer).__name__} has no TFLite form")
    after: ActivationName | None = getattr(layer, "activation", None)
    if after is not None and after not in _FUSED:
        yield from _activation(after)


def _activation(function: ActivationName) -> Iterator[_Operator]:
    """An activation on its own."""
    if function == "hard_sigmoid":
        yield _Operator("ADD")
        yield _Operator("MUL")
    else:
        yield _Operator(function.upper())


def _layer(
    layer: Layer, operator: _Operator, inputs: Sequence[Shape], output: Shape, waits_for: tuple[int, ...]
) -> ModelLayer:
    found = ModelLayer(
        code=operator.code,
        kind=operator.kind,
        multiply_adds=0,
        bytes_read=_FLOAT_BYTES * float(sum(map(math.prod, inputs))),
        bytes_written=_FLOAT_BYTES * float(math.prod(output)),
        weight_bytes=_FLOAT_BYTES * float(operator.weights),
        output_shape=output,
        shape=(1, 1, *inputs[0], *output),
        waits_for=waits_for,
        integer=False,
        priced=True,
    )
    if operator.kind == "elementwise" or operator.code == "MEAN":
        return found
    window = (getattr(layer, "kernel", 1), getattr(layer, "stride", 1))
    return replace(found, multiply_adds=layer.multiply_adds(inputs), shape=(*window, *inputs[0], *output))
