"""Features of MobileNetV3's active blocks, as differentiable functions of relaxed choices."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from orchestrator.space.mobilenetv3 import FIRST_BLOCK, POSITIONS, RESOLUTION, STAGES
from orchestrator.space.mobilenetv3_blocks import BLOCK_CHOICES, DEPTHS, fixed_keys, stage_block
from orchestrator.space.mobilenetv3_network import part_network

_FULL = 224  # resolution that the relative amounts of work refer to


def active_blocks(slots: Tensor) -> Tensor:
    """(`B`, 5, 4, 9): how much each block choice is there: its own value times that of its stage's being so deep."""
    depths = slots[..., :STAGES, : len(DEPTHS)]
    blocks = slots[..., FIRST_BLOCK:RESOLUTION, : len(BLOCK_CHOICES)]
    blocks = blocks.unflatten(-2, (STAGES, POSITIONS))
    there = [depths[..., [depth > position for depth in DEPTHS]].sum(-1) for position in range(POSITIONS)]
    return torch.stack(there, dim=-1).unsqueeze(-1) * blocks


class MobileNetV3Encoding:
    """Encoding of `orchestrator.space.mobilenetv3.MobileNetV3` (`S` = 25 or 26, `V` = 9 or more)."""

    def __init__(self, resolutions: tuple[int, ...] = ()) -> None:
        """Args:
        resolutions: Of the space; none where the resolution is not searched.
        """
        self._resolutions = torch.tensor(resolutions, dtype=torch.float64)

    def accuracy(self, slots: Tensor) -> Tensor:
        """(`B`, 70 or 71): depth, kernels and expansions of each stage, then of each position of it.

        A stage's sums learn fast what its positions have in common, and the positions what sets them apart.
        """
        active = active_blocks(slots)
        there = active.sum(-1)  # (B, 5, 4)
        kernels = active @ torch.tensor([(kernel - 3) / 2 for kernel, _ in BLOCK_CHOICES], dtype=slots.dtype)
        expansions = active @ torch.tensor([float(expansion) for _, expansion in BLOCK_CHOICES], dtype=slots.dtype)
        expanded = expansions.sum(-1)
        stages = [there.sum(-1), kernels.sum(-1), expanded, expanded.clamp_min(0.1).log()]
        optional = there[..., DEPTHS[0] :]  # the positions before are always there
        positions = [part.flatten(-2) for part in (optional, kernels, expansions)]
        resolution = [self._resolution(slots).log()] if len(self._resolutions) else []
        return torch.cat([*stages, *positions, *resolution], dim=-1)

    def signature(self, slots: Tensor) -> Tensor:
        """(`B`, 180 or more): the active blocks, and the choice of resolution."""
        chosen = [slots[..., RESOLUTION, : len(self._resolutions)]] if len(self._resolutions) else []
        return torch.cat([active_blocks(slots).flatten(-3), *chosen], dim=-1)

    def costs(self, slots: Tensor) -> Tensor:
        """(`B`, 91): 1, then of each stage which block comes first and how many of each kind follow.

        Where the resolution is searched, blocks count by their pixels.
        """
        active = active_blocks(slots)
        first, later = active[..., 0, :], active[..., 1:, :].sum(-2)
        amounts = torch.cat([first, later], dim=-1).flatten(-2)
        if len(self._resolutions):
            amounts = amounts * (self._resolution(slots) / _FULL) ** 2
        return torch.cat([torch.ones_like(amounts[..., :1]), amounts], dim=-1)

    def work(self, slots: Tensor) -> Tensor:
        """(`B`,): multiply-adds in millions, of width 1 and 1000 classes; exact at 224 x 224."""
        total = _fixed_work() + (active_blocks(slots) * _block_work().to(slots.dtype)).sum((-3, -2, -1))
        if len(self._resolutions):
            total = total * ((self._resolution(slots) / _FULL) ** 2)[..., 0]
        return total

    def connected(self, slots: Tensor) -> Tensor:
        """(`B`,): always; blocks form a chain."""
        return torch.ones_like(slots[..., 0, 0])

    def waste(self, slots: Tensor) -> Tensor:
        """(`B`,): none; inactive blocks are not built."""
        return torch.zeros_like(slots[..., 0, 0])

    def _resolution(self, slots: Tensor) -> Tensor:
        """(`B`, 1): expected resolution."""
        chosen = slots[..., RESOLUTION, : len(self._resolutions)]
        return (chosen * self._resolutions.to(slots.dtype)).sum(-1, keepdim=True)


@cache
def _fixed_work() -> float:
    """Millions of multiply-adds of what every network has."""
    return sum(map(_millions, fixed_keys(1.0, _FULL)))


@cache
def _block_work() -> Tensor:
    """(5, 4, 9): millions of multiply-adds of each block."""
    return torch.tensor(
        [
            [
                [_millions(stage_block(stage, position, *choice, 1.0, _FULL).key) for choice in BLOCK_CHOICES]
                for position in range(POSITIONS)
            ]
            for stage in range(STAGES)
        ],
        dtype=torch.float64,
    )


def _millions(key: str) -> float:
    """Multiply-adds of a part of a network."""
    return part_network(key).multiply_adds / 1e6
