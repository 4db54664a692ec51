"""MobileNetV3's networks: those of OFA, whole and in parts, as a torch module and as an artifact."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import ConfigError, DataError
from orchestrator.objective.torch_network import TorchNetwork, fold
from orchestrator.space.base import Architecture, NetworkOptions
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.mobilenetv3_blocks import fixed_keys, stage_block
from orchestrator.space.mobilenetv3_network import Stages, part_network
from profiling.network import Network
from tests.orchestrator.test_torch_network import TOLERANCE, images, relative_error, trained_looking

SPACE = MobileNetV3()
SMALLEST = SPACE.architecture([0] * 25)
LARGEST = SPACE.architecture([2] * 5 + [8] * 20)
MIXED = SPACE.parse("k3e6,k5e4,k7e3|k3e3,k7e6,k3e4|k3e3,k3e3|k5e6,k5e6,k7e4,k3e3|k7e6,k3e3,k3e4")
NOTE8_31MS = SPACE.parse("k5e3,k3e3|k5e4,k5e3|k3e4,k3e4,k5e4|k3e4,k5e3,k7e4|k3e6,k3e3,k5e3,k5e3")
EVERY = (SMALLEST, MIXED, LARGEST)

CHANNELS = {  # of the stem, the stages, the last two 1x1 convolutions, as OFA's supernets have them
    1.0: ((16, 24, 40, 80, 112, 160), 960, 1280),
    1.2: ((24, 32, 48, 96, 136, 192), 1152, 1536),
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def network(architecture: Architecture, resolution: int = 224, width: float = 1.0, classes: int = 1000) -> Network:
    return SPACE.network(architecture, NetworkOptions((1, resolution, resolution, 3), classes, {"width": width}))


def calibrated(network: Network, seed: int) -> TorchNetwork:
    """A module whose batch-norms know the images, as after training: without, deep networks amplify rounding."""
    module = trained_looking(network, seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    module.train()
    with torch.no_grad():
        module(torch.cat([images(network, each) for each in range(1, 5)]))
    return module.eval()


def parity(network: Network, seed: int = 0) -> float:
    """How far the artifact is from the module, relative to the greatest output."""
    module = calibrated(network, seed)
    return relative_error(module, network, fold(module))


def eighths(channels: float) -> int:
    """OFA's rounding."""
    return max(8, int(channels + 4) // 8 * 8) + (8 if int(channels + 4) // 8 * 8 < 0.9 * channels else 0)


class Ofa(nn.Module):
    """OFA's network as its paper and PyTorch code define it, symmetric padding included; nothing of ours is in it."""

    def __init__(self, stages: Stages, width: float, classes: int = 1000) -> None:
        super().__init__()
        (stem, *outputs), expanded, features = CHANNELS[width]
        parts: list[nn.Module] = [conv(3, stem, 3, 2, nn.Hardswish()), Block(stem, stem, stem, 3, 1, nn.ReLU)]
        channels = stem
        layout = zip(outputs, (2, 2, 2, 1, 2), (0, 1, 0, 1, 1), (nn.ReLU, nn.ReLU) + 3 * (nn.Hardswish,), strict=True)
        for blocks, (out, stride, gated, activation) in zip(stages, layout, strict=True):
            for position, (kernel, expansion) in enumerate(blocks):
                inner = eighths(channels * expansion)
                step = 1 if position else stride
                parts.append(Block(channels, inner, out, kernel, step, activation, gated=bool(gated)))
                channels = out
        parts += [conv(channels, expanded, 1, 1, nn.Hardswish()), nn.AdaptiveAvgPool2d(1)]
        parts += [nn.Conv2d(expanded, features, 1, bias=False), nn.Hardswish()]
        self.body = nn.Sequential(*parts)
        self.classifier = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.body(images).flatten(1))
        return scores


