"""Network: the layer-level description of an architecture at a given input shape.

The one source of both the `.tflite` (profiling.tflite) and the torch module that is trained
(orchestrator.objective.torch_network), so what is trained is what is deployed. Tensors are NHWC; `same` padding is
TensorFlow's (the extra row or column goes to the bottom or right).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

Shape = tuple[int, ...]
ActivationName = Literal["relu", "relu6", "hard_swish", "hard_sigmoid"]
Padding = Literal["same", "valid"]

INPUT = "input"


@dataclass(frozen=True)
class Layer:
    """One operation. `name` is unique in its network; `inputs` name earlier layers or `INPUT`, `arity` of them."""

    arity: ClassVar[int] = 1

    name: str
    inputs: tuple[str, ...]

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Shape of the output for these input shapes; by default that of the first. Raises ValueError."""
        return shapes[0]

    def parameters(self, shapes: Sequence[Shape]) -> int:
        """Trainable parameters (batch-norm: scale and shift)."""
        return 0

    def multiply_adds(self, shapes: Sequence[Shape]) -> int:
        """Multiply-accumulates of convolutions and matrix products, as the field counts them."""
        return 0


@dataclass(frozen=True)
class Conv2D(Layer):
    """Convolution, then batch-norm (folded when emitted) or, where `bias`, a bias, then activation."""

    filters: int
    kernel: int
    stride: int = 1
    padding: Padding = "same"
    batch_norm: bool = True
    activation: ActivationName | None = None
    bias: bool = True

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return (*_window(shapes[0], self.kernel, self.stride, self.padding), self.filters)

    def parameters(self, shapes: Sequence[Shape]) -> int:
        return self.filters * (self.kernel**2 * shapes[0][-1] + (2 if self.batch_norm else int(self.bias)))

    def multiply_adds(self, shapes: Sequence[Shape]) -> int:
        return math.prod(self.output_shape(shapes)) * self.kernel**2 * shapes[0][-1]


@dataclass(frozen=True)
class DepthwiseConv2D(Layer):
    """Depthwise convolution (multiplier 1), then batch-norm, then activation."""

    kernel: int
    stride: int = 1
    padding: Padding = "same"
    batch_norm: bool = True
    activation: ActivationName | None = None

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return (*_window(shapes[0], self.kernel, self.stride, self.padding), shapes[0][-1])

    def parameters(self, shapes: Sequence[Shape]) -> int:
        return shapes[0][-1] * (self.kernel**2 + (2 if self.batch_norm else 1))

    def multiply_adds(self, shapes: Sequence[Shape]) -> int:
        return math.prod(self.output_shape(shapes)) * self.kernel**2


