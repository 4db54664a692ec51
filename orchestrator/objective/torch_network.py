"""The torch form of a network: what is trained is what `profiling.tflite.emit` deploys.

Tensors are channels first, (`B`, C, H, W), as torch's layers want them; images come in and feature maps live like
that, while `profiling.network` counts shapes in NHWC. Class scores are (`B`, classes) in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

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
from profiling.weights import LayerWeights, Weights

_Margins = tuple[int, int]  # rows before and after, or columns

_ACTIVATIONS: dict[ActivationName, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hard_swish": nn.Hardswish,
    "hard_sigmoid": nn.Hardsigmoid,
}


class TorchNetwork(nn.Module):
    """A network as a module; `forward` takes (`B`, C, H, W) images, any `B`, and gives the network's output.

    Weights start as torch's layers start; `orchestrator.objective.initialise` draws them from a seed. Those of
    convolutions lie in memory channels last, and feature maps follow them: on a CPU that trains up to twice as fast.

    Attributes:
        network: What it was built from.

    Raises:
        ValueError: A layer is of an unknown kind.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.layers = nn.ModuleList(_module(layer, network.input_shapes(layer)) for layer in network.layers)
        positions = {INPUT: 0} | {layer.name: index for index, layer in enumerate(network.layers, start=1)}
        self._inputs = [[positions[name] for name in layer.inputs] for layer in network.layers]
        last_reader = {source: reader for reader, sources in enumerate(self._inputs) for source in sources}
        self._finished = [
            [source for source in set(sources) if last_reader[source] == reader]
            for reader, sources in enumerate(self._inputs)
        ]
        convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """The network's output for (`B`, C, H, W) images: (`B`, classes), or (`B`, C', H', W') without a classifier."""
        tensors: dict[int, Tensor] = {0: images}
        for index, module in enumerate(self.layers):
            tensors[index + 1] = module(*(tensors[source] for source in self._inputs[index]))
            for source in self._finished[index]:  # large batches: keep no feature map longer than needed
                del tensors[source]
        return tensors[len(self.layers)]


def fold(module: TorchNetwork) -> Weights:
    """The module's weights in TFLite's layout, batch-norm folded into them with its running statistics."""
    parts = zip(module.network.layers, module.layers, strict=True)
    return {layer.name: part.folded() for layer, part in parts if isinstance(part, _Conv | _Dense | _Norm)}


def same_margins(size: int, kernel: int, stride: int) -> _Margins:
    """Zeros before and after an axis of this size under TensorFlow's `same` padding; the odd one goes after."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class _Conv(nn.Module):
    """Convolution, batch-norm or bias, activation."""

    def __init__(self, layer: Conv2D | DepthwiseConv2D, source: Shape) -> None:
        super().__init__()
        channels = source[-1]
        filters, groups = (channels, channels) if isinstance(layer, DepthwiseConv2D) else (layer.filters, 1)
        self.pad, padding = _padding(source, layer.kernel, layer.stride, layer.padding)
        self.conv = nn.Conv2d(
            channels, filters, layer.kernel, layer.stride, padding, groups=groups, bias=_has_bias(layer)
        )
        self.norm = nn.BatchNorm2d(filters) if layer.batch_norm else None
        self.activation = _activation(layer.activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x if self.pad is None else self.pad(x))
        return self.activation(x if self.norm is None else self.norm(x))

    def folded(self) -> LayerWeights:
        """The convolution that the whole is in evaluation."""
        kernel: Tensor = self.conv.weight.double()
        bias = kernel.new_zeros(len(kernel)) if self.conv.bias is None else self.conv.bias
        if self.norm is not None:
            scale, bias = _affine(self.norm)
            kernel = kernel * scale.reshape(-1, 1, 1, 1)
        depthwise = self.conv.groups > 1  # with a single channel both layouts are one
        return LayerWeights(
            _array(kernel.permute(1, 2, 3, 0) if depthwise else kernel.permute(0, 2, 3, 1)), _array(bias)
        )


class _Dense(nn.Module):
    """Matrix product with bias, activation."""

    def __init__(self, layer: FullyConnected, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, layer.units)
        self.activation = _activation(layer.activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.linear(x.flatten(1)))

    def folded(self) -> LayerWeights:
        """The matrix and the bias as they are."""
        return LayerWeights(_array(self.linear.weight), _array(self.linear.bias))


class _Norm(nn.Module):
    """Batch-norm that follows no convolution, activation."""

    def __init__(self, layer: BatchNorm, source: Shape) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(source[-1]) if len(source) == 4 else nn.BatchNorm1d(source[-1])
        self.activation = _activation(layer.activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(x))

    def folded(self) -> LayerWeights:
        """The scale and the shift that it is in evaluation."""
        scale, shift = _affine(self.norm)
        return LayerWeights(_array(scale), _array(shift))


class _Pool(nn.Module):
    """Average, padding not counted, or maximum over windows."""

    correction: Tensor | None

    def __init__(self, layer: Pool2D, source: Shape) -> None:
        super().__init__()
        fill = -math.inf if layer.kind == "max" else 0.0
        self.pad, padding = _padding(source, layer.kernel, layer.stride, layer.padding, fill)
        self.pool: nn.Module
        if layer.kind == "max":
            self.pool = nn.MaxPool2d(layer.kernel, layer.stride, padding)
        else:
            self.pool = nn.AvgPool2d(layer.kernel, layer.stride, padding, count_include_pad=False)
        correction = None
        if layer.kind == "average" and self.pad is not None:
            # the pool counts these zeros, as they come from outside: undo that
            inside = self.pool(self.pad(torch.ones(1, 1, *source[1:3])))
            correction = 1 / inside
        self.register_buffer("correction", correction, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x if self.pad is None else self.pad(x))
        return x if self.correction is None else x * self.correction


class _Function(nn.Module):
    """A layer without weights."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