class Block(nn.Module):
    """OFA's MBConvLayer in a ResidualBlock."""

    def __init__(
        self, before: int, inner: int, after: int, kernel: int, stride: int, act: type[nn.Module], gated: bool = False
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = [conv(before, inner, 1, 1, act())] if inner != before else []
        parts.append(conv(inner, inner, kernel, stride, act(), groups=inner))
        if gated:
            parts.append(Gate(inner))
        self.parts = nn.Sequential(*parts, conv(inner, after, 1, 1, None))
        self.residual = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.parts(x)
        return x + y if self.residual else y


class Gate(nn.Module):
    """OFA's SEModule: reduction 4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = eighths(channels // 4)
        self.fc = nn.Sequential(
            nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1), nn.Hardsigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.fc(x.mean((2, 3), keepdim=True))
        return x * gate


def conv(
    before: int, after: int, kernel: int, stride: int, activation: nn.Module | None, groups: int = 1
) -> nn.Sequential:
    """OFA's ConvLayer."""
    parts = [nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(after)]
    return nn.Sequential(*parts, *([] if activation is None else [activation]))


def counted(module: nn.Module, resolution: int) -> tuple[int, int]:
    """Trainable parameters, and multiply-adds of convolutions and matrix products for one image, by hooks."""
    total = 0

    def count(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        total += output.numel() * layer.weight[0].numel()

    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.register_forward_hook(count)
    module.eval()(torch.empty(1, 3, resolution, resolution, device="meta"))
    return sum(parameter.numel() for parameter in module.parameters()), total


@pytest.mark.parametrize(("resolution", "width"), [(224, 1.0), (224, 1.2), (193, 1.2)])
def test_parameters_and_multiply_adds_are_ofas(resolution: int, width: float) -> None:
    for architecture in EVERY:
        ours = network(architecture, resolution, width)
        with torch.device("meta"):
            ofa = Ofa(SPACE.stages(architecture), width)
        assert (ours.parameters, ours.multiply_adds) == counted(ofa, resolution)


def test_parameters_are_those_published() -> None:
    """MMRazor's model zoo counts 4.6 M in OFA's note8_lat@31ms and 7.6 M (cut off) in the whole network."""
    assert round(network(NOTE8_31MS).parameters / 1e6, 1) == 4.6
    assert network(LARGEST).parameters // 100_000 == 76


@pytest.mark.parametrize("width", CHANNELS)
def test_computes_what_ofa_computes(width: float) -> None:
    """Where all sizes are odd, TensorFlow's `same` padding is symmetric: with its weights it must be OFA's network."""
    for architecture in (MIXED, SMALLEST):
        ours = calibrated(network(architecture, 65, width, classes=10), seed=1)
        ofa = Ofa(SPACE.stages(architecture), width, classes=10).eval()
        ofa.load_state_dict(dict(zip(ofa.state_dict(), ours.state_dict().values(), strict=True)))
        x = images(ours.network)
        with torch.no_grad():
            torch.testing.assert_close(ours(x), ofa(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "resolution", "width"),
    [(LARGEST, 224, 1.2), (MIXED, 224, 1.0), (SMALLEST, 128, 1.2), (MIXED, 96, 1.2), (LARGEST, 96, 1.0)],
)
def test_module_and_artifact_agree(architecture: Architecture, resolution: int, width: float) -> None:
    assert parity(network(architecture, resolution, width)) <= TOLERANCE


def test_other_shapes_agree() -> None:
    """A grey image that is not square, two images at once, few classes."""
    shape = NetworkOptions((2, 45, 32, 1), 3, {"width": 0.5})
    assert parity(SPACE.network(MIXED, shape)) <= TOLERANCE


@pytest.mark.parametrize("width", CHANNELS)
def test_a_network_is_the_sum_of_the_parts_of_a_latency_table(width: float) -> None:
    for architecture in EVERY:
        for resolution in (152, 224):
            keys = part_keys(SPACE.stages(architecture), width, resolution)
            parts = [part_network(key) for key in keys]
            whole = network(architecture, resolution, width)
            assert sum(part.multiply_adds for part in parts) == whole.multiply_adds
            assert sum(part.parameters for part in parts) == whole.parameters
            for before, after in itertools.pairwise(parts):
                assert before.shapes[before.output] == after.input_shape


def part_keys(stages: Stages, width: float, resolution: int) -> Sequence[str]:
    """Keys of a network's parts, in order."""
    fixed = fixed_keys(width, resolution)
    blocks = [
        stage_block(stage, position, kernel, expansion, width, resolution).key
        for stage, blocks in enumerate(stages)
        for position, (kernel, expansion) in enumerate(blocks)
    ]
    return [*fixed[:2], *blocks, *fixed[2:]]


def test_parts_agree_with_their_artifacts() -> None:
    keys = part_keys((((3, 3),), ((5, 4),), ((7, 6), (3, 3)), ((5, 3),), ((3, 4),)), 1.2, 64)
    for key in keys:
        assert parity(part_network(key)) <= TOLERANCE, key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "Conv",
        "Conv-input:0x0x3-output:112x112x16",
        "Conv-input:224x112x3-output:112x112x16",
        "Conv_3-input:7x7x160-output:7x7x960",
        "AvgPool2D-input:7x7x960-output:1x1x961",
        "Logits-input:7x7x1280-output:1000",
        # its shortcut, its output, its kernel contradict the rest
        "expanded_conv-input:56x56x24-output:56x56x24-expand:72-kernel:3-stride:1-idskip:0-se:0-hs:0",
        "expanded_conv-input:56x56x24-output:56x56x40-expand:72-kernel:3-stride:2-idskip:0-se:0-hs:0",
        "expanded_conv-input:56x56x24-output:56x56x24-expand:72-kernel:4-stride:1-idskip:1-se:0-hs:0",
    ],
)
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(DataError) as caught:
        part_network(key)
    assert caught.value.hint


def test_a_searched_resolution_replaces_the_inputs() -> None:
    space = MobileNetV3(resolutions=(160, 192, 224))
    architecture = space.parse(f"{MIXED.text}@160")
    assert space.network(architecture, NetworkOptions((1, 224, 224, 3), 1000)) == network(MIXED, 160)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"options": {"channels": 16}}, "space.channels"),
        ({"options": {"width": 0}}, "space.width"),
        ({"options": {"width": "1.2"}}, "space.width"),
        ({"options": {"width": True}}, "space.width"),
        ({"options": {"width": float("nan")}}, "space.width"),
        ({"input_shape": (1, 31, 224, 3)}, "space.input"),
        ({"classes": 1}, "space.classes"),
    ],
)
def test_impossible_options_are_named(changes: dict[str, object], field: str) -> None:
    values: dict[str, object] = {"input_shape": (1, 224, 224, 3), "classes": 10, **changes}
    with pytest.raises(ConfigError) as caught:
        SPACE.network(MIXED, NetworkOptions(**values))  # type: ignore[arg-type]
    assert [problem.field for problem in caught.value.problems] == [field]


def test_the_module_holds_what_is_counted() -> None:
    ours = network(SMALLEST, 64, classes=10)
    assert sum(parameter.numel() for parameter in TorchNetwork(ours).parameters()) == ours.parameters
