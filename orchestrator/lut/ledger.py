"""Ledger: the blocks of a build in the order they were measured, kept in a journal, and what references say of them.

Blocks between two references are a group. The control chart of the references tells whether the device was still the
same at the group's end (`profiling.drift`); if not, the group is spoilt. A device may also change for good, or for so
long that the chart takes it for good, and then has several levels: only blocks of the level at which most were measured
count, so that a table is about one device and not about a mixture of a cool and a hot one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from device_agent.journal import Journal
from orchestrator.errors import DataError
from profiling.drift import ControlChart, Verdict
from profiling.records import Block, Measurement

REFERENCE = "reference"
DRIFTED = "drifted"  # why blocks are rejected that were measured while the device was not itself

_SAME_LEVEL_LOG = 0.05  # levels as near as this are one


@dataclass(frozen=True)
class Drift:
    """How steady the device was.

    Attributes:
        references: How often the reference model was measured.
        sd_log: Standard deviation of its log latency: what any block differs by from one moment to another.
        shifted: How often it was out of line.
        levels_ms: What the reference took, before and after each lasting change of the device.
    """

    references: int
    sd_log: float | None
    shifted: int
    levels_ms: tuple[float, ...]


@dataclass
class _Group:
    """Blocks between two references. `level`: at which they were measured; None: they are spoilt."""

    size: int = 0
    level: int | None = 0


class Ledger:
    """What has been measured so far; every block is in the journal before it counts.

    A build that was killed goes on from its journal: reading it again gives the same ledger.
    """

    def __init__(self, journal: Journal, scope: str) -> None:
        """Args:
            journal: Of this build alone; blocks that are in it already count.
            scope: What all blocks have in common: the device and how it is measured.

        Raises:
            DataError: The journal's blocks were measured on another device or otherwise.
            JournalError: The journal cannot be read.
        """
        self._journal = journal
        self._scope = scope
        self._blocks: dict[str, list[tuple[Block, _Group]]] = {}
        self._chart = ControlChart()
        self._levels = [0.0]  # log of the reference's latency
        self._groups = [_Group()]  # the last one is open
        self._main = 0
        self._logs: list[float] = []
        self._shifted = 0
        self.count = 0
        for job, result in journal.results().items():
            known, _, rest = job.partition("|")
            if known != scope:
                raise DataError(
                    f"{journal.path} was begun otherwise or on another device:\n  then: {known}\n  now:  {scope}",
                    "give the same options, or build another table: --out",
                )
            assert isinstance(result, Measurement)
            self._take(rest.partition("|")[2], result.blocks[0])

    def add(self, name: str, measurement: Measurement) -> Verdict | None:
        """Write one block down.

        Args:
            name: Of the item, or `REFERENCE`.
            measurement: Of one block.

        Returns:
            What the reference says of the device; None for an item, and for a reference that gave no value.

        Raises:
            JournalError: It could not be written.
        """
        self._journal.record(f"{self._scope}|{self.count}|{name}", measurement)
        return self._take(name, measurement.blocks[0])

    def blocks(self, name: str) -> Sequence[Block]:
        """An item's blocks; those measured while the device was not itself are rejected."""
        return [
            block if self._counts(group) else replace(block, status="rejected", reason=block.reason or DRIFTED)
            for block, group in self._blocks.get(name, ())
        ]

    @property
    def due(self) -> bool:
        """Whether blocks wait for the next reference."""
        return self._groups[-1].size > 0

    @property
    def drift(self) -> Drift:
        """How steady the device was."""
        count = len(self._logs)
        mean = sum(self._logs) / count if count else 0.0
        sd = math.sqrt(sum((log - mean) ** 2 for log in self._logs) / (count - 1)) if count > 1 else None
        levels = tuple(math.exp(level) for level in self._levels) if count else ()
        return Drift(count, sd, self._shifted, levels)

    def _take(self, name: str, block: Block) -> Verdict | None:
        self.count += 1
        if name == REFERENCE:
            return self._judge(block)
        group = self._groups[-1]
        group.size += 1
        self._blocks.setdefault(name, []).append((block, group))
        return None

    def _judge(self, block: Block) -> Verdict | None:
        """A reference closes the open group, unless it gave no value."""
        if block.status != "ok":
            return None
        log_ms = math.log(block.value_ms)
        self._logs.append(log_ms)
        self._chart, reading = self._chart.observe(log_ms)
        if reading.verdict == "recalibrated":
            self._levels.append(0.0)
        self._levels[-1] = self._chart.mean
        spoilt = reading.verdict in ("shifted", "recalibrated")
        self._shifted += spoilt
        group = self._groups[-1]
        group.level = None if spoilt else len(self._levels) - 1
        self._groups.append(_Group(level=len(self._levels) - 1))
        self._main = max(range(len(self._levels)), key=self._measured_at)
        return reading.verdict

    def _measured_at(self, level: int) -> int:
        """How many blocks were measured at about this level."""
        return sum(group.size for group in self._groups if group.level is not None and self._near(group.level, level))

    def _counts(self, group: _Group) -> bool:
        return group.level is not None and self._near(group.level, self._main)

    def _near(self, first: int, second: int) -> bool:
        return abs(self._levels[first] - self._levels[second]) <= _SAME_LEVEL_LOG
