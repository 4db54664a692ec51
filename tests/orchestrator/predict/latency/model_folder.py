"""Folders of small `.tflite` files, and what made-up devices take of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from orchestrator.predict.latency.made_up_models import made_up_tables
from orchestrator.predict.latency.models import ModelFile
from orchestrator.space.base import FloatArray
from profiling.network import INPUT, Conv2D, DepthwiseConv2D, FullyConnected, GlobalMean, Layer, Network, Pool2D
from profiling.tflite import emit
from profiling.weights import random_weights
from tests.profiling.model_files import Made, Op, model_file

CORRUPT, ODD = "broken.tflite", "odd/custom.tflite"


def network(seed: int) -> Network:
    """A few layers of random kinds and sizes."""
    rng = np.random.default_rng(seed)
    layers: list[Layer] = [Conv2D("stem", (INPUT,), filters=int(rng.integers(4, 17)), kernel=3, stride=2)]
    for index in range(int(rng.integers(2, 7))):
        name, last, kernel = f"layer{index}", (layers[-1].name,), int(rng.choice([1, 3, 5]))
        match rng.integers(4):
            case 0:
                layers.append(Conv2D(name, last, filters=int(rng.integers(4, 33)), kernel=kernel, activation="relu"))
            case 1:
                layers.append(DepthwiseConv2D(name, last, kernel=kernel, activation="hard_swish"))
            case 2:
                layers.append(Pool2D(name, last, kind="max", kernel=2))
            case _:
                layers.append(Conv2D(name, last, filters=int(rng.integers(8, 65)), kernel=1, activation="relu6"))
    layers += [
        GlobalMean("mean", (layers[-1].name,)),
        FullyConnected("head", ("mean",), units=int(rng.integers(5, 200))),
    ]
    size = int(rng.integers(8, 25))
    return Network("made up", (1, size, size, 3), tuple(layers))


@cache
def compiled(seed: int) -> bytes:
    """Its file."""
    made = network(seed)
    return emit(made, random_weights(made))


def write_folder(folder: Path, count: int = 14, *, odd: bool = False) -> Path:
    """`a0.tflite`, `a1.tflite`, ...; the last one is a copy of the first.

    Args:
        folder: New.
        count: Of files.
        odd: Also a file that is none, and one with an operator that nobody knows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count - 1):
        (folder / f"a{seed}.tflite").write_bytes(compiled(seed))
    (folder / f"a{count - 1}.tflite").write_bytes(compiled(0))
    if odd:
        (folder / CORRUPT).write_bytes(compiled(1)[:500])
        (folder / ODD).parent.mkdir()
        image = Made((1, 8, 8, 3))
        (folder / ODD).write_bytes(model_file([image, image], [Op("CUSTOM:Fancy", (0,), (1,))], (0,), (1,)))
    return folder


def latencies(models: tuple[ModelFile, ...], count: int, seed: int) -> dict[str, FloatArray]:
    """Device -> (`B`,) milliseconds on made-up devices, with 1 % noise."""
    rng = np.random.default_rng(seed)
    tables = made_up_tables(models, count, seed)
    return {
        f"device {index}": values[: len(models)] * np.exp(rng.normal(0, 0.01, len(models)))
        for index, (_, values) in enumerate(tables.values())
    }
