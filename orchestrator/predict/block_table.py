"""BlockTable: latency of a MobileNetV3 network as the sum of its blocks' measured latencies.

The file is CSV (gzip allowed) with the columns `resolution`, `key` and `mean` (milliseconds); others, as OFA's `count`
and `std`, may stand beside them. Keys are those of OFA's tables; `nag lut build` writes such a file. See
`docs/block-tables.md`.
"""

from __future__ import annotations

import csv
import gzip
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.errors import DataError
from orchestrator.space.base import FloatArray, IntArray
from orchestrator.space.mobilenetv3 import FIRST_BLOCK, POSITIONS, RESOLUTION, STAGES, MobileNetV3
from orchestrator.space.mobilenetv3_blocks import BLOCK_CHOICES, DEPTHS, fixed_keys, stage_block

if TYPE_CHECKING:
    from torch import Tensor

Latencies = Mapping[tuple[int, str], float]  # (resolution, key) -> milliseconds

OFFSET = "offset"  # key of what every network of a resolution has on top of its blocks; may be negative

_HINT = "a CSV with the columns resolution, key and mean (milliseconds), see docs/block-tables.md"
_CLASSES = re.compile(r"Logits-input:\d+x\d+x\d+-output:(\d+)")
_WIDTHS = tuple(twentieths / 20 for twentieths in range(2, 41))  # 0.1 .. 2.0
_SHOWN = 20


