"""TableDevice: replays latencies that others have measured, for dry runs and benchmarks."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Literal

import numpy as np

from device_agent.device import Artifact
from device_agent.errors import TableMiss
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo
from profiling.table import read_table


class TableDevice:
    """A device whose latencies come from one column of a table; it runs nothing, and knows only architectures."""

    def __init__(
        self, path: str | Path, column: str, name: str | None = None, noise: float = 0.0, seed: int = 0
    ) -> None:
        """Args:
            path: CSV or Parquet with a column `arch` or `arch_str`.
            column: Latencies in milliseconds.
            name: Of the device; the column's by default.
            noise: Standard deviation of the log-normal noise on every look-up (0.02: 2 %).
            seed: Of the noise; the same architecture and block then always get the same.

        Raises:
            TableError: The table cannot be used.
        """
        if not 0 <= noise < 1:
            raise ValueError(f"noise is a fraction between 0 and 1, got {noise}")
        table = read_table(path)
        self._latency_ms = table.column(column, above=0)
        self._source = f"{table.path}, column {column!r}"
        self._noise = noise
        self._seed = seed
        content = "\n".join(f"{label}\t{value!r}" for label, value in self._latency_ms.items())
        self._info = DeviceInfo(
            name=name or column,
            kind="table",
            model=column,
            epoch=hashlib.sha256(f"{content}\nnoise {noise!r}".encode()).hexdigest()[:16],
            runtime="table",
            properties={
                "table": table.path.name,
                "architectures": len(self._latency_ms),
                "reproducibility_sd_log": noise,
            },
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
        self._look_up(artifact)

    def run_block(self, artifact: Artifact, plan: MeasurementPlan, index: int) -> Block:
        """One look-up. Raises TableMiss when the table lacks the architecture."""
        value_ms = self._look_up(artifact)
        if self._noise:
            key = f"{self._seed}\n{self._info.model}\n{artifact.label}\n{index}"
            entropy = int.from_bytes(hashlib.sha256(key.encode()).digest(), "big")
            value_ms *= math.exp(self._noise * np.random.default_rng(entropy).standard_normal())
        return Block(index=index, runs=1, statistic="table", value_ms=value_ms)

    def health(self) -> tuple[str, ...]:
        """Nothing limits a table."""
        return ()

    def close(self) -> None:
        """Nothing is held."""

    def _look_up(self, artifact: Artifact) -> float:
        try:
            return self._latency_ms[artifact.label]
        except KeyError:
            raise TableMiss(
                f"no latency for {artifact.label!r} in {self._source}",
                device=self._info.name,
                hint="architectures are looked up by the space's canonical string",
            ) from None
