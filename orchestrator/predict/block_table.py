"""BlockTable: latency of a MobileNetV3 network as the sum of its blocks' measured latencies.

The file is CSV (gzip allowed) with the columns `resolution`, `key` and `mean` (milliseconds); `count` and `std` may
stand beside them. Keys are those of OFA's tables; `nag lut build` writes such a file.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import DataError
from orchestrator.predict.mobilenetv3_encoding import active_blocks
from orchestrator.space.base import FloatArray, IntArray, one_hot
from orchestrator.space.mobilenetv3 import POSITIONS, RESOLUTION, STAGES, MobileNetV3
from orchestrator.space.mobilenetv3_blocks import BLOCK_CHOICES, fixed_keys, stage_block

_HINT = "a CSV with the columns resolution, key and mean (milliseconds), see docs/block-tables.md"


class BlockTable:
    """Milliseconds, as a function of relaxed architectures; linear in the active blocks, exact at vertices."""

    differentiable = True

    def __init__(
        self,
        latencies: Mapping[tuple[int, str], float],
        space: MobileNetV3,
        *,
        width: float,
        resolution: int = 224,
        classes: int = 1000,
    ) -> None:
        """Args:
            latencies: (resolution, key) -> milliseconds.
            space: Whose architectures are looked up.
            width: Width multiplier of the networks that were measured.
            resolution: Of the input, where the space does not search it.
            classes: Of the classifier.

        Raises:
            DataError: A block that an architecture may have is not in the table.
        """
        self._space = space
        wanted = space.resolutions or (resolution,)
        missing: list[str] = []

        def look_up(size: int, key: str) -> float:
            if (size, key) not in latencies:
                missing.append(f"{key} at {size}")
            return latencies.get((size, key), math.nan)

        self._fixed = torch.tensor([sum(look_up(r, key) for key in fixed_keys(width, r, classes)) for r in wanted])
        self._blocks = torch.tensor(
            [
                [
                    [
                        [look_up(r, stage_block(s, p, k, e, width, r).key) for k, e in BLOCK_CHOICES]
                        for p in range(POSITIONS)
                    ]
                    for s in range(STAGES)
                ]
                for r in wanted
            ],
            dtype=torch.float64,
        )  # (R, 5, 4, 9)
        self._fixed = self._fixed.double()
        if missing:
            sizes = ", ".join(str(size) for size in sorted({size for size, _ in latencies})[:20])
            raise DataError(
                f"the table lacks {len(missing)} blocks of width {width:g}; the first: {missing[0]}",
                f"the table's resolutions: {sizes}; the width must be that of the network it was measured on",
            )

    @classmethod
    def read(
        cls, path: Path, space: MobileNetV3, *, width: float, resolution: int = 224, classes: int = 1000
    ) -> BlockTable:
        """The table in a file. Raises DataError."""
        return cls(read_block_latencies(path), space, width=width, resolution=resolution, classes=classes)

    def __call__(self, slots: Tensor) -> Tensor:
        """(`B`,) milliseconds, of (`B`, `S`, `V`) relaxed architectures."""
        active = active_blocks(slots)
        blocks = torch.einsum("...spc,rspc->...r", active, self._blocks.to(slots.dtype)) + self._fixed.to(slots.dtype)
        if self._space.resolutions:
            return (blocks * slots[..., RESOLUTION, : len(self._fixed)]).sum(-1)
        return blocks[..., 0]

    def of(self, slots: IntArray) -> FloatArray:
        """(`B`,) milliseconds, of (`B`, `S`) architectures."""
        width = max(map(len, self._space.choices))
        with torch.no_grad():
            return np.asarray(self(torch.from_numpy(one_hot(slots, width))).numpy())


def read_block_latencies(path: Path) -> dict[tuple[int, str], float]:
    """(resolution, key) -> milliseconds. Raises DataError."""
    try:
        with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}", _HINT) from error
    if not rows or not {"resolution", "key", "mean"} <= set(rows[0]):
        raise DataError(f"{path}: no table of blocks", _HINT)
    latencies: dict[tuple[int, str], float] = {}
    for line, row in enumerate(rows, start=2):
        try:
            at, value = (int(row["resolution"]), row["key"]), float(row["mean"])
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}, line {line}: {error}", _HINT) from error
        if not (math.isfinite(value) and value > 0):
            raise DataError(f"{path}, line {line}: a latency of {value} ms", _HINT)
        latencies[at] = value
    return latencies
