"""TableDevice: looks latencies up that others have measured, for dry runs, benchmarks and block tables."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from device_agent.device import Artifact
from device_agent.errors import TableMiss
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo
from profiling.table import read_table

_START_S = 0.2  # what a block's process would take to start

LookUp = Callable[[str], float]  # label of an artifact -> milliseconds; raises KeyError


class TableDevice:
    """A device whose latencies are looked up; it runs nothing, and knows artifacts only by their labels."""

    def __init__(
        self,
        look_up: LookUp,
        *,
        name: str,
        content: str,
        source: str,
        kind: str = "table",
        model: str = "",
        noise: float = 0.0,
        block_noise: float = 0.0,
        seed: int = 0,
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        """Args:
            look_up: Milliseconds of an architecture, by its canonical string; raises KeyError for one it lacks.
            name: Of the device.
            content: What the latencies are; the device's epoch follows it.
            source: What errors call the table.
            kind: Of the device: `table`, `lut`.
            model: What the latencies were measured on; the name by default.
            noise: Standard deviation of the log-normal noise on every look-up (0.02: 2 %).
            block_noise: Of that of every block; above 0, a measurement takes as many blocks as on a device that runs.
            seed: Of the noise; the same architecture and block then always get the same.
            properties: Of the device, beside the noise.

        Raises:
            ValueError: A noise is no fraction.
        """
        if not (0 <= noise < 1 and 0 <= block_noise < 1):
            raise ValueError(f"noise is a fraction between 0 and 1, got {noise} and {block_noise}")
        self._look_up = look_up
        self._source = source
        self._noise = noise
        self._block_noise = block_noise
        self._seed = seed
        noises = f"noise {noise!r}" + (f", of blocks {block_noise!r}" if block_noise else "")
        self._info = DeviceInfo(
            name=name,
            kind=kind,
            model=model or name,
            epoch=hashlib.sha256(f"{content}\n{noises}".encode()).hexdigest()[:16],
            runtime="table",
            properties={**(properties or {}), "reproducibility_sd_log": noise},
        )

    @classmethod
    def of_column(
        cls,
        path: str | Path,
        column: str,
        *,
        name: str | None = None,
        noise: float = 0.0,
        block_noise: float = 0.0,
        seed: int = 0,
    ) -> Self:
        """A device that replays one column of a table.

        Args:
            path: CSV or Parquet with a column `arch` or `arch_str`.
            column: Latencies in milliseconds.
            name: Of the device; the column's by default.
            noise: See the constructor.
            block_noise: See the constructor.
            seed: See the constructor.

        Raises:
            TableError: The table cannot be used.
        """
        table = read_table(path)
        latency_ms = table.column(column, above=0)
        return cls(
            latency_ms.__getitem__,
            name=name or column,
            content="\n".join(f"{label}\t{value!r}" for label, value in latency_ms.items()),
            source=f"{table.path}, column {column!r}",
            model=column,
            noise=noise,
            block_noise=block_noise,
            seed=seed,
            properties={"table": table.path.name, "architectures": len(latency_ms)},
        )

    @property
    def info(self) -> DeviceInfo:
        """The table's name and content hash; `reproducibility_sd_log` is the noise."""
        return self._info

    @property
    def identity(self) -> Literal["artifact", "architecture"]:
        """The architecture: tables were made by runtimes that may pay for what a compiler would remove."""
        return "architecture"

    def deploy(self, artifact: Artifact) -> None:
        """Nothing is deployed. Raises TableMiss when the table lacks the architecture."""
        self._latency_ms(artifact)

    def run_block(self, artifact: Artifact, plan: MeasurementPlan, index: int) -> Block:
        """One look-up. Raises TableMiss when the table lacks the architecture."""
        value_ms = self._latency_ms(artifact)
        if self._block_noise:
            value_ms *= self._error(artifact, self._noise, "look-up") * self._error(artifact, self._block_noise, index)
            duration_s = _START_S + plan.warmup_seconds + plan.block_seconds
            return Block(index, plan.min_runs, "median", value_ms, duration_s=duration_s)
        return Block(
            index=index, runs=1, statistic="table", value_ms=value_ms * self._error(artifact, self._noise, index)
        )

    def _error(self, artifact: Artifact, noise: float, which: int | str) -> float:
        """A log-normal factor, always the same for the same architecture and block."""
        if not noise:
            return 1.0
        key = f"{self._seed}\n{self._info.model}\n{artifact.label}\n{which}"
        entropy = int.from_bytes(hashlib.sha256(key.encode()).digest(), "big")
        return math.exp(noise * np.random.default_rng(entropy).standard_normal())

    def health(self) -> tuple[str, ...]:
        """Nothing limits a table."""
        return ()

    def close(self) -> None:
        """Nothing is held."""

    def _latency_ms(self, artifact: Artifact) -> float:
        try:
            return self._look_up(artifact.label)
        except KeyError:
            raise TableMiss(
                f"no latency for {artifact.label!r} in {self._source}",
                device=self._info.name,
                hint="architectures are looked up by the space's canonical string",
            ) from None