@dataclass(frozen=True)
class FullyConnected(Layer):
    """Matrix product with bias over the features of a (batch, features) or (batch, 1, 1, features) tensor."""

    units: int
    activation: ActivationName | None = None

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        if len(shapes[0]) != 2 and shapes[0][1:-1] != (1, 1):
            raise ValueError(f"needs (batch, features) or (batch, 1, 1, features), got {shapes[0]}")
        return (shapes[0][0], self.units)

    def parameters(self, shapes: Sequence[Shape]) -> int:
        return (shapes[0][-1] + 1) * self.units

    def multiply_adds(self, shapes: Sequence[Shape]) -> int:
        return math.prod(shapes[0]) * self.units


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch-norm that follows no convolution: a scale and a shift per channel, then activation."""

    activation: ActivationName | None = None

    def parameters(self, shapes: Sequence[Shape]) -> int:
        return 2 * shapes[0][-1]


@dataclass(frozen=True)
class Activation(Layer):
    """An activation on its own."""

    function: ActivationName


@dataclass(frozen=True)
class Pool2D(Layer):
    """Average (padding not counted) or maximum over windows."""

    kind: Literal["average", "max"]
    kernel: int
    stride: int = 1
    padding: Padding = "same"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return (*_window(shapes[0], self.kernel, self.stride, self.padding), shapes[0][-1])


@dataclass(frozen=True)
class GlobalMean(Layer):
    """Mean over height and width; `keep_dims` keeps them as 1."""

    keep_dims: bool = False

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        batch, _, _, channels = _image(shapes[0])
        return (batch, 1, 1, channels) if self.keep_dims else (batch, channels)


@dataclass(frozen=True)
class Add(Layer):
    """Sum of two tensors of equal shape, then activation.

    `residual`: the second is a branch and the first its shortcut; a training starts such branches at zero.
    """

    arity: ClassVar[int] = 2

    activation: ActivationName | None = None
    residual: bool = False

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        if shapes[0] != shapes[1]:
            raise ValueError(f"cannot add {shapes[0]} and {shapes[1]}")
        return shapes[0]


@dataclass(frozen=True)
class Multiply(Layer):
    """Product of a (batch, height, width, channels) tensor and a (batch, 1, 1, channels) gate (squeeze-excite)."""

    arity: ClassVar[int] = 2

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        full, gate = shapes
        if gate not in (full, (full[0], 1, 1, full[-1])):
            raise ValueError(f"cannot multiply {full} by {gate}")
        return full


@dataclass(frozen=True)
class Scale(Layer):
    """Multiplication by a constant."""

    factor: float


@dataclass(frozen=True)
class Pad(Layer):
    """Zeros around height and width."""

    top: int
    bottom: int
    left: int
    right: int

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        batch, height, width, channels = _image(shapes[0])
        if min(self.top, self.bottom, self.left, self.right) < 0:
            raise ValueError("padding takes nothing away")
        return (batch, height + self.top + self.bottom, width + self.left + self.right, channels)


def _image(shape: Shape) -> Shape:
    """The shape, which must be (batch, height, width, channels)."""
    if len(shape) != 4:
        raise ValueError(f"needs (batch, height, width, channels), got {shape}")
    return shape


def _window(shape: Shape, kernel: int, stride: int, padding: Padding) -> Shape:
    """(batch, height, width) after sliding a window."""
    batch, height, width, _ = _image(shape)
    if kernel < 1 or stride < 1:
        raise ValueError(f"a window needs a size and a stride of at least 1, got {kernel} and {stride}")
    if padding == "same":
        return (batch, -(-height // stride), -(-width // stride))
    if height < kernel or width < kernel:
        raise ValueError(f"a {kernel}x{kernel} window does not fit {shape}")
    return (batch, (height - kernel) // stride + 1, (width - kernel) // stride + 1)


@dataclass(frozen=True)
class Network:
    """Layers in execution order; the last one is the output.

    Attributes:
        name: For people; not part of the artifact.
        input_shape: (batch, height, width, channels).
        layers: Each refers only to `INPUT` and to layers before it.
    """

    name: str
    input_shape: tuple[int, int, int, int]
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError(f"network {self.name!r} has no layers")
        _ = self.shapes  # an inconsistent network cannot be built

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Output shape of every layer, and of `INPUT`. Raises ValueError for an inconsistent network."""
        shapes: dict[str, Shape] = {INPUT: self.input_shape}
        for layer in self.layers:
            if layer.name in shapes:
                raise ValueError(f"two layers are called {layer.name!r}")
            if missing := [name for name in layer.inputs if name not in shapes]:
                raise ValueError(f"{layer.name}: reads {missing}, which is not computed before it")
            if len(layer.inputs) != layer.arity:
                raise ValueError(f"{layer.name}: needs {layer.arity} inputs, got {len(layer.inputs)}")
            try:
                shape = layer.output_shape([shapes[name] for name in layer.inputs])
            except ValueError as error:
                raise ValueError(f"{layer.name}: {error}") from error
            if min(shape) < 1:
                raise ValueError(f"{layer.name}: has no elements, its shape is {shape}")
            shapes[layer.name] = shape
        return shapes

    def input_shapes(self, layer: Layer) -> list[Shape]:
        """Shapes of a layer's inputs."""
        return [self.shapes[name] for name in layer.inputs]

    @property
    def output(self) -> str:
        """Name of the last layer."""
        return self.layers[-1].name

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return sum(layer.parameters(self.input_shapes(layer)) for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.multiply_adds(self.input_shapes(layer)) for layer in self.layers)