class BlockTable:
    """Milliseconds, as a function of relaxed architectures; linear in the active blocks, exact at vertices."""

    differentiable = True

    def __init__(
        self,
        latencies: Latencies,
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
            DataError: A block that an architecture may have is not in the table, or an offset is below what the
                smallest network takes.
        """
        self.space = space
        self.resolutions = space.resolutions or (resolution,)  # `R` of them
        wanted = {size: part_keys(width, size, classes) for size in self.resolutions}
        missing = [(size, key) for size, keys in wanted.items() for key in keys if (size, key) not in latencies]
        if missing:
            (size, key), count = missing[0], sum(map(len, wanted.values()))
            sizes = ", ".join(map(str, self.resolutions))
            raise DataError(
                f"the table lacks {len(missing)} of the {count} parts of networks of width {width:g} at {sizes} with "
                f"{classes} classes; the first: {key} at {size}",
                f"it has {contents(latencies)}",
            )
        self._fixed = np.array(
            [
                sum(latencies[size, key] for key in fixed_keys(width, size, classes))
                + latencies.get((size, OFFSET), 0.0)
                for size in self.resolutions
            ]
        )  # (R,)
        self._blocks = np.array(
            [
                [
                    [
                        [latencies[size, stage_block(s, p, k, e, width, size).key] for k, e in BLOCK_CHOICES]
                        for p in range(POSITIONS)
                    ]
                    for s in range(STAGES)
                ]
                for size in self.resolutions
            ]
        )  # (R, 5, 4, 9)
        if self.range[0] <= 0:
            raise DataError(
                f"the fastest network would take {self.range[0]:g} ms", f"is its {OFFSET!r} row right? {_HINT}"
            )
        # One more choice, which takes no time: that of a block which is not there.
        self._flat = np.concatenate([self._blocks, np.zeros((*self._blocks.shape[:3], 1))], axis=-1).reshape(-1)

    @classmethod
    def read(
        cls, path: Path, space: MobileNetV3, *, width: float, resolution: int = 224, classes: int = 1000
    ) -> BlockTable:
        """The table in a file. Raises DataError."""
        latencies = read_block_latencies(path)
        try:
            return cls(latencies, space, width=width, resolution=resolution, classes=classes)
        except DataError as error:
            raise DataError(f"{path}: {error.message}", error.hint) from error

    def __call__(self, slots: Tensor) -> Tensor:
        """(`B`,) milliseconds, of (`B`, `S`, `V`) relaxed architectures."""
        import torch

        from orchestrator.predict.mobilenetv3_encoding import active_blocks

        blocks = torch.from_numpy(self._blocks).to(slots).flatten(1)  # (R, 180)
        totals = active_blocks(slots).flatten(-3) @ blocks.T + torch.from_numpy(self._fixed).to(slots)
        if self.space.resolutions:
            return (totals * slots[..., RESOLUTION, : len(self.resolutions)]).sum(-1)
        return totals[..., 0]

    def of(self, slots: IntArray) -> FloatArray:
        """(`B`,) milliseconds, of (`B`, `S`) architectures."""
        choices = len(BLOCK_CHOICES)
        there = np.arange(POSITIONS) < slots[:, :STAGES, None] + DEPTHS[0]
        chosen = slots[:, FIRST_BLOCK:RESOLUTION].reshape(there.shape)
        at = np.arange(STAGES * POSITIONS).reshape(STAGES, POSITIONS) * (choices + 1)
        places = at + np.where(there, chosen, choices)
        if not self.space.resolutions:
            return np.asarray(self._flat[places].sum(axis=(1, 2)) + self._fixed[0])
        sizes = slots[:, RESOLUTION]
        places += sizes[:, None, None] * (self._flat.size // len(self.resolutions))
        return np.asarray(self._flat[places].sum(axis=(1, 2)) + self._fixed[sizes])

    def look_up(self, text: str) -> float:
        """Milliseconds of one architecture, in the space's notation. Raises IllegalArchitecture."""
        return float(self.of(np.array([self.space.parse(text).slots]))[0])

    @property
    def range(self) -> tuple[float, float]:
        """Milliseconds of the fastest and of the slowest architecture."""
        fastest = self._fixed + self._blocks[:, :, : DEPTHS[0]].min(axis=-1).sum(axis=(1, 2))
        slowest = self._fixed + self._blocks.max(axis=-1).sum(axis=(1, 2))
        return float(fastest.min()), float(slowest.max())

    @property
    def content(self) -> str:
        """What it says: equal for tables that give every architecture the same latency."""
        return f"{self.resolutions} {self._fixed.tolist()} {self._blocks.tolist()}"


@dataclass(frozen=True)
class TableContents:
    """What a table is for.

    Attributes:
        widths: Multipliers of networks all of whose blocks it has, at its largest resolution.
        classes: Of the classifiers.
        resolutions: Of the inputs.
    """

    widths: tuple[float, ...]
    classes: tuple[int, ...]
    resolutions: tuple[int, ...]

    def __str__(self) -> str:
        def shown(values: tuple[float, ...]) -> str:
            more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
            return ", ".join(f"{value:g}" for value in values[:_SHOWN]) + more or "none"

        return (
            f"width {shown(self.widths)}; classes {shown(self.classes)}; resolutions {shown(self.resolutions)}"
            if self.resolutions
            else "nothing"
        )


def contents(latencies: Latencies) -> TableContents:
    """What a table is for, as its keys tell; widths are found among the multiples of 0.05 up to 2."""
    resolutions = sorted({size for size, _ in latencies})
    classes = sorted({int(found[1]) for _, key in latencies if (found := _CLASSES.fullmatch(key))})

    def fits(width: float) -> bool:
        size = resolutions[-1]
        fixed = fixed_keys(width, size, classes[0])  # few, and those of another width are not there
        if not all((size, key) in latencies for key in fixed):
            return False
        return all((size, key) in latencies for key in part_keys(width, size, classes[0]))

    widths = [width for width in _WIDTHS if classes and fits(width)]
    return TableContents(tuple(widths), tuple(classes), tuple(resolutions))


def part_keys(width: float, resolution: int, classes: int = 1000) -> tuple[str, ...]:
    """Keys of everything that networks of one resolution are made of: 96, less where blocks of two places are equal."""
    blocks = (
        stage_block(stage, position, kernel, expansion, width, resolution).key
        for stage in range(STAGES)
        for position in range(POSITIONS)
        for kernel, expansion in BLOCK_CHOICES
    )
    return tuple(dict.fromkeys([*fixed_keys(width, resolution, classes), *blocks]))


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
        if at in latencies:
            raise DataError(f"{path}, line {line}: {at[1]} at {at[0]} stands there twice", "keep one row of each")
        if not math.isfinite(value) or (value <= 0 and at[1] != OFFSET):
            raise DataError(f"{path}, line {line}: a latency of {value} ms", _HINT)
        latencies[at] = value
    return latencies
