"""The networks of OFA's MobileNetV3-Large, whole and in the parts that latency tables are made of.

As Once-for-All builds them (Cai et al., ICLR 2020; Howard et al., "Searching for MobileNetV3", ICCV 2019): a block is
expansion, depthwise convolution, activation, squeeze-excite, projection; the 1x1 convolution after the pooling has
neither batch-norm nor bias. Padding is TensorFlow's `same`; see `docs/mobilenetv3.md`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.errors import ConfigError, DataError, Problem
from orchestrator.space.base import NetworkOptions
from orchestrator.space.layer_stack import LayerStack
from orchestrator.space.mobilenetv3_blocks import Block, first_block, round_channels, sizes, stage_block
from profiling.network import INPUT, Add, Conv2D, DepthwiseConv2D, FullyConnected, GlobalMean, Multiply, Network

Stages = Sequence[Sequence[tuple[int, int]]]  # kernel and expansion of every block, stage by stage

DEFAULT_WIDTH = 1.0
SMALLEST_INPUT = 32  # five strides leave one pixel of it
_WIDTHS = (0.1, 4.0)
_SQUEEZE = 4  # channels inside a squeeze-excite: a quarter of those it gates

_N = r"[1-9]\d{0,4}"
_IMAGE = rf"(?P<size>{_N})x(?P=size)x(?P<channels_in>{_N})"
_PARTS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?P<part>Conv)-input:{_IMAGE}-output:{_N}x{_N}x(?P<channels_out>{_N})",
        rf"(?P<part>expanded_conv)-input:{_IMAGE}-output:{_N}x{_N}x(?P<channels_out>{_N})-expand:(?P<expanded>{_N})"
        r"-kernel:(?P<kernel>[357])-stride:(?P<stride>[12])-idskip:[01]-se:(?P<se>[01])-hs:(?P<hs>[01])",
        rf"(?P<part>Conv_1)-input:{_IMAGE}-output:(?P=size)x(?P=size)x(?P<channels_out>{_N})",
        rf"(?P<part>AvgPool2D)-input:{_IMAGE}-output:1x1x(?P<channels_out>(?P=channels_in))",
        rf"(?P<part>Conv_2)-input:(?P<size>1)x1x(?P<channels_in>{_N})-output:1x1x(?P<channels_out>{_N})",
        rf"(?P<part>Logits)-input:(?P<size>1)x1x(?P<channels_in>{_N})-output:(?P<channels_out>{_N})",
    )
)


def build_network(stages: Stages, options: NetworkOptions) -> Network:
    """The network of an architecture.

    Args:
        stages: Kernel and expansion of every block of the five stages.
        options: `width`, the multiplier of all channels (1.0).

    Raises:
        ConfigError: Unknown or impossible options.
    """
    width = _width(options)
    channels = sizes(width)
    stack = LayerStack()
    tensor = _stem(stack, INPUT, channels.stem)
    tensor = _block(stack, tensor, first_block(width, options.input_shape[1]))
    for stage, blocks in enumerate(stages):
        for position, (kernel, expansion) in enumerate(blocks):
            block = stage_block(stage, position, kernel, expansion, width, options.input_shape[1])
            tensor = _block(stack, tensor, block)
    tensor = _expand(stack, tensor, channels.expanded)
    tensor = _pool(stack, tensor)
    tensor = _mix(stack, tensor, channels.features)
    _classify(stack, tensor, options.classes)
    return stack.network("mobilenetv3", options.input_shape)


def part_network(key: str) -> Network:
    """The network of one entry of a latency table alone: a block, the stem, or a layer behind the stages.

    Args:
        key: As `Block.key` and `fixed_keys` write it.

    Raises:
        DataError: No such key.
    """
    match = next((found for pattern in _PARTS if (found := pattern.fullmatch(key))), None)
    if match is None:
        raise _no_part(key)
    size, before, after = (int(match[name]) for name in ("size", "channels_in", "channels_out"))
    stack = LayerStack()
    match match["part"]:
        case "Conv":
            _stem(stack, INPUT, after)
        case "Conv_1":
            _expand(stack, INPUT, after)
        case "AvgPool2D":
            _pool(stack, INPUT)
        case "Conv_2":
            _mix(stack, INPUT, after)
        case "Logits":
            _classify(stack, INPUT, after)
        case _:
            expanded, kernel, stride = (int(match[name]) for name in ("expanded", "kernel", "stride"))
            block = Block(size, before, expanded, after, kernel, stride, match["se"] == "1", match["hs"] == "1")
            if block.key != key:  # its output or its shortcut contradicts the rest
                raise _no_part(key)
            _block(stack, INPUT, block)
    return stack.network(key, (1, size, size, before))


def _no_part(key: str) -> DataError:
    return DataError(f"{key[:160]!r} is no part of a MobileNetV3", "keys are those of OFA's latency tables")


def _stem(stack: LayerStack, source: str, filters: int) -> str:
    return stack.add(Conv2D, source, filters=filters, kernel=3, stride=2, activation="hard_swish")


def _block(stack: LayerStack, source: str, block: Block) -> str:
    """Inverted residual: expansion (none where it would add no channels), depthwise, gate, projection, shortcut."""
    activation = "hard_swish" if block.hard_swish else "relu"
    tensor = source
    if block.expanded != block.channels_in:
        tensor = stack.add(Conv2D, tensor, filters=block.expanded, kernel=1, activation=activation)
    tensor = stack.add(DepthwiseConv2D, tensor, kernel=block.kernel, stride=block.stride, activation=activation)
    if block.squeeze_excite:
        inner = round_channels(block.expanded // _SQUEEZE)
        gate = stack.add(GlobalMean, tensor, keep_dims=True)
        gate = stack.add(Conv2D, gate, filters=inner, kernel=1, batch_norm=False, activation="relu")
        gate = stack.add(Conv2D, gate, filters=block.expanded, kernel=1, batch_norm=False, activation="hard_sigmoid")
        tensor = stack.add(Multiply, tensor, gate)
    tensor = stack.add(Conv2D, tensor, filters=block.channels_out, kernel=1)
    return stack.add(Add, source, tensor, residual=True) if block.residual else tensor


def _expand(stack: LayerStack, source: str, filters: int) -> str:
    return stack.add(Conv2D, source, filters=filters, kernel=1, activation="hard_swish")


def _pool(stack: LayerStack, source: str) -> str:
    return stack.add(GlobalMean, source, keep_dims=True)


def _mix(stack: LayerStack, source: str, filters: int) -> str:
    return stack.add(Conv2D, source, filters=filters, kernel=1, batch_norm=False, bias=False, activation="hard_swish")


def _classify(stack: LayerStack, source: str, classes: int) -> str:
    return stack.add(FullyConnected, source, units=classes)


def _width(options: NetworkOptions) -> float:
    """The width multiplier; checks everything else. Raises ConfigError."""
    problems = [
        Problem(f"space.{name}", value, "only width and resolutions")
        for name, value in options.options.items()
        if name != "width"
    ]
    width = options.options.get("width", DEFAULT_WIDTH)
    if isinstance(width, bool) or not isinstance(width, int | float) or not _WIDTHS[0] <= width <= _WIDTHS[1]:
        problems.append(Problem("space.width", width, f"a number of {_WIDTHS[0]:g} to {_WIDTHS[1]:g}, e.g. 1.0 or 1.2"))
    _, rows, columns, _ = options.input_shape
    if min(rows, columns) < SMALLEST_INPUT:
        allowed = f"height and width of at least {SMALLEST_INPUT}"
        problems.append(Problem("space.input", list(options.input_shape), allowed))
    if options.classes < 2:
        problems.append(Problem("space.classes", options.classes, "at least 2"))
    if problems:
        raise ConfigError("space mobilenetv3", problems)
    return float(width)
