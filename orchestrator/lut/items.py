"""What is measured for a block table: every part of the networks alone, some whole networks, and nearly nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from device_agent.device import Artifact
from orchestrator.predict.block_table import BlockTable, part_keys
from orchestrator.space.base import IntArray, NetworkOptions
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.mobilenetv3_network import part_network
from profiling.network import INPUT, Network, Scale
from profiling.tflite import emit
from profiling.weights import random_weights

EMPTY = "empty"  # name of the model that computes nearly nothing: what is left is what every invocation costs

_DRAWN = 64  # architectures for each one that is chosen


@dataclass(frozen=True)
class Target:
    """Which networks a table is for.

    Attributes:
        width: Multiplier of all channels.
        resolutions: Of the input, ascending.
        classes: Of the classifier.
    """

    width: float
    resolutions: tuple[int, ...]
    classes: int

    @property
    def space(self) -> MobileNetV3:
        """Their architectures; with several resolutions, those are searched."""
        return MobileNetV3(resolutions=self.resolutions if len(self.resolutions) > 1 else ())

    def network(self, architecture: str) -> Network:
        """The whole network of an architecture in the space's notation."""
        size = self.resolutions[0]
        options = NetworkOptions((1, size, size, 3), self.classes, {"width": self.width})
        return self.space.network(self.space.parse(architecture), options)

    def table(self, latencies: dict[tuple[int, str], float]) -> BlockTable:
        """The table of these parts."""
        return BlockTable(latencies, self.space, width=self.width, resolution=self.resolutions[0], classes=self.classes)

    def parts(self) -> tuple[tuple[int, str], ...]:
        """(resolution, key) of all parts."""
        return tuple((size, key) for size in self.resolutions for key in part_keys(self.width, size, self.classes))


class Measurable(Protocol):
    """What can be measured in passes."""

    @property
    def name(self) -> str:
        """Unlike any other's."""
        ...

    def artifact(self) -> Artifact:
        """The same bytes every time."""
        ...


@dataclass(frozen=True)
class Item:
    """One network to be measured.

    Attributes:
        name: Unlike any other's.
        network: What it is.
    """

    name: str
    network: Network

    def artifact(self) -> Artifact:
        """Compiled, the same bytes every time; big ones are not kept, as making them takes a tenth of a second."""
        return Artifact.of(emit(self.network, random_weights(self.network)), self.name)


def part_name(resolution: int, key: str) -> str:
    """What an item of a part is called."""
    return f"{resolution}/{key}"


def part_items(target: Target) -> tuple[Item, ...]:
    """All parts."""
    return tuple(Item(part_name(size, key), part_network(key)) for size, key in target.parts())


def network_items(target: Target, architectures: Sequence[str]) -> tuple[Item, ...]:
    """Whole networks, called by their architectures."""
    return tuple(Item(architecture, target.network(architecture)) for architecture in architectures)


def empty_item() -> Item:
    """One multiplication of 128 KiB: what is measured is the cost of an invocation, and just above the microsecond.

    Phones' runners count whole microseconds, and would report none for less.
    """
    return Item(EMPTY, Network(EMPTY, (1, 32, 32, 32), (Scale("scale", (INPUT,), factor=0.5),)))


def spread_architectures(target: Target, count: int, seed: int) -> tuple[str, ...]:
    """Random architectures, spread evenly over the sizes that there are.

    Drawn uniformly they would all be of middling size: of twenty blocks the many choices average out. Each is therefore
    drawn with a leaning of its own towards the small or the large end, and of many the ones are taken whose
    multiply-adds lie nearest to evenly spaced ones (on the log scale). Nothing is measured to choose them, so that they
    can be measured side by side with the parts.

    Args:
        target: Whose architectures.
        count: How many.
        seed: Of the draws.

    Returns:
        Different architectures, from small to large.
    """
    if not count:
        return ()
    space, rng = target.space, np.random.default_rng(seed)
    drawn = np.unique(_leaning(space, count * _DRAWN, rng), axis=0)
    work = {(size, key): float(part_network(key).multiply_adds) for size, key in target.parts()}
    logs = np.log(target.table(work).of(drawn))
    chosen: list[int] = []
    free = np.ones(len(drawn), dtype=bool)
    for wanted in np.linspace(logs.min(), logs.max(), count):
        nearest = int(np.where(free, np.abs(logs - wanted), np.inf).argmin())
        free[nearest] = False
        chosen.append(nearest)
    return tuple(space.architecture(drawn[row]).text for row in chosen)


def _leaning(space: MobileNetV3, count: int, rng: np.random.Generator) -> IntArray:
    """(`B`, `S`) draws; in each, a share of the choices of its own is the smallest, or the largest, there is."""
    slots = space.sample(count, rng)
    lean = rng.uniform(-1, 1, size=(count, 1))
    largest = np.array([len(choices) - 1 for choices in space.choices])
    leans = rng.random(slots.shape) < np.abs(lean)
    slots = np.where(leans, np.where(lean > 0, largest, 0), slots)
    return np.where(space.inactive(slots), 0, slots)
