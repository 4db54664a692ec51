"""Structures: which amounts of work a runtime pays for, as differentiable functions of an architecture.

Latency in milliseconds is a sum of prices times amounts. Prices differ from device to device; which amounts are paid
for differs from runtime to runtime (one drops dead branches, one computes them). A *structure* is one such reading of
an architecture. All structures of a space share their amounts' meaning, so that what one device charges for an
operator says something of what another one charges, even if the two execute different ones.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from orchestrator.generate.pool import width
from orchestrator.space.base import IntArray, Space, one_hot

_KINSHIP = 0.6  # correlation of what the amounts leave unexplained in architectures that differ in one slot


class Structures(Protocol):
    """What a latency model sees of an architecture, or of a network."""

    @property
    def names(self) -> tuple[str, ...]:
        """The `R` structures."""
        ...

    @property
    def shares(self) -> tuple[float, ...]:
        """The probability of each, before anything is measured."""
        ...

    @property
    def amounts_of(self) -> tuple[str, ...]:
        """Names of the `K` amounts; the first is constant 1."""
        ...

    def amounts(self, inputs: Tensor) -> Tensor:
        """(`R`, `B`, `K`) non-negative amounts; differentiable, exact at one-hot vertices.

        Args:
            inputs: (`B`, ...): (`B`, `S`, `V`) relaxed architectures of a space.
        """
        ...

    def kinship(self, first: Tensor, second: Tensor) -> Tensor:
        """(`B`, `N`) correlation of what the amounts leave unexplained; 1 between equal inputs."""
        ...


def slot_kinship(first: Tensor, second: Tensor) -> Tensor:
    """(`B`, `N`) 0.6 to the power of the number of slots in which (`B`, `S`, `V`) and (`N`, `S`, `V`) differ."""
    agreeing = first.flatten(-2) @ second.flatten(-2).T
    return torch.as_tensor(_KINSHIP, dtype=first.dtype) ** (first.shape[-2] - agreeing)


class SlotStructures:
    """Structures of any space: how often each choice occurs, and where. Good for chains of blocks.

    Choices are counted by name, so that a block that may stand in many places has a price wherever it was not seen;
    what it costs more or less in one place is a price of its own, with little room at first.
    """

    names = ("every slot",)
    shares = (1.0,)

    def __init__(self, choices: tuple[tuple[str, ...], ...]) -> None:
        """Args:
        choices: The names of the choices of each slot; `S` tuples.
        """
        kinds = list(dict.fromkeys(name for slot in choices for name in slot))
        self.amounts_of = (
            "constant",
            *kinds,
            *(f"{name} at {slot}" for slot, names in enumerate(choices) for name in names),
        )
        width = max(map(len, choices))
        places = [(slot, value) for slot, names in enumerate(choices) for value in range(len(names))]
        self._places = torch.tensor([slot * width + value for slot, value in places])
        self._kinds = torch.zeros(len(places), len(kinds), dtype=torch.float64)
        for row, (slot, value) in enumerate(places):
            self._kinds[row, kinds.index(choices[slot][value])] = 1.0

    def amounts(self, inputs: Tensor) -> Tensor:
        """(1, `B`, `K`): 1, how often each choice occurs, and whether it occurs at each slot."""
        chosen = inputs.flatten(-2)[..., self._places]
        one = torch.ones_like(chosen[..., :1])
        return torch.cat([one, chosen @ self._kinds.to(chosen.dtype), chosen], dim=-1).unsqueeze(0)

    def kinship(self, first: Tensor, second: Tensor) -> Tensor:
        """(`B`, `N`): by the slots in which two architectures differ."""
        return slot_kinship(first, second)


class EncodingStructures:
    """Structures of a space whose runtimes all execute the same: the costs of its encoding."""

    names = ("every block",)
    shares = (1.0,)

    def __init__(self, space: Space) -> None:
        """Args:
        space: With an encoding.
        """
        self._costs = space.encoding().costs
        some = relaxed(space.sample(1, np.random.default_rng(0)), width(space))
        self.amounts_of = ("constant", *(f"cost {index}" for index in range(1, self._costs(some).shape[-1])))

    def amounts(self, inputs: Tensor) -> Tensor:
        """(1, `B`, `K`): the encoding's costs."""
        return self._costs(inputs).unsqueeze(0)

    def kinship(self, first: Tensor, second: Tensor) -> Tensor:
        """(`B`, `N`): by the slots in which two architectures differ."""
        return slot_kinship(first, second)


def structures_of(space: Space) -> Structures:
    """What is known of how a space's architectures are executed; where nothing is, its encoding's costs."""
    from orchestrator.predict.latency.nasbench201 import NASBench201Structures

    special: dict[str, type[Structures]] = {"nasbench201": NASBench201Structures}
    return special[space.name]() if space.name in special else EncodingStructures(space)


def relaxed(slots: IntArray, choices: int) -> Tensor:
    """(`B`, `S`, `V`) one-hot form of (`B`, `S`) choices in float64."""
    return torch.from_numpy(one_hot(np.asarray(slots), choices))
