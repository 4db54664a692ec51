"""The models of a night, as files in its folder: what was measured is kept with the measurements."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from orchestrator.collect.config import FolderModels
from orchestrator.collect.models import find_models
from orchestrator.collect.records import CollectModel
from orchestrator.errors import RunFolderError
from orchestrator.nightly.config import NightlyConfig
from profiling.network import INPUT, Conv2D, DepthwiseConv2D, FullyConnected, GlobalMean, Network
from profiling.tflite import emit
from profiling.weights import random_weights

REFERENCE = "reference"

# Resolution and filters of the reference models, 1 to 60 million multiply-adds.
_REFERENCES = ((64, 16), (128, 32), (224, 32), (192, 64), (96, 48))


def stage(config: NightlyConfig, folder: Path) -> dict[str, str]:
    """Write every model of a night into a folder; files that cannot be read are left out by the passes, and named.

    Returns:
        File -> name of the model: the same on every night.

    Raises:
        ConfigError: A list or a space has not what is asked for.
        RunFolderError: A file cannot be written.
    """
    names: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in _models(config):
        file = _file_name(name, names)
        try:
            (folder / file).write_bytes(data)
        except OSError as error:
            raise RunFolderError(
                f"{folder / file}: {error.strerror}", "free some space, or choose another --out"
            ) from error
        names[file] = name
    return names


def copy(folder: Path, files: list[str], to: Path) -> None:
    """Some of a night's models in a folder of their own. Raises RunFolderError."""
    try:
        to.mkdir(parents=True, exist_ok=True)
        for file in files:
            (to / file).write_bytes((folder / file).read_bytes())
    except OSError as error:
        raise RunFolderError(f"{to}: {error.strerror}", "free some space, or choose another --out") from error


def is_reference(name: str) -> bool:
    """Whether a model is one of our own, which never changes."""
    return name.startswith(f"{REFERENCE} ")


def _models(config: NightlyConfig) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of all models."""
    if config.models:
        for model in find_models(config.drawing()):
            yield model.name, _data(config, model)
    for index in range(config.references):
        yield f"{REFERENCE} {index + 1}", _reference(index)


def _data(config: NightlyConfig, model: CollectModel) -> bytes:
    source = config.models[model.source]
    if isinstance(source, FolderModels):
        try:
            return (source.path / model.name).read_bytes()
        except OSError:  # an empty file is corrupt in every pass, and named there
            return b""
    space = source.space.make()
    network = space.network(space.parse(model.architecture or ""), source.space.network_options())
    return emit(network, random_weights(network))


def _file_name(name: str, taken: dict[str, str]) -> str:
    """A name that every file system can hold, and that no other model has."""
    stem = name.removesuffix(".tflite")
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._") or "model"
    if plain != stem or len(plain) > 80:
        plain = f"{plain[:60]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    file = f"{plain}.tflite"
    copies = 1
    while file in taken:
        copies += 1
        file = f"{plain}-{copies}.tflite"
    return file


@cache
def _reference(index: int) -> bytes:
    """A small mobile network; the same bytes for ever."""
    size, filters = _REFERENCES[index]
    layers: list[Conv2D | DepthwiseConv2D | GlobalMean | FullyConnected] = [
        Conv2D("stem", (INPUT,), filters, 3, stride=2, activation="relu")
    ]
    for depth in range(2):
        layers.append(DepthwiseConv2D(f"depthwise{depth}", (layers[-1].name,), 3, stride=2, activation="relu"))
        layers.append(Conv2D(f"pointwise{depth}", (layers[-1].name,), filters << (depth + 1), 1, activation="relu"))
    layers += [GlobalMean("mean", (layers[-1].name,)), FullyConnected("classes", ("mean",), 10)]
    network = Network(f"{REFERENCE}{index}", (1, size, size, 3), tuple(layers))
    return emit(network, random_weights(network))
