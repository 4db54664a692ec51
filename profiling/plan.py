"""MeasurementPlan: how one artifact is to be measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from profiling.records import Record


@dataclass(frozen=True)
class MeasurementPlan(Record):
    """Blocks, runs, warm-up, threads, affinity, delegate and the stop rule.

    Attributes:
        min_blocks, max_blocks: Processes; after `min_blocks` the stop rule decides, at most `max_blocks`.
        target_half_width: Stop when the 95 % interval's relative half-width is at most this (0.02 = 2 %).
        min_runs: Timed inferences a block has at least.
        block_seconds: Timed part of a block lasts about this long (`min_runs` still holds).
        max_runs: Upper bound of timed inferences in a block.
        warmup_runs, warmup_seconds: Untimed inferences before: at least both.
        threads: Interpreter threads.
        affinity: Logical CPUs the process is pinned to; empty: the device's own choice.
        delegate: `cpu` (XNNPACK), `none` (built-in kernels), and on phones `gpu`, `nnapi`, `external:PATH`.
        deadline_s: Hard limit for one block's process, start-up included.
        clock: `wall`; or `cpu`, the time that the one thread had a CPU, for a host that shares its CPUs with other
            programs: what an inference takes without waiting for them, though not without their traces in the caches.
    """

    min_blocks: int = 3
    max_blocks: int = 10
    target_half_width: float = 0.02
    min_runs: int = 20
    block_seconds: float = 0.3
    max_runs: int = 2000
    warmup_runs: int = 10
    warmup_seconds: float = 0.1
    threads: int = 1
    affinity: tuple[int, ...] = ()
    delegate: str = "cpu"
    deadline_s: float = 60.0
    clock: Literal["wall", "cpu"] = "wall"

    def __post_init__(self) -> None:
        if not 1 <= self.min_blocks <= self.max_blocks:
            raise ValueError(f"blocks must satisfy 1 <= min <= max, got [{self.min_blocks}, {self.max_blocks}]")
        if not 0 < self.target_half_width < 1:
            raise ValueError(f"target_half_width is a fraction between 0 and 1, got {self.target_half_width}")
        if self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads}")
        if self.clock == "cpu" and self.threads > 1:
            raise ValueError(f"the CPU clock is that of one thread, got {self.threads}")
