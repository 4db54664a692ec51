"""A phone that takes what its true block table says, with overhead, noise, drift and faults as a test wants them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from device_agent.device import Artifact
from orchestrator.lut.items import EMPTY, Target, part_name
from orchestrator.lut.ledger import REFERENCE
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo
from tests.orchestrator.predict.block_tables import block_latencies

TARGET = Target(width=0.35, resolutions=(32,), classes=10)


class TruePhone:
    """Knows what it runs by its label.

    Args:
        target: What may be asked for.
        overhead_ms: Of every invocation.
        scale: Parts take so much longer inside a network than alone.
        extra_ms: Networks take so much more.
        noise: Standard deviation of log latency between blocks of anything but the reference.
        pace: What all latencies are multiplied by, given how many blocks have run; it may raise errors as well.
        epoch: Of the system.
    """

    def __init__(
        self,
        target: Target = TARGET,
        *,
        overhead_ms: float = 0.0,
        scale: float = 1.0,
        extra_ms: float = 0.0,
        noise: float = 0.0,
        pace: Callable[[int], float] = lambda _: 1.0,
        epoch: str = "1",
    ) -> None:
        self.latencies = block_latencies(width=target.width, resolutions=target.resolutions, classes=target.classes)
        self._by_name = {part_name(*at): value for at, value in self.latencies.items()}
        self._table = target.table(self.latencies)
        self._overhead_ms, self._scale, self._extra_ms = overhead_ms, scale, extra_ms
        self._noise, self._pace = noise, pace
        self._rng = np.random.default_rng(0)
        self.ran: list[str] = []
        self.info = DeviceInfo("phone", "virtual", "True Phone", epoch=epoch, runtime="truth 1")

    @property
    def identity(self) -> Literal["artifact", "architecture"]:
        return "artifact"

    def deploy(self, artifact: Artifact) -> None:
        assert artifact.data

    def run_block(self, artifact: Artifact, plan: MeasurementPlan, index: int) -> Block:
        pace = self._pace(len(self.ran))
        self.ran.append(artifact.label)
        noise = 1.0 if artifact.label == REFERENCE else math.exp(self._noise * self._rng.standard_normal())
        return Block(index, 20, "median", self.true_ms(artifact.label) * pace * noise)

    def true_ms(self, name: str) -> float:
        """Of a part alone, a network, the empty model or the reference."""
        if name == REFERENCE:
            return 5.0
        if name == EMPTY:
            return self._overhead_ms or 1e-3
        if name in self._by_name:
            return self._overhead_ms + self._by_name[name]
        return self._overhead_ms + self._extra_ms + self._scale * self._table.look_up(name)

    def health(self) -> tuple[str, ...]:
        return ()

    def close(self) -> None:
        """Nothing is held."""
