"""Made-up devices: rooflines with quirks, for priors where measured devices are few, and for tests.

A layer takes the longer of its arithmetic and its memory traffic (Williams et al., "Roofline", CACM 2009), plus what
every layer costs to start; how fast a device computes depends on the kind of layer, with a quirk for each shape.
Layers follow one another, or, on accelerators, branches overlap in part: then only the longest chain counts.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from orchestrator.predict.latency.layers import KINDS, LayerCost, layer_costs
from orchestrator.space.base import FloatArray, IntArray, Space

_BYTES = 4.0


@dataclass(frozen=True)
class SyntheticDevice:
    """A device that does not exist.

    Attributes:
        name: As of a source.
        gigaops: Kind of layer -> multiply-adds a microsecond, in thousands.
        gigabytes: Memory traffic a second.
        start_ms: What each layer costs to begin with.
        fixed_ms: What each inference costs.
        overlap: Share of the work off the longest chain that costs nothing; 0 where one thing is done at a time.
        quirk: Standard deviation of the log of how much dearer one shape is than another of its kind.
        seed: Of the quirks.
    """

    name: str
    gigaops: Mapping[str, float]
    gigabytes: float
    start_ms: float
    fixed_ms: float
    overlap: float = 0.0
    quirk: float = 0.0
    seed: int = 0

    def latency_ms(self, layers: Sequence[LayerCost]) -> float:
        """Of one inference, without noise."""
        times = [self._layer_ms(layer) for layer in layers]
        ends: list[float] = []
        for layer, time in zip(layers, times, strict=True):
            ends.append(time + max((ends[index] for index in layer.waits_for), default=0.0))
        chain = max(ends, default=0.0)
        return self.fixed_ms + chain + (1 - self.overlap) * (sum(times) - chain)

    def _layer_ms(self, layer: LayerCost) -> float:
        arithmetic = layer.multiply_adds / (self.gigaops[layer.kind] * 1e6)
        memory = _BYTES * (layer.values + layer.weights) / (self.gigabytes * 1e6)
        return self.start_ms + max(arithmetic, memory) * float(
            np.exp(self.quirk * _draw(self.seed, layer.kind, layer.shape))
        )


@lru_cache(maxsize=100_000)
def _draw(seed: int, kind: str, shape: tuple[int, ...]) -> float:
    """A standard normal number that belongs to a shape."""
    key = zlib.crc32(repr((kind, shape)).encode())
    return float(np.random.default_rng((seed, key)).standard_normal())


def draw_devices(
    count: int, seed: int = 0, *, overlap: float = 0.0, quirk: float = 0.15
) -> tuple[SyntheticDevice, ...]:
    """Devices from slow phones to servers.

    Args:
        count: How many.
        seed: Of all they are.
        overlap: Of branches, on all of them.
        quirk: As `SyntheticDevice.quirk`.
    """
    devices = []
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        speed = float(np.exp(rng.normal(np.log(10.0), 1.0)))
        # Depthwise convolutions and matrix products with one row reuse little of what they load.
        usual = dict(zip(KINDS, (1.0, 1.0, 0.3, 0.4, 1.0, 1.0), strict=True))
        devices.append(
            SyntheticDevice(
                name=f"synthetic_{seed}_{index}",
                gigaops={kind: speed * share * float(np.exp(rng.normal(0, 0.4))) for kind, share in usual.items()},
                gigabytes=speed * float(np.exp(rng.normal(np.log(0.8), 0.5))),
                start_ms=float(np.exp(rng.normal(np.log(0.02), 0.8))) / speed,
                fixed_ms=float(np.exp(rng.normal(np.log(0.5), 0.8))) / speed,
                overlap=overlap,
                quirk=quirk,
                seed=int(rng.integers(2**31)),
            )
        )
    return tuple(devices)


def synthetic_tables(space: Space, slots: IntArray, count: int, *, seed: int = 0) -> dict[str, FloatArray]:
    """Device -> (`N`,) milliseconds of (`N`, `S`) architectures, on devices that do one layer after the other."""
    networks = [layer_costs(space.network(space.architecture(row), space.usual_network)) for row in slots]
    return {
        device.name: np.array([device.latency_ms(layers) for layers in networks])
        for device in draw_devices(count, seed)
    }