class _Add(nn.Module):
    """Sum, activation."""

    def __init__(self, layer: Add) -> None:
        super().__init__()
        self.activation = _activation(layer.activation)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.activation(left + right)


def _module(layer: Layer, sources: Sequence[Shape]) -> nn.Module:
    """The module of a layer, for its inputs' NHWC shapes."""
    match layer:
        case Conv2D() | DepthwiseConv2D():
            return _Conv(layer, sources[0])
        case FullyConnected():
            return _Dense(layer, sources[0][-1])
        case BatchNorm():
            return _Norm(layer, sources[0])
        case Pool2D():
            return _Pool(layer, sources[0])
        case Add():
            return _Add(layer)
        case Activation(function=function):
            return _activation(function)
        case GlobalMean(keep_dims=keep_dims):
            return _Function(lambda x: x.mean((2, 3), keepdim=keep_dims))
        case Multiply():
            return _Function(torch.mul)
        case Scale(factor=factor):
            return _Function(lambda x: x * factor)
        case Pad(top=top, bottom=bottom, left=left, right=right):
            return nn.ZeroPad2d((left, right, top, bottom))
        case _:
            raise ValueError(f"{layer.name}: {type(layer).__name__} has no torch form")


def _activation(function: ActivationName | None) -> nn.Module:
    return nn.Identity() if function is None else _ACTIVATIONS[function]()


def _has_bias(layer: Conv2D | DepthwiseConv2D) -> bool:
    """Whether the convolution adds a bias of its own."""
    return not layer.batch_norm and not (isinstance(layer, Conv2D) and not layer.bias)


def _padding(
    source: Shape, kernel: int, stride: int, padding: Padding, fill: float = 0.0
) -> tuple[nn.Module | None, tuple[int, int]]:
    """A module that pads first, where both sides differ, and the padding of the layer itself, which is cheaper."""
    if padding == "valid":
        return None, (0, 0)
    (top, bottom), (left, right) = (same_margins(size, kernel, stride) for size in source[1:3])
    if top == bottom and left == right:
        return None, (top, left)
    return nn.ConstantPad2d((left, right, top, bottom), fill), (0, 0)


def _affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """(channels,) scale and shift that a batch-norm is in evaluation, in double precision."""
    mean, variance = norm.get_buffer("running_mean").double(), norm.get_buffer("running_var").double()
    scale = norm.weight.double() / torch.sqrt(variance + norm.eps)
    return scale, norm.bias.double() - mean * scale


def _array(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.ascontiguousarray(tensor.detach().to("cpu", torch.float32).numpy())
