"""Population: everything that a search has met, as architectures and as vectors, and who of it survives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from orchestrator.generate.ednag.breeding import select
from orchestrator.generate.ednag.codec import Codec, Latents
from orchestrator.space.base import FloatArray, IntArray

if TYPE_CHECKING:
    from orchestrator.generate.memory import Memory

_UNMET = -1  # as `memory.UNMET`, which is not imported for the sake of torch


class Population:
    """Grows by `join`, shrinks by `cull`.

    Attributes:
        memory: Evaluates architectures, each once.
        survivors: (`P`,) rows of the memory.
    """

    def __init__(self, memory: Memory, codec: Codec) -> None:
        """Args:
        memory: Empty.
        codec: Of the memory's space.
        """
        self.memory = memory
        self.survivors = np.zeros(0, dtype=np.int64)
        self._codec = codec
        self._codes = np.zeros((0, *codec.shape), dtype=np.float32)
        self._coded = 0

    @property
    def codes(self) -> Latents:
        """(`N`, `S`, `V`) clean vectors of everything met."""
        return self._codes[: self._coded]

    @property
    def fitness(self) -> FloatArray:
        """(`P`,) utilities of the survivors."""
        return self.memory.values[self.survivors]

    def join(self, slots: IntArray) -> int:
        """Evaluate (`B`, `S`) architectures, as far as the budget reaches; how many of them are new."""
        rows = self.memory.rows(slots)
        self.survivors = np.union1d(self.survivors, rows[rows != _UNMET])
        new = self.memory.slots[self._coded :]
        if self._coded + len(new) > len(self._codes):  # doubled where it is short, so that growing costs little
            room = max(2 * len(self._codes), self._coded + len(new))
            self._codes = np.concatenate([self.codes, np.zeros((room - self._coded, *self._codec.shape), np.float32)])
        self._codes[self._coded : self._coded + len(new)] = self._codec.encode(new)
        self._coded += len(new)
        return len(new)

    def cull(self, size: int, rng: np.random.Generator, *, elite: float, diverse: float, pressure: float) -> None:
        """Leave at most `size` survivors, best first; shares and pressure as in `breeding.select`."""
        slots = self.memory.slots[self.survivors]
        kept = select(slots, self.fitness, size, rng, elite=elite, diverse=diverse, pressure=pressure)
        self.survivors = self.survivors[kept]
