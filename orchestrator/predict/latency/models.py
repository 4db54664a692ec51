"""Models: anybody's `.tflite` files as a latency predictor sees them, by what their operators take."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from device_agent.device import Artifact
from orchestrator.errors import DataError
from orchestrator.predict.latency.layers import AMOUNTS, LayerCost, NetworkStructures, layer_amounts
from orchestrator.space.base import FloatArray
from profiling.tflite_layers import ModelLayer, model_layers
from profiling.tflite_reader import UnreadableModel, file_bytes, read_model

PATTERN = "**/*.tflite"
_PRODUCTS = ("convolution", "pointwise", "depthwise", "fully connected")
_OTHERS = ("pooling", "elementwise")
WIDEST_USUAL = 5
"""Of depthwise windows: runtimes have code of its own for those up to here, and slow code for wider ones."""
MODEL_AMOUNTS = (
    *AMOUNTS,
    *(f"integer multiply-adds of {kind}" for kind in _PRODUCTS),
    *(f"integer values of {kind}" for kind in _OTHERS),
    "integer layers",
    f"multiply-adds of depthwise over {WIDEST_USUAL} x {WIDEST_USUAL}",
)
"""`AMOUNTS`, with values in units of four bytes; what integers save in products, and what they cost elsewhere, where
runtimes often have slow code for them; and wide depthwise windows."""

_BYTES = 4.0
_LAYERS, _MULTIPLY_ADDS, _VALUES = 10.0, 1e8, 1e7  # units, as of `AMOUNTS`


@dataclass(frozen=True)
class ModelFile:
    """A `.tflite` file.

    Attributes:
        name: Its path in the folder.
        path: Where it is.
        sha256: Of its content.
        size_bytes: Of the file.
        layers: What its operators take.
    """

    name: str
    path: Path
    sha256: str
    size_bytes: int
    layers: tuple[ModelLayer, ...]

    def artifact(self) -> Artifact:
        """What devices run: the file as it is now. Raises DataError: it is not what it was."""
        try:
            data = file_bytes(self.path)
        except UnreadableModel as error:
            raise DataError(f"{self.path} {error.message}", error.hint) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise DataError(f"{self.path} has changed since it was read", "leave the folder alone while it is measured")
        return Artifact.of(data, self.name)

    @property
    def multiply_adds(self) -> int:
        """Of all layers."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def weights(self) -> float:
        """Numbers that are constant, in units of four bytes."""
        return sum(layer.weight_bytes for layer in self.layers) / _BYTES

    @property
    def unpriced(self) -> Mapping[str, int]:
        """Operators of which only is known what they read and write -> how many there are."""
        codes = [layer.code for layer in self.layers if not layer.priced]
        return {code: codes.count(code) for code in sorted(set(codes))}


def read_models(folder: Path, pattern: str = PATTERN) -> tuple[tuple[ModelFile, ...], dict[str, str]]:
    """Every file that can be described, by name; and those that cannot, with why.

    Raises:
        DataError: There is no such folder, or not one model in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", "give the folder that the .tflite files are in")
    found: list[ModelFile] = []
    left_out: dict[str, str] = {}
    for path in sorted(each for each in folder.glob(pattern) if each.is_file()):
        name = path.relative_to(folder).as_posix()
        try:
            found.append(read_one(path, name))
        except UnreadableModel as error:
            left_out[name] = error.message
    if not found:
        reasons = "".join(f"\n  {name} {why}" for name, why in left_out.items())
        raise DataError(f"{folder}: no .tflite file that can be described{reasons}", "give a folder of models")
    return tuple(found), left_out


def read_one(path: Path, name: str = "") -> ModelFile:
    """A file. Raises UnreadableModel."""
    data = file_bytes(path)
    layers = model_layers(read_model(data))
    return ModelFile(name or path.name, path, hashlib.sha256(data).hexdigest(), len(data), layers)


def model_amounts(layers: Sequence[ModelLayer]) -> FloatArray:
    """(`K`,) of `MODEL_AMOUNTS`: of networks that DeviceNAG builds the same as `layers.layer_amounts`, and zeros."""
    more = dict.fromkeys(MODEL_AMOUNTS[len(AMOUNTS) :], 0.0)
    for layer in layers:
        if layer.integer:
            more["integer layers"] += 1 / _LAYERS
            if layer.kind in _PRODUCTS:
                more[f"integer multiply-adds of {layer.kind}"] += layer.multiply_adds / _MULTIPLY_ADDS
            else:
                values = (layer.bytes_read + layer.bytes_written) / _BYTES
                more[f"integer values of {layer.kind}"] += values / _VALUES
        if is_wide(layer):
            more[MODEL_AMOUNTS[-1]] += layer.multiply_adds / _MULTIPLY_ADDS
    floats = [as_cost(layer, speed_up=np.inf if layer.integer else 1.0) for layer in layers]
    return np.concatenate([layer_amounts(floats), list(more.values())])


def is_wide(layer: ModelLayer) -> bool:
    """Whether it is a depthwise convolution with an unusually wide window."""
    return layer.kind == "depthwise" and layer.shape[0] > WIDEST_USUAL


def as_cost(layer: ModelLayer, speed_up: float = 1.0) -> LayerCost:
    """A layer as devices that compute in float32 alone know it, its multiply-adds faster by a factor."""
    return LayerCost(
        kind=layer.kind,
        multiply_adds=layer.multiply_adds / speed_up,
        values=(layer.bytes_read + layer.bytes_written) / _BYTES,
        weights=layer.weight_bytes / _BYTES,
        shape=layer.shape,
        waits_for=layer.waits_for,
    )


def amounts_of(models: Sequence[ModelFile]) -> Tensor:
    """(`B`, `K`)."""
    return torch.from_numpy(np.stack([model_amounts(model.layers) for model in models]))


class ModelStructures(NetworkStructures):
    """Structures of models of very different sizes: amounts are relative to what is expected of each model.

    Latencies must be so, too. Errors are relative in any case; but that none is much faster than all others, as is
    true of the networks of a space, is not true of a folder of models.

    Inputs are (`B`, 1 + `K`): what is expected of the model, in a unit common to all, and its `MODEL_AMOUNTS`.
    """

    amounts_of = MODEL_AMOUNTS

    def amounts(self, inputs: Tensor) -> Tensor:
        """(1, `B`, `K`)."""
        return (inputs[:, 1:] / inputs[:, :1]).unsqueeze(0)

    def kinship(self, first: Tensor, second: Tensor) -> Tensor:
        """(`B`, `N`): by the amounts themselves."""
        return super().kinship(first[:, 1:], second[:, 1:])
