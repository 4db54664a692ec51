"""Codec: architectures as the vectors that are noised, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.generate.pool import width
from orchestrator.space.base import BoolArray, IntArray, Space, canonical

Latents = NDArray[np.float32]


class Codec:
    """One-hot slots, centred and scaled so that a uniformly drawn choice has mean 0 and variance 1 in every entry.

    The forward process x_t = sqrt(alpha) x_0 + sqrt(1 - alpha) z keeps the variance only of data that has variance 1.
    Entries beyond a slot's choices are 0, and so is a slot whose choice has no effect: nothing is known of it.

    Attributes:
        sizes: (`S`,) choices of each slot.
        gaps: (`S`,) difference between the entry of a choice that is taken and one that is not.
    """

    def __init__(self, space: Space) -> None:
        """Args:
        space: Whose architectures are coded.
        """
        self.space = space
        self.sizes = np.array([len(choices) for choices in space.choices], dtype=np.int64)
        self.gaps = self.sizes / np.sqrt(np.maximum(self.sizes - 1, 1))
        exists = np.arange(width(space)) < self.sizes[:, None]  # (S, V)
        hot = np.eye(width(space)) - 1 / self.sizes[:, None, None]
        self._codes = (hot * self.gaps[:, None, None] * exists[:, None, :]).astype(np.float32)  # (S, choice, V)
        self._barred = np.where(exists, 0.0, -np.inf).astype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """(`S`, `V`)."""
        return self._barred.shape[0], self._barred.shape[1]

    def encode(self, slots: IntArray) -> Latents:
        """(`B`, `S`, `V`) clean vectors of (`B`, `S`) architectures."""
        codes = self._codes[np.arange(slots.shape[1]), slots]
        codes[self.space.inactive(slots)] = 0.0
        return codes

    def decode(self, latents: Latents) -> tuple[IntArray, BoolArray]:
        """(`B`, `S`) architectures of (`B`, `S`, `V`) vectors, and which of them were legal as they were.

        Each slot takes its greatest entry; where that is illegal, the space says which legal architecture is nearest.
        (The original calls such an individual invalid and gives it fitness 0, which wastes its call and its place.)
        """
        barred = latents + self._barred
        slots: IntArray = barred.argmax(axis=2)
        legal = self.space.is_legal(slots)
        if not legal.all():
            slots[~legal] = self.space.project(barred[~legal].astype(np.float64))
        return canonical(self.space, slots), legal
