"""Made-up devices of NAS-Bench-201: sums of prices, or what no sum of prices explains."""

from __future__ import annotations

from functools import cache

import numpy as np
from torch import Tensor

from orchestrator.generate.pool import draw_distinct, width
from orchestrator.predict.latency.layers import LayerCost, layer_costs
from orchestrator.predict.latency.prior import LatencyPrior, fit_prior
from orchestrator.predict.latency.structures import relaxed, structures_of
from orchestrator.predict.latency.synthetic import SyntheticDevice
from orchestrator.space.base import FloatArray, IntArray
from orchestrator.space.nasbench201 import NASBench201

SPACE = NASBench201()
STRUCTURES = structures_of(SPACE)
USUAL = np.array([1.0, 0.4, 0.2, 1.5, 3.0, 0.8, 0.2])  # prices of the amounts, in milliseconds


@cache
def networks() -> IntArray:
    """(500, 6) architectures whose output depends on their input."""
    slots = draw_distinct(SPACE, 800, np.random.default_rng(1))
    connected = SPACE.encoding().connected(inputs(slots)).numpy() > 0
    return np.asarray(slots[connected][:500])


def inputs(slots: IntArray) -> Tensor:
    """(`B`, 6, 5) of (`B`, 6)."""
    return relaxed(slots, width(SPACE))


def prices(seed: int, spread: float = 0.3) -> FloatArray:
    """(7,) of a device."""
    return np.asarray(USUAL * np.exp(np.random.default_rng(seed).normal(0, spread, len(USUAL))))


def additive(seed: int, *, structure: int = 0, noise: float = 0.02, spread: float = 0.3) -> FloatArray:
    """(500,) milliseconds of a device that charges for every edge, or another structure."""
    rng = np.random.default_rng((seed, 1))
    amounts = STRUCTURES.amounts(inputs(networks()))[structure].numpy()
    return np.asarray(amounts @ prices(seed, spread) * np.exp(rng.normal(0, noise, len(amounts))))


def tables(count: int, first_seed: int = 0) -> dict[str, tuple[Tensor, FloatArray]]:
    """Devices for a prior."""
    seen = inputs(networks())
    return {f"phone{letter}": (seen, additive(first_seed + row)) for row, letter in enumerate("abcdefghij"[:count])}


@cache
def prior() -> LatencyPrior:
    """Of eight devices."""
    return fit_prior(STRUCTURES, tables(8))


@cache
def layers() -> tuple[tuple[LayerCost, ...], ...]:
    """Of the 500 networks, as DeviceNAG builds them."""
    return tuple(layer_costs(SPACE.network(SPACE.architecture(row), SPACE.usual_network)) for row in networks())


def on_device(device: SyntheticDevice, noise: float = 0.01) -> FloatArray:
    """(500,) milliseconds on a roofline device."""
    rng = np.random.default_rng(device.seed)
    return np.array([device.latency_ms(each) for each in layers()]) * np.exp(rng.normal(0, noise, len(layers())))
