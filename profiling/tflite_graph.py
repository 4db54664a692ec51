"""The TFLite graph of a network: which operators, which tensors, which constants.

Every operator is used at version 1, which the oldest runtimes know too. Names in the graph are made of operators and
positions, never of layer names: equal networks give equal graphs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema
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
    Padding,
    Pool2D,
    Scale,
    Shape,
)
from profiling.weights import LayerWeights, Weights, check_weights

_PADDING: dict[Padding, int] = {"same": schema.Padding.SAME, "valid": schema.Padding.VALID}
_FUSED: dict[ActivationName | None, int] = {
    None: schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
}
_TYPES = {np.dtype("<f4"): schema.TensorType.FLOAT32, np.dtype("<i4"): schema.TensorType.INT32}


@dataclass(frozen=True)
class Tensor:
    """A tensor; `buffer` 0 is the empty buffer of tensors that are computed."""

    name: str
    shape: Shape
    type: int
    buffer: int = 0


@dataclass(frozen=True)
class Options:
    """An operator's options: a table of the schema, by the name of its class, and the fields that it sets."""

    table: str
    fields: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Operator:
    """One operator; inputs and output are positions in `Graph.tensors`.

    Attributes:
        code: Its name in the schema's `BuiltinOperator`.
    """

    code: str
    inputs: tuple[int, ...]
    output: int
    options: Options | None


@dataclass(frozen=True)
class Graph:
    """A graph ready to be written; `buffers[0]` is empty."""

    tensors: tuple[Tensor, ...]
    buffers: tuple[bytes, ...]
    operators: tuple[Operator, ...]
    input: int
    output: int


def build_graph(network: Network, weights: Weights) -> Graph:
    """The graph that computes the network with these weights.

    Raises:
        ValueError: The weights are not the network's, or a layer is of an unknown kind.
    """
    check_weights(network, weights)
    lowering = _Lowering()
    tensors = {INPUT: lowering.tensor("input", network.input_shape)}
    for layer in network.layers:
        inputs = [tensors[name] for name in layer.inputs]
        tensors[layer.name] = lowering.layer(layer, inputs, network.shapes[layer.name], weights.get(layer.name))
    return lowering.graph(tensors[INPUT], tensors[network.output])


