"""Networks of many families, as `.tflite` files: what `benchmarks/latency_models.py` compares predictors on.

Plain, residual, depthwise-separable, squeeze-excite, multi-branch and pooled networks, perceptrons, architectures of
both spaces; all of random sizes; some of each in float16 and int8, too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from orchestrator.space.base import NetworkOptions
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from profiling.network import (
    INPUT,
    Add,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    GlobalMean,
    Layer,
    Multiply,
    Network,
    Pool2D,
)
from profiling.precision import Precision, PrecisionError, can_convert, convert
from profiling.tflite import emit
from profiling.weights import random_weights

CLASSES = 100


class _Builder:
    """Appends layers; each call returns the layer's name."""

    def __init__(self, size: int) -> None:
        self.layers: list[Layer] = []
        self.shape = (1, size, size, 3)

    def add(self, layer: Callable[..., Layer], *inputs: str, **options: object) -> str:
        """A layer."""
        name = f"layer{len(self.layers)}"
        self.layers.append(layer(name, inputs, **options))
        return name

    def network(self, name: str, last: str) -> Network:
        """With a classifier."""
        self.add(FullyConnected, self.add(GlobalMean, last), units=CLASSES)
        return Network(name, self.shape, tuple(self.layers))


def plain(rng: np.random.Generator) -> Network:
    """Convolutions and pools, as VGG."""
    build, width = _Builder(_size(rng)), int(rng.integers(8, 33))
    last = INPUT
    for stage in range(int(rng.integers(3, 5))):
        for _ in range(int(rng.integers(1, 4))):
            last = build.add(Conv2D, last, filters=width * 2**stage, kernel=3, activation="relu")
        last = build.add(Pool2D, last, kind="max", kernel=2, stride=2)
    return build.network("plain", last)


def residual(rng: np.random.Generator) -> Network:
    """Two convolutions and a sum, as ResNet."""
    build, width = _Builder(_size(rng)), int(rng.integers(8, 33))
    last = build.add(Conv2D, INPUT, filters=width, kernel=int(rng.choice([3, 5, 7])), stride=2, activation="relu")
    for stage in range(int(rng.integers(2, 5))):
        filters, stride = width * 2**stage, 1 if stage == 0 else 2
        for block in range(int(rng.integers(1, 4))):
            step = stride if block == 0 else 1
            inner = build.add(Conv2D, last, filters=filters, kernel=3, stride=step, activation="relu")
            inner = build.add(Conv2D, inner, filters=filters, kernel=3)
            short = last if step == 1 else build.add(Conv2D, last, filters=filters, kernel=1, stride=step)
            last = build.add(Add, short, inner, activation="relu")
    return build.network("residual", last)


def bottleneck(rng: np.random.Generator) -> Network:
    """1x1, 3x3, 1x1 and a sum."""
    build, width = _Builder(_size(rng)), int(rng.integers(8, 25))
    last = build.add(Conv2D, INPUT, filters=4 * width, kernel=3, stride=2, activation="relu")
    for stage in range(int(rng.integers(2, 4))):
        filters = width * 2**stage
        last = build.add(Conv2D, last, filters=4 * filters, kernel=1, stride=2, activation="relu")
        for _ in range(int(rng.integers(1, 4))):
            inner = build.add(Conv2D, last, filters=filters, kernel=1, activation="relu")
            inner = build.add(Conv2D, inner, filters=filters, kernel=3, activation="relu")
            last = build.add(Add, last, build.add(Conv2D, inner, filters=4 * filters, kernel=1), activation="relu")
    return build.network("bottleneck", last)


def separable(rng: np.random.Generator) -> Network:
    """Depthwise and pointwise in turn, as MobileNet."""
    build, width = _Builder(_size(rng)), int(rng.integers(8, 33))
    last = build.add(Conv2D, INPUT, filters=width, kernel=3, stride=2, activation="relu6")
    for stage in range(int(rng.integers(3, 6))):
        for block in range(int(rng.integers(1, 4))):
            kernel, step = int(rng.choice([3, 5, 7])), 2 if block == 0 else 1
            last = build.add(DepthwiseConv2D, last, kernel=kernel, stride=step, activation="relu6")
            last = build.add(Conv2D, last, filters=width * 2**stage, kernel=1, activation="relu6")
    return build.network("separable", last)


