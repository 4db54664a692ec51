"""The Space protocol: what an architecture is.

An architecture is `S` slots with up to `V` choices each. Everything that generates works on integer arrays of shape
(`B`, `S`) or on relaxed one-hot arrays of shape (`B`, `S`, `V`); a space says which of them are legal, what they
look like as text, and which network each describes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from profiling.network import Network

if TYPE_CHECKING:
    from orchestrator.predict.encodings import Encoding

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Architecture:
    """One point of a space. Immutable and hashable; equal when space and slots are.

    Attributes:
        space: Name of the space.
        slots: The chosen value of each slot, length `S`.
        text: Canonical string in the space's own notation.
    """

    space: str
    slots: tuple[int, ...]
    text: str = field(compare=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class NetworkOptions:
    """What a network needs beyond the architecture.

    Attributes:
        input_shape: (batch, height, width, channels); the batch is 1 for phones.
        classes: Outputs of the classifier.
        options: The space's own sizes, e.g. `{"channels": 16, "cells": 5}` for NAS-Bench-201.
    """

    input_shape: tuple[int, int, int, int]
    classes: int
    options: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Space(Protocol):
    """A search space. Every implementation passes `tests/contracts/space_contract.py`."""

    @property
    def name(self) -> str:
        """The `kind` used in configs."""
        ...

    @property
    def choices(self) -> tuple[tuple[str, ...], ...]:
        """The names of the choices of each slot; `S` tuples."""
        ...

    @property
    def size(self) -> int | None:
        """How many architectures there are, where that is small enough to enumerate; else None."""
        ...

    @property
    def usual_network(self) -> NetworkOptions:
        """Input, classes and sizes that the space is known for: those of the data set it was made for."""
        ...

    @property
    def attention_mask(self) -> BoolArray:
        """(`S`, `S`): whether slot i may look at slot j in a score network (the space's graph, both directions)."""
        ...

    def architecture(self, slots: Sequence[int] | IntArray) -> Architecture:
        """The architecture with these choices. Raises IllegalArchitecture."""
        ...

    def parse(self, text: str) -> Architecture:
        """The architecture that a string in the space's notation describes. Raises IllegalArchitecture."""
        ...

    def other_notations(self, architecture: Architecture) -> dict[str, Any]:
        """What others call the architecture, by the name of the notation: plain JSON values, e.g. OFA's dictionary."""
        ...

    def sample(self, count: int, rng: np.random.Generator) -> IntArray:
        """(`B`, `S`) legal architectures, uniformly with replacement."""
        ...

    def is_legal(self, slots: IntArray) -> BoolArray:
        """(`B`,) which rows of (`B`, `S`) are legal."""
        ...

    def inactive(self, slots: IntArray) -> BoolArray:
        """(`B`, `S`) which choices have no effect, e.g. of blocks beyond a stage's depth; the first stands for all."""
        ...

    def project(self, scores: FloatArray) -> IntArray:
        """(`B`, `S`): the legal architecture with the greatest summed score, for (`B`, `S`, `V`) scores."""
        ...

    def neighbours(self, architecture: Architecture) -> IntArray:
        """(`B`, `S`): all legal architectures one change away."""
        ...

    def isomorphism_class(self, architecture: Architecture) -> str:
        """Key that isomorphic architectures share; they compile to the same artifact."""
        ...

    def computation(self, architecture: Architecture) -> str:
        """Key of what really runs: architectures compile to the same artifact exactly when their keys are equal."""
        ...

    def network(self, architecture: Architecture, options: NetworkOptions) -> Network:
        """The layer-level network, dead branches pruned. Raises ConfigError for impossible options."""
        ...

    def encoding(self) -> Encoding:
        """Differentiable features of (relaxed) architectures for the predictors; imports torch."""
        ...


def one_hot(slots: IntArray, width: int) -> FloatArray:
    """(`B`, `S`, `V`) one-hot form of (`B`, `S`) choices."""
    return np.eye(width)[slots]


def canonical(space: Space, slots: IntArray) -> IntArray:
    """(`B`, `S`) with choices that have no effect replaced by the first, so that equal architectures are equal rows."""
    return np.where(space.inactive(slots), 0, slots)
