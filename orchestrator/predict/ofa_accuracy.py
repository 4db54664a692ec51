"""OFA's accuracy predictor: an MLP that reads kernels, expansions and resolution of a MobileNetV3 architecture.

Cai et al., "Once-for-All" (ICLR 2020); the file is an `.npz` of the layers of a PyTorch `Sequential` ("0.weight",
"0.bias", "2.weight", ...). Its input is 20 x one-hot kernel, 20 x one-hot expansion, zeros where a block is inactive,
and one-hot (resolution - 112) // 16 of 8.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import ConfigError, DataError, Problem
from orchestrator.predict.mobilenetv3_encoding import active_blocks
from orchestrator.space.base import FloatArray, IntArray, one_hot
from orchestrator.space.mobilenetv3 import RESOLUTION, MobileNetV3
from orchestrator.space.mobilenetv3_blocks import EXPANSIONS, KERNELS

# What zipfile and numpy raise for broken archives; RuntimeError is an encrypted one, or an unknown compression.
_BROKEN_NPZ = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_INPUTS = 128
_RESOLUTIONS = tuple(range(112, 225, 16))  # only 160..224 were trained


class OfaAccuracy:
    """ImageNet top-1 in percent, as a function of relaxed architectures; exact at one-hot vertices."""

    differentiable = True

    def __init__(self, path: Path, space: MobileNetV3, *, resolution: int = 224) -> None:
        """Args:
            path: The weights.
            space: Whose architectures are scored.
            resolution: Of the input, where the space does not search it.

        Raises:
            DataError: No such file, or it holds something else.
            ConfigError: A resolution that the predictor does not know.
        """
        wanted = space.resolutions or (resolution,)
        if unknown := [each for each in wanted if not _RESOLUTIONS[0] <= each <= _RESOLUTIONS[-1] + 15]:
            field = "space.resolutions" if space.resolutions else "space.input"
            raise ConfigError("OFA's predictor", [Problem(field, unknown, "112 to 224, in steps of 16")])
        self._layers = _read(path)
        self._space = space
        known = torch.zeros(len(wanted), 8, dtype=torch.float64)
        for row, each in enumerate(wanted):
            known[row, (each - 112) // 16] = 1.0
        self._known = known

    def __call__(self, slots: Tensor) -> Tensor:
        """(`B`,) percent, of (`B`, `S`, `V`) relaxed architectures."""
        blocks = active_blocks(slots).flatten(-3, -2)  # (B, 20, 9)
        pairs = blocks.unflatten(-1, (len(KERNELS), len(EXPANSIONS)))
        if self._space.resolutions:
            resolution = slots[..., RESOLUTION, : len(self._known)] @ self._known.to(slots.dtype)
        else:
            resolution = self._known.to(slots.dtype).expand(*slots.shape[:-2], -1)
        x = torch.cat([pairs.sum(-1).flatten(-2), pairs.sum(-2).flatten(-2), resolution], dim=-1)
        for index, (weight, bias) in enumerate(self._layers):
            x = torch.nn.functional.linear(x.relu() if index else x, weight.to(x.dtype), bias.to(x.dtype))
        return 100.0 * x.squeeze(-1)

    def of(self, slots: IntArray) -> FloatArray:
        """(`B`,) percent, of (`B`, `S`) architectures."""
        width = max(map(len, self._space.choices))
        with torch.no_grad():
            return np.asarray(self(torch.from_numpy(one_hot(slots, width))).numpy())


def _read(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of each layer. Raises DataError."""
    hint = "an .npz with '0.weight', '0.bias', '2.weight', ... of an MLP from 128 inputs to 1 output"
    try:
        # The file is opened here because numpy leaves it open when the archive is broken.
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            tensors = {name: torch.from_numpy(np.asarray(arrays[name], dtype=np.float64)) for name in arrays.files}
    except (*_BROKEN_NPZ, TypeError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read as the weights of a predictor: {error}", hint) from error
    numbers = sorted(int(name.removesuffix(".weight")) for name in tensors if name.removesuffix(".weight").isdecimal())
    layers = [(tensors[f"{n}.weight"], tensors.get(f"{n}.bias", torch.zeros(0))) for n in numbers]
    width = _INPUTS
    for number, (weight, bias) in zip(numbers, layers, strict=True):
        if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
            raise DataError(f"{path}: layer {number} does not read the {width} values before it", hint)
        width = len(weight)
    if not layers or width != 1 or not all(t.isfinite().all() for layer in layers for t in layer):
        raise DataError(f"{path}: these are not the weights of such a predictor", hint)
    return layers
