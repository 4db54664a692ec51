"""What each operator of a `.tflite` file takes: multiply-adds, bytes read and written, weights.

An operator is a layer here, as runtimes execute it: an activation that the format cannot fuse is one of its own.
Weights that are stored as float16, and made float32 when a model is loaded, are float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from profiling.network import Shape
from profiling.tflite_reader import Model, ModelOperator, ModelTensor

Kind = Literal["convolution", "pointwise", "depthwise", "fully connected", "pooling", "elementwise"]

_BY_BITS = {
    2: ("INT2",),
    4: ("INT4", "UINT4"),
    8: ("INT8", "UINT8", "BOOL", "STRING", "FLOAT8_E4M3FN", "FLOAT8_E5M2"),
    16: ("FLOAT16", "BFLOAT16", "INT16", "UINT16"),
    64: ("INT64", "UINT64", "FLOAT64", "COMPLEX64"),
    128: ("COMPLEX128",),
}
_BITS = {name: bits for bits, names in _BY_BITS.items() for name in names}  # of all others 32
_INTEGERS = frozenset(("INT2", "INT4", "UINT4", "INT8", "UINT8", "INT16"))
_ARGUMENTS = ("INT32", "INT64")  # constants of these types are axes, sizes and paddings, but for biases

_AT_LOADING = ("DEQUANTIZE", "DENSIFY")  # of a constant: done once, when the model is loaded
_VIEWS = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SHAPE", "RANK", "BITCAST")  # nothing of the tensor is touched
_LOOKUPS = ("GATHER", "GATHER_ND", "EMBEDDING_LOOKUP", "SLICE", "STRIDED_SLICE")  # read no more than they write
_POOLING = frozenset(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D", "MEAN", "SUM", "ARG_MAX", "ARG_MIN",
                      "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL"))  # fmt: skip
_RECURRENT = frozenset(("LSTM", "RNN", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN",
                        "BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN"))  # fmt: skip
_ELEMENTWISE = frozenset((
    *_VIEWS, *_LOOKUPS, *_AT_LOADING, "ADD", "SUB", "MUL", "DIV", "FLOOR_DIV", "FLOOR_MOD", "SQUARED_DIFFERENCE",
    "MAXIMUM", "MINIMUM", "POW", "ADD_N", "ABS", "NEG", "SIGN", "SQUARE", "SQRT", "RSQRT", "EXP", "LOG", "SIN", "COS",
    "FLOOR", "CEIL", "ROUND", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "PRELU", "ELU", "GELU",
    "TANH", "LOGISTIC", "HARD_SWISH", "SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION", "LOCAL_RESPONSE_NORMALIZATION",
    "CAST", "QUANTIZE", "FAKE_QUANT", "EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL",
    "LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT", "SELECT", "SELECT_V2", "CONCATENATION", "PACK", "UNPACK", "SPLIT",
    "SPLIT_V", "TILE", "PAD", "PADV2", "MIRROR_PAD", "TRANSPOSE", "REVERSE_V2", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE",
    "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "BROADCAST_TO", "CUMSUM",
    "ONE_HOT", "FILL", "ZEROS_LIKE", "RANGE",
))  # fmt: skip


@dataclass(frozen=True)
class ModelLayer:
    """What one operator takes.

    Attributes:
        code: The operator's name.
        kind: What prices are by.
        multiply_adds: Of convolutions and matrix products.
        bytes_read, bytes_written: Of tensors that are computed, not of weights.
        weight_bytes: Of constants, as they are computed with.
        output_shape: Of its first output.
        shape: What may make it cheaper or dearer than others of its kind: sizes of windows and tensors.
        waits_for: Positions of the earlier layers whose output it reads.
        integer: Whether it computes with integers of at most 16 bits.
        priced: Whether it is known what the operator computes; of others only what they read and write.
    """

    code: str
    kind: Kind
    multiply_adds: int
    bytes_read: float
    bytes_written: float
    weight_bytes: float
    output_shape: Shape
    shape: tuple[int, ...]
    waits_for: tuple[int, ...]
    integer: bool
    priced: bool


def model_layers(model: Model) -> tuple[ModelLayer, ...]:
    """Every operator in order of execution, but those that are done when a model is loaded."""
    tensors = list(model.tensors)
    made_by: dict[int, int] = {}
    layers: list[ModelLayer] = []
    for operator in model.operators:
        inputs = [tensors[index] for index in operator.inputs if index >= 0]
        if operator.code in _AT_LOADING and inputs and all(tensor.constant for tensor in inputs):
            for index in operator.outputs:
                tensors[index] = replace(tensors[index], constant=True)
            continue
        outputs = [tensors[index] for index in operator.outputs if index >= 0]
        waits_for = sorted({made_by[index] for index in operator.inputs if index in made_by})
        layers.append(_layer(operator, inputs, outputs, tuple(waits_for)))
        made_by.update(dict.fromkeys(operator.outputs, len(layers) - 1))
    return tuple(layers)


def _layer(
    operator: ModelOperator, inputs: Sequence[ModelTensor], outputs: Sequence[ModelTensor], waits_for: tuple[int, ...]
) -> ModelLayer:
    code = operator.code
    product = _product(operator, inputs, outputs)
    computed = [tensor for tensor in inputs if not tensor.constant]
    constants = [tensor for tensor in inputs if tensor.constant]
    written = sum(map(_bytes, outputs))
    read = sum(map(_bytes, computed))
    if product is None:  # a dense layer's constants are all weights, but these have arguments, too
        constants = [each for each in constants if each.type not in _ARGUMENTS and each.numbers > 1]
    if code in _LOOKUPS:
        read, constants = written, []
    if code in _VIEWS:
        read = written = 0.0
    kind = product.kind if product else "pooling" if code in _POOLING else "elementwise"
    source = product.source if product else next(iter(computed), None)
    output = outputs[0].shape if outputs else ()
    window = product.window if product else operator.options.get("FilterHeight", 1)
    types = {each.type for each in (constants[:1] if product else outputs)}
    return ModelLayer(
        code=code,
        kind=kind,
        multiply_adds=product.multiply_adds if product else 0,
        bytes_read=read,
        bytes_written=written,
        weight_bytes=sum(map(_bytes, constants)),
        output_shape=output,
        shape=(window, operator.options.get("StrideH", 1), *(source.shape if source else ()), *output),
        waits_for=waits_for,
        integer=bool(types) and types <= _INTEGERS,
        priced=product is not None or code in _POOLING or code in _ELEMENTWISE,
    )


@dataclass(frozen=True)
class _Product:
    """A convolution or matrix product: what it multiplies, and how often."""

    kind: Kind
    multiply_adds: int
    source: ModelTensor
    window: int = 1


def _product(operator: ModelOperator, inputs: Sequence[ModelTensor], outputs: Sequence[ModelTensor]) -> _Product | None:
    """None for all other operators, and for these where sizes do not fit them."""
    if operator.code in _RECURRENT:
        return _recurrent(inputs)
    if operator.code not in _PRODUCTS or not outputs:
        return None
    try:
        return _PRODUCTS[operator.code](operator, inputs, outputs[0])
    except (IndexError, ValueError, ZeroDivisionError):
        return None


def _convolution(operator: ModelOperator, inputs: Sequence[ModelTensor], output: ModelTensor) -> _Product:
    """Weights (out, height, width, in), where in is the group's."""
    source, (_, height, width, channels) = inputs[0], inputs[1].shape
    kind: Kind = "pointwise" if height == width == 1 else "convolution"
    return _Product(kind, output.numbers * height * width * channels, source, height)


