"""A space small enough to reason about: slots of different sizes, not every vector legal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.errors import IllegalArchitecture
from orchestrator.generate.pool import enumerate_space
from orchestrator.space.base import Architecture, BoolArray, FloatArray, IntArray, NetworkOptions


class GappedSpace:
    """A depth of 1 to 3, then three layers of up to four kinds; a layer beyond the depth is `-`, none within is."""

    name = "gapped"
    choices = (("1", "2", "3"), ("a", "b", "-"), ("a", "b", "c", "-"), ("a", "b", "-"))
    usual_network = NetworkOptions((1, 8, 8, 1), 2)
    size: int | None = 2 + 2 * 3 + 2 * 3 * 2

    @property
    def attention_mask(self) -> BoolArray:
        return np.ones((4, 4), dtype=bool)

    def architecture(self, slots: Sequence[int] | IntArray) -> Architecture:
        chosen = tuple(int(value) for value in slots)
        if len(chosen) != 4 or not self.is_legal(np.array([chosen])).all():
            raise IllegalArchitecture(f"{chosen} is not in the space", "fill the layers up to the depth")
        return Architecture(self.name, chosen, "".join(self.choices[slot][value] for slot, value in enumerate(chosen)))

    def parse(self, text: str) -> Architecture:
        if len(text) != 4 or any(text[slot] not in names for slot, names in enumerate(self.choices)):
            raise IllegalArchitecture(f"{text!r} is not in the space", "write e.g. 2ab-")
        return self.architecture([names.index(text[slot]) for slot, names in enumerate(self.choices)])

    def other_notations(self, architecture: Architecture) -> dict[str, Any]:
        return {}

    def sample(self, count: int, rng: np.random.Generator) -> IntArray:
        return self._all()[rng.integers(self.size or 0, size=count)]

    def is_legal(self, slots: IntArray) -> BoolArray:
        sizes = np.array([len(names) for names in self.choices])
        inside = ((slots >= 0) & (slots < sizes)).all(axis=1)
        absent = slots[:, 1:] == sizes[1:] - 1
        return np.asarray(inside & (absent == (np.arange(3) > slots[:, :1])).all(axis=1))

    def inactive(self, slots: IntArray) -> BoolArray:
        return np.zeros(slots.shape, dtype=bool)

    def project(self, scores: FloatArray) -> IntArray:
        every = self._all()
        return np.asarray(every[scores[:, np.arange(4), every].sum(axis=2).argmax(axis=1)])

    def neighbours(self, architecture: Architecture) -> IntArray:
        every = self._all()
        distance = (every != np.array(architecture.slots)).sum(axis=1)
        return np.asarray(every[(distance > 0) & (distance <= 2)])

    def isomorphism_class(self, architecture: Architecture) -> str:
        return architecture.text

    def computation(self, architecture: Architecture) -> str:
        return architecture.text

    def network(self, architecture: Architecture, options: NetworkOptions) -> Any:
        raise NotImplementedError

    def encoding(self) -> Any:
        raise NotImplementedError

    def _all(self) -> IntArray:
        every = enumerate_space(self)
        assert every is not None
        return every
