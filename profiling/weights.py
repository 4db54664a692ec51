"""Weights of a network, batch-norm folded: what goes into the artifact beside the layers.

Every layer that has weights computes `weight * x + bias`, where `*` is its own product. Layouts are TFLite's.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from profiling.network import BatchNorm, Conv2D, DepthwiseConv2D, FullyConnected, Layer, Network, Shape

Float32Array = NDArray[np.float32]

_SPREAD = 0.1  # random biases and batch-norm shifts lie within this of 0, batch-norm scales of 1


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """Weights of one layer, float32.

    Attributes:
        weight: Convolution (out, height, width, in), depthwise (1, height, width, channels), fully connected
            (out, in), batch-norm scale (channels,).
        bias: Bias or batch-norm shift, (out,) or (channels,).
    """

    weight: Float32Array
    bias: Float32Array


Weights = Mapping[str, LayerWeights]  # by layer name; only the layers that have weights


def weight_shapes(network: Network) -> dict[str, tuple[Shape, Shape]]:
    """Shapes of weight and bias of every layer that has them, in execution order."""
    every = ((layer.name, _shapes(layer, network.input_shapes(layer)[0])) for layer in network.layers)
    return {name: shapes for name, shapes in every if shapes is not None}


def _shapes(layer: Layer, source: Shape) -> tuple[Shape, Shape] | None:
    channels = source[-1]
    match layer:
        case Conv2D(filters=filters, kernel=kernel):
            return (filters, kernel, kernel, channels), (filters,)
        case DepthwiseConv2D(kernel=kernel):
            return (1, kernel, kernel, channels), (channels,)
        case FullyConnected(units=units):
            return (units, channels), (units,)
        case BatchNorm():
            return (channels,), (channels,)
        case _:
            return None


def check_weights(network: Network, weights: Weights) -> None:
    """Make sure that the weights are exactly those of the network.

    Raises:
        ValueError: A layer's weights are missing, superfluous, not float32, or of another shape.
    """
    expected = weight_shapes(network)
    if missing := sorted(expected.keys() - weights.keys()):
        raise ValueError(f"no weights for {', '.join(missing)}")
    if unknown := sorted(weights.keys() - expected.keys()):
        raise ValueError(f"weights for {', '.join(unknown)}: the network has no such layers with weights")
    for name, shapes in expected.items():
        arrays = (weights[name].weight, weights[name].bias)
        for kind, array, shape in zip(("weight", "bias"), arrays, shapes, strict=True):
            if array.shape != shape or array.dtype != np.float32:
                raise ValueError(f"{name}.{kind}: needs float32 {shape}, got {array.dtype} {array.shape}")


def random_weights(network: Network, seed: int = 0) -> dict[str, LayerWeights]:
    """Weights of the magnitude that training starts from (He et al., ICCV 2015, eq. 10, uniform), for measuring.

    They depend on the seed and on the layers' shapes and order, not on their names. They are built from the raw
    stream of PCG64, which numpy promises to keep, and from single IEEE operations: the same bits everywhere.
    """
    shapes = weight_shapes(network)
    count = sum(math.prod(shape) for pair in shapes.values() for shape in pair)
    # 24 bits fill a float32 mantissa; * 2 - 1 is exact
    uniform = (np.random.PCG64(seed).random_raw(count) >> 40).astype(np.float32) * np.float32(2**-23) - np.float32(1)
    weights: dict[str, LayerWeights] = {}
    start = 0
    for name, (weight_shape, bias_shape) in shapes.items():
        middle = start + math.prod(weight_shape)
        stop = middle + math.prod(bias_shape)
        weight, bias = uniform[start:middle].reshape(weight_shape), uniform[middle:stop]
        weights[name] = LayerWeights(_he_scaled(weight), bias * np.float32(_SPREAD))
        start = stop
    return weights


def _he_scaled(uniform: Float32Array) -> Float32Array:
    """Values in -1..1 scaled so that a ReLU network keeps the variance of its activations."""
    if uniform.ndim == 1:  # batch-norm scale
        return uniform * np.float32(_SPREAD) + np.float32(1)
    depthwise = uniform.ndim == 4 and uniform.shape[0] == 1
    fan_in = math.prod(uniform.shape[1:3]) if depthwise else math.prod(uniform.shape[1:])
    return uniform * np.float32(math.sqrt(6 / fan_in))


def save_weights(path: Path, weights: Weights) -> None:
    """Write weights as safetensors, with tensors called `<layer>.weight` and `<layer>.bias`.

    The file appears whole or not at all. Raises OSError.
    """
    tensors = {}
    for name, layer in weights.items():
        tensors[f"{name}.weight"] = np.ascontiguousarray(layer.weight)
        tensors[f"{name}.bias"] = np.ascontiguousarray(layer.bias)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(save(tensors))  # safetensors' own writer hides a full disk in an error of its own kind
    os.replace(partial, path)


def load_weights(path: Path) -> dict[str, LayerWeights]:
    """Read what `save_weights` wrote.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no safetensors file of weights. `check_weights` tells whether they are a network's.
    """
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error
    names = list(dict.fromkeys(key.rpartition(".")[0] for key in tensors))
    if set(tensors) != {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}:
        raise ValueError(f"{path} holds no weights of a network: its tensors are {', '.join(sorted(tensors))}")
    return {name: LayerWeights(tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in names}