def _depthwise(operator: ModelOperator, inputs: Sequence[ModelTensor], output: ModelTensor) -> _Product:
    """Weights (1, height, width, out)."""
    _, height, width, _ = inputs[1].shape
    return _Product("depthwise", output.numbers * height * width, inputs[0], height)


def _transpose_convolution(operator: ModelOperator, inputs: Sequence[ModelTensor], output: ModelTensor) -> _Product:
    """Output shape, weights (out, height, width, in), source: each number read is spread over a window."""
    source, (filters, height, width, _) = inputs[2], inputs[1].shape
    return _Product("convolution", source.numbers * height * width * filters, source, height)


def _convolution_3d(operator: ModelOperator, inputs: Sequence[ModelTensor], output: ModelTensor) -> _Product:
    """Weights (depth, height, width, in, out)."""
    source, (depth, height, width, channels, _) = inputs[0], inputs[1].shape
    return _Product("convolution", output.numbers * depth * height * width * channels, source, height)


def _fully_connected(operator: ModelOperator, inputs: Sequence[ModelTensor], output: ModelTensor) -> _Product:
    """Weights (out, in)."""
    units, _ = inputs[1].shape
    return _Product("fully connected", inputs[0].numbers * units, inputs[0])


def _batch_product(operator: ModelOperator, inputs: Sequence[ModelTensor], output: ModelTensor) -> _Product:
    """Two stacks of matrices."""
    inner = inputs[0].shape[-2 if operator.options.get("AdjX") else -1]
    return _Product("fully connected", output.numbers * inner, inputs[0])


def _recurrent(inputs: Sequence[ModelTensor]) -> _Product | None:
    """Every matrix once for each step of each sequence."""
    matrices = [tensor.numbers for tensor in inputs if tensor.constant and len(tensor.shape) > 1]
    if not matrices or not inputs[0].shape:
        return None
    return _Product("fully connected", math.prod(inputs[0].shape[:-1]) * sum(matrices), inputs[0])


_PRODUCTS: dict[str, Callable[[ModelOperator, Sequence[ModelTensor], ModelTensor], _Product]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transpose_convolution,
    "CONV_3D": _convolution_3d,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_product,
}


def _bytes(tensor: ModelTensor) -> float:
    return tensor.numbers * _BITS.get(tensor.type, 32) / 8