class _Lowering:
    """Collects tensors, operators and constants; equal constants are stored once."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []
        self._operators: list[Operator] = []
        self._buffers: dict[bytes, int] = {b"": 0}
        self._constants: dict[tuple[Shape, int, int], int] = {}

    def graph(self, source: int, output: int) -> Graph:
        """What was collected."""
        self._tensors[output] = replace(self._tensors[output], name="output")
        return Graph(tuple(self._tensors), tuple(self._buffers), tuple(self._operators), source, output)

    def tensor(self, name: str, shape: Shape) -> int:
        """A computed float32 tensor."""
        self._tensors.append(Tensor(name, shape, schema.TensorType.FLOAT32))
        return len(self._tensors) - 1

    def constant(self, value: NDArray[np.float32] | NDArray[np.int32]) -> int:
        """A constant tensor, little-endian as the format wants it."""
        little_endian = value.dtype.newbyteorder("<")
        buffer = self._buffers.setdefault(value.astype(little_endian, copy=False).tobytes(), len(self._buffers))
        key = (value.shape, _TYPES[little_endian], buffer)
        if key not in self._constants:
            self._constants[key] = len(self._tensors)
            self._tensors.append(Tensor(f"constant_{len(self._constants)}", *key))
        return self._constants[key]

    def operator(self, code: str, inputs: tuple[int, ...], shape: Shape, options: Options | None = None) -> int:
        """Append an operator and return its output."""
        output = self.tensor(f"{code.lower()}_{len(self._operators)}", shape)
        self._operators.append(Operator(code, inputs, output, options))
        return output

    def layer(self, layer: Layer, inputs: list[int], shape: Shape, weights: LayerWeights | None) -> int:
        """Append the operators of a layer and return its output."""
        parameters: tuple[int, ...] = ()
        if weights is not None:
            parameters = (self.constant(weights.weight), self.constant(weights.bias))
        match layer:
            case Conv2D(stride=stride, padding=padding, activation=activation):
                fields = _window_fields(padding, stride)
                return self.fused("CONV_2D", (*inputs, *parameters), shape, activation, "Conv2DOptions", fields)
            case DepthwiseConv2D(stride=stride, padding=padding, activation=activation):
                fields = (*_window_fields(padding, stride), ("depthMultiplier", 1))
                table = "DepthwiseConv2DOptions"
                return self.fused("DEPTHWISE_CONV_2D", (*inputs, *parameters), shape, activation, table, fields)
            case FullyConnected(activation=activation):
                return self.fused("FULLY_CONNECTED", (*inputs, *parameters), shape, activation, "FullyConnectedOptions")
            case BatchNorm(activation=activation):
                scale, shift = parameters
                scaled = self.multiply(inputs[0], scale, shape)
                return self.fused("ADD", (scaled, shift), shape, activation, "AddOptions")
            case Add(activation=activation):
                return self.fused("ADD", tuple(inputs), shape, activation, "AddOptions")
            case Activation(function=function):
                return self.activation(inputs[0], shape, function)
            case Pool2D(kind=kind, kernel=kernel, stride=stride, padding=padding):
                size = (("filterWidth", kernel), ("filterHeight", kernel))
                options = Options("Pool2DOptions", (*_window_fields(padding, stride), *size))
                return self.operator(f"{kind.upper()}_POOL_2D", tuple(inputs), shape, options)
            case GlobalMean(keep_dims=keep_dims):
                axes = self.constant(np.array([1, 2], dtype=np.int32))
                return self.operator(
                    "MEAN", (inputs[0], axes), shape, Options("ReducerOptions", (("keepDims", keep_dims),))
                )
            case Multiply():
                return self.multiply(inputs[0], inputs[1], shape)
            case Scale(factor=factor):
                return self.multiply(inputs[0], self.constant(np.array([factor], dtype=np.float32)), shape)
            case Pad(top=top, bottom=bottom, left=left, right=right):
                amounts = self.constant(np.array([[0, 0], [top, bottom], [left, right], [0, 0]], dtype=np.int32))
                return self.operator("PAD", (inputs[0], amounts), shape, Options("PadOptions"))
            case _:
                raise ValueError(f"{layer.name}: {type(layer).__name__} has no TFLite form")

    def multiply(self, left: int, right: int, shape: Shape) -> int:
        """Product, `right` broadcast."""
        return self.operator("MUL", (left, right), shape, Options("MulOptions"))

    def fused(
        self,
        code: str,
        inputs: tuple[int, ...],
        shape: Shape,
        activation: ActivationName | None,
        table: str,
        fields: tuple[tuple[str, int], ...] = (),
    ) -> int:
        """An operator that applies the activation itself where the format can say so, else a second operator."""
        fields = (*fields, ("fusedActivationFunction", _FUSED.get(activation, schema.ActivationFunctionType.NONE)))
        output = self.operator(code, inputs, shape, Options(table, fields))
        if activation is None or activation in _FUSED:
            return output
        return self.activation(output, shape, activation)

    def activation(self, source: int, shape: Shape, function: ActivationName) -> int:
        """An activation on its own."""
        match function:
            case "relu" | "relu6":
                return self.operator(function.upper(), (source,), shape)
            case "hard_swish":
                return self.operator("HARD_SWISH", (source,), shape, Options("HardSwishOptions"))
            case "hard_sigmoid":  # relu6(x + 3) / 6: the format has no operator for it
                three = self.constant(np.array([3], dtype=np.float32))
                shifted = self.fused("ADD", (source, three), shape, "relu6", "AddOptions")
                return self.multiply(shifted, self.constant(np.array([1 / 6], dtype=np.float32)), shape)


def _window_fields(padding: Padding, stride: int) -> tuple[tuple[str, int], ...]:
    return (("padding", _PADDING[padding]), ("strideW", stride), ("strideH", stride))