def gated(rng: np.random.Generator) -> Network:
    """Inverted bottlenecks with squeeze-excite and hard-swish."""
    build, width = _Builder(_size(rng)), int(rng.integers(8, 25))
    last = build.add(Conv2D, INPUT, filters=width, kernel=3, stride=2, activation="hard_swish")
    for stage in range(int(rng.integers(2, 5))):
        filters, expand = width * (stage + 1), int(rng.choice([3, 4, 6]))
        for block in range(int(rng.integers(1, 4))):
            wide = build.add(Conv2D, last, filters=expand * filters, kernel=1, activation="hard_swish")
            wide = build.add(DepthwiseConv2D, wide, kernel=3, stride=2 if block == 0 else 1, activation="hard_swish")
            gate = build.add(GlobalMean, wide, keep_dims=True)
            gate = build.add(Conv2D, gate, filters=filters, kernel=1, batch_norm=False, activation="relu")
            gate = build.add(
                Conv2D, gate, filters=expand * filters, kernel=1, batch_norm=False, activation="hard_sigmoid"
            )
            inner = build.add(Conv2D, build.add(Multiply, wide, gate), filters=filters, kernel=1)
            last = inner if block == 0 else build.add(Add, last, inner)
    return build.network("gated", last)


def branches(rng: np.random.Generator) -> Network:
    """Several paths between the same ends, summed."""
    build, width = _Builder(_size(rng)), int(rng.integers(8, 25))
    last = build.add(Conv2D, INPUT, filters=width, kernel=3, stride=2, activation="relu")
    for stage in range(int(rng.integers(2, 4))):
        filters = width * 2**stage
        last = build.add(Conv2D, last, filters=filters, kernel=3, stride=2, activation="relu")
        for _ in range(int(rng.integers(1, 3))):
            paths = [build.add(Conv2D, last, filters=filters, kernel=kernel, activation="relu") for kernel in (1, 3, 5)]
            paths.append(build.add(Pool2D, last, kind="average", kernel=3))
            paths = [path for path in paths if rng.random() < 0.7] or paths[:2]
            last = paths[0]
            for path in paths[1:]:
                last = build.add(Add, last, path)
    return build.network("branches", last)


def perceptron(rng: np.random.Generator) -> Network:
    """A few convolutions, then large matrix products."""
    build = _Builder(int(rng.integers(16, 49)))
    last = build.add(Conv2D, INPUT, filters=int(rng.integers(16, 129)), kernel=5, stride=4, activation="relu")
    last = build.add(GlobalMean, last)
    for _ in range(int(rng.integers(2, 6))):
        last = build.add(FullyConnected, last, units=int(rng.integers(128, 1537)), activation="relu")
    build.add(FullyConnected, last, units=CLASSES)
    return Network("perceptron", build.shape, tuple(build.layers))


def cells(rng: np.random.Generator) -> Network:
    """A NAS-Bench-201 architecture."""
    space, size = NASBench201(), int(rng.choice([24, 32, 40]))
    options = NetworkOptions((1, size, size, 3), CLASSES, {"channels": int(rng.integers(8, 25)), "cells": 2})
    return space.network(space.architecture(space.sample(1, rng)[0]), options)


def searched(rng: np.random.Generator) -> Network:
    """A MobileNetV3 architecture."""
    space, size = MobileNetV3(), int(rng.choice([64, 96, 128]))
    options = NetworkOptions((1, size, size, 3), CLASSES, {"width": float(rng.choice([0.5, 0.75, 1.0]))})
    return space.network(space.architecture(space.sample(1, rng)[0]), options)


FAMILIES: dict[str, Callable[[np.random.Generator], Network]] = {
    function.__name__: function
    for function in (plain, residual, bottleneck, separable, gated, branches, perceptron, cells, searched)
}


def _size(rng: np.random.Generator) -> int:
    return int(rng.choice([32, 48, 64, 96]))


def write_models(folder: Path, each: int, seed: int) -> None:
    """`each` networks of every family as float32; every other one as int8 or float16, too, where that can be had.

    Args:
        folder: New or empty.
        each: Of every family.
        seed: Of the sizes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for place, (name, family) in enumerate(FAMILIES.items()):
        for index in range(each):
            network = family(np.random.default_rng((seed, place, index)))
            exact = emit(network, random_weights(network))
            (folder / f"{name}_{index}.tflite").write_bytes(exact)
            other: Precision = "int8" if index % 4 < 2 else "float16"
            if index % 2 == 0 and can_convert(other):
                with suppress(PrecisionError):  # what the quantiser cannot do is not asked for
                    (folder / f"{name}_{index}_{other}.tflite").write_bytes(convert(exact, other))
