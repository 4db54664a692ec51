"""Labels whose truth is known: accuracy counts convolutions, latency is a sum of prices, on three devices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.generate.dinas.labels import Labels
from orchestrator.generate.dinas.network import NetworkConfig
from orchestrator.generate.dinas.population import make_population
from orchestrator.generate.dinas.train import TrainConfig
from orchestrator.space.base import FloatArray, IntArray
from orchestrator.space.nasbench201 import NASBench201

SPACE = NASBench201()
# Milliseconds of none, skip_connect, nor_conv_1x1, nor_conv_3x3 and avg_pool_3x3 on an edge, beside 1 ms for the rest.
PRICES = {
    "even": np.array([0.1, 0.1, 1.0, 2.0, 0.5]),
    "slow_pool": np.array([0.1, 0.2, 0.5, 1.0, 3.0]),
    "slow_conv": np.array([0.1, 0.1, 1.0, 6.0, 0.2]),
}
UNSEEN = np.array([0.2, 0.3, 2.5, 3.0, 1.5])


@dataclass(frozen=True)
class Prices:
    """Latency as a sum over edges."""

    name: str
    prices: FloatArray
    listed: IntArray | None = None
    noisy: bool = False

    def of(self, slots: IntArray) -> FloatArray:
        """(`B`,) milliseconds."""
        return np.asarray(1.0 + self.prices[slots].sum(axis=1))


@dataclass(frozen=True)
class Worth:
    """Accuracy as a sum over edges: 3x3 convolutions are best, pooling is better than nothing."""

    name: str = "worth"
    listed: IntArray | None = None
    noisy: bool = False

    def of(self, slots: IntArray) -> FloatArray:
        """(`B`,) percent."""
        return np.asarray(50.0 + np.array([0.0, 1.0, 5.0, 8.0, 2.0])[slots].sum(axis=1))


LABELS = Labels(Worth(), tuple(Prices(name, prices) for name, prices in PRICES.items()))
CONFIG = TrainConfig(
    steps=200,
    batch=96,
    learning_rate=3e-3,
    warmup=20,
    ema_decay=0.98,
    network=NetworkConfig(channels=32, layers=2, heads=2, references=6),
)
POPULATION = make_population(SPACE, LABELS, references=6, holdout=0.5, count=2000, seed=0)
