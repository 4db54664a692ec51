"""The building blocks of OFA's MobileNetV3-Large: channels, strides, and the key of a block in a latency table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

KERNELS = (3, 5, 7)
EXPANSIONS = (3, 4, 6)
DEPTHS = (2, 3, 4)
BLOCK_CHOICES = tuple((kernel, expansion) for kernel in KERNELS for expansion in EXPANSIONS)

_STEM, _STAGES, _EXPANDED, _FEATURES = 16, (24, 40, 80, 112, 160), 960, 1280
_STRIDES = (2, 2, 2, 1, 2)
_SQUEEZE_EXCITE = (False, True, False, True, True)
_HARD_SWISH = (False, False, True, True, True)


@dataclass(frozen=True)
class Stage:
    """What the blocks of a stage share.

    Attributes:
        channels: Output channels.
        stride: Of the first block.
        squeeze_excite: Whether blocks gate their channels.
        hard_swish: Whether blocks activate by hard-swish; relu otherwise.
    """

    channels: int
    stride: int
    squeeze_excite: bool
    hard_swish: bool


@dataclass(frozen=True)
class Block:
    """An inverted residual block at its place in a network.

    Attributes:
        size: Height and width of its input.
        channels_in, expanded, channels_out: Channels before, inside and after.
        kernel: Of the depthwise convolution.
        stride: Of the depthwise convolution.
        squeeze_excite, hard_swish: As `Stage`.
    """

    size: int
    channels_in: int
    expanded: int
    channels_out: int
    kernel: int
    stride: int
    squeeze_excite: bool
    hard_swish: bool

    @property
    def residual(self) -> bool:
        """Whether the block's input is added to its output."""
        return self.stride == 1 and self.channels_in == self.channels_out

    @property
    def key(self) -> str:
        """What OFA's latency tables call it."""
        out = -(-self.size // self.stride)
        return (
            f"expanded_conv-input:{self.size}x{self.size}x{self.channels_in}-output:{out}x{out}x{self.channels_out}"
            f"-expand:{self.expanded}-kernel:{self.kernel}-stride:{self.stride}-idskip:{int(self.residual)}"
            f"-se:{int(self.squeeze_excite)}-hs:{int(self.hard_swish)}"
        )


@dataclass(frozen=True)
class Sizes:
    """Channels of a network of some width, as OFA rounds them.

    Attributes:
        stem: After the first convolution and the first block.
        stages: The five stages.
        expanded: Of the last 1x1 convolution before the pooling.
        features: Of the 1x1 convolution after it, which the classifier reads.
    """

    stem: int
    stages: tuple[Stage, ...]
    expanded: int
    features: int


def sizes(width: float) -> Sizes:
    """Channels at a width multiplier, e.g. 1.0 or 1.2."""
    stages = zip(_STAGES, _STRIDES, _SQUEEZE_EXCITE, _HARD_SWISH, strict=True)
    return Sizes(
        round_channels(_STEM * width),
        tuple(Stage(round_channels(channels * width), stride, se, hs) for channels, stride, se, hs in stages),
        round_channels(_EXPANDED * width),
        round_channels(_FEATURES * width),
    )


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of 8, never more than 10 % below (MobileNet's `make_divisible`)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def stage_block(stage: int, position: int, kernel: int, expansion: int, width: float, resolution: int) -> Block:
    """The block at a position (0..3) of a stage (0..4)."""
    channels = sizes(width)
    before = channels.stem if stage == 0 else channels.stages[stage - 1].channels
    here = channels.stages[stage]
    size = -(-resolution // 2)  # the first convolution has stride 2
    for earlier in channels.stages[:stage]:
        size = -(-size // earlier.stride)
    if position:
        size, before = -(-size // here.stride), here.channels
    return Block(
        size,
        before,
        round_channels(round(before * expansion)),
        here.channels,
        kernel,
        1 if position else here.stride,
        here.squeeze_excite,
        here.hard_swish,
    )


def first_block(width: float, resolution: int) -> Block:
    """The block between the first convolution and the stages: it expands nothing."""
    stem = sizes(width).stem
    return Block(-(-resolution // 2), stem, stem, stem, 3, 1, False, False)


def fixed_keys(width: float, resolution: int, classes: int = 1000) -> Sequence[str]:
    """Keys of what every network has: stem, first block, last convolutions, pooling and classifier."""
    channels = sizes(width)
    half = -(-resolution // 2)
    last = half
    for stage in channels.stages:
        last = -(-last // stage.stride)
    final, expanded, features = channels.stages[-1].channels, channels.expanded, channels.features
    return (
        f"Conv-input:{resolution}x{resolution}x3-output:{half}x{half}x{channels.stem}",
        first_block(width, resolution).key,
        f"Conv_1-input:{last}x{last}x{final}-output:{last}x{last}x{expanded}",
        f"AvgPool2D-input:{last}x{last}x{expanded}-output:1x1x{expanded}",
        f"Conv_2-input:1x1x{expanded}-output:1x1x{features}",
        f"Logits-input:1x1x{features}-output:{classes}",
    )
