"""Layers as a device sees them: how much is computed, read and written, and what waits for what.

The common ground of networks of any space, of other people's `.tflite` files and of published lists of layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from orchestrator.space.base import FloatArray
from profiling.network import (
    INPUT,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    GlobalMean,
    Layer,
    Network,
    Pool2D,
)

KINDS = ("convolution", "pointwise", "depthwise", "fully connected", "pooling", "elementwise")
AMOUNTS = (
    "constant",
    *(f"{what} of {kind}" for kind in KINDS for what in ("layers", "multiply-adds", "values", "weights")),
)

# Sizes of the parts of an ordinary mobile network, so that amounts are near 1 and their prices of one size.
_UNITS = np.array([10.0, 1e8, 1e7, 1e6])
_KINSHIP_REACH = 0.02  # mean difference of amounts (their logarithm) at which correlation has fallen to 1/e


@dataclass(frozen=True)
class LayerCost:
    """What one layer takes.

    Attributes:
        kind: One of `KINDS`.
        multiply_adds: Of convolutions and matrix products.
        values: Numbers read and written, weights not among them.
        weights: Numbers that are constant.
        shape: What may make it cheaper or dearer than others of its kind: sizes of windows and tensors.
        waits_for: Positions of the earlier layers whose output it reads.
    """

    kind: str
    multiply_adds: float
    values: float
    weights: float
    shape: tuple[int, ...]
    waits_for: tuple[int, ...]


def layer_costs(network: Network) -> tuple[LayerCost, ...]:
    """Every layer of a network, in order of execution."""
    position = {layer.name: index for index, layer in enumerate(network.layers)}
    costs = []
    for layer in network.layers:
        inputs, output = network.input_shapes(layer), network.shapes[layer.name]
        costs.append(
            LayerCost(
                kind=_kind(layer),
                multiply_adds=float(layer.multiply_adds(inputs)),
                values=float(sum(map(math.prod, inputs)) + math.prod(output)),
                weights=float(layer.parameters(inputs)),
                shape=(getattr(layer, "kernel", 1), getattr(layer, "stride", 1), *inputs[0], *output),
                waits_for=tuple(position[name] for name in layer.inputs if name != INPUT),
            )
        )
    return tuple(costs)


def layer_amounts(layers: Sequence[LayerCost]) -> FloatArray:
    """(`K`,) of `AMOUNTS`: 1, then by kind tens of layers, 1e8 multiply-adds, 1e7 values and 1e6 weights."""
    sums = np.zeros((len(KINDS), 4))
    for layer in layers:
        sums[KINDS.index(layer.kind)] += (1.0, layer.multiply_adds, layer.values, layer.weights) / _UNITS
    return np.concatenate([[1.0], sums.ravel()])


class NetworkStructures:
    """Structures of networks of any space or none, whose inputs are (`B`, `K`) amounts of their layers.

    Runtimes are taken to execute every layer; what a fused one costs beyond the layer that it is fused with is small.
    """

    names = ("every layer",)
    shares = (1.0,)
    amounts_of = AMOUNTS

    def amounts(self, inputs: Tensor) -> Tensor:
        """(1, `B`, `K`): the inputs."""
        return inputs.unsqueeze(0)

    def kinship(self, first: Tensor, second: Tensor) -> Tensor:
        """(`B`, `N`): falls with the mean difference of the amounts' logarithms."""
        far = torch.cdist(first.log1p(), second.log1p(), p=1.0) / first.shape[-1]
        return (-far / _KINSHIP_REACH).exp()


def _kind(layer: Layer) -> str:
    if isinstance(layer, Conv2D):
        return "pointwise" if layer.kernel == 1 else "convolution"
    kinds = {DepthwiseConv2D: "depthwise", FullyConnected: "fully connected", Pool2D: "pooling", GlobalMean: "pooling"}
    return kinds.get(type(layer), "elementwise")
