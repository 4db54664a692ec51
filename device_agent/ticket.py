"""Ticket: a job on its way to its result."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from device_agent.backend import MeasurementJob, MeasurementResult, OnBlock
from device_agent.gate import GateClosed
from device_agent.retry import History
from profiling.records import Block, DeviceInfo, Failure

MEASURED_ON = "measured_on"  # in a block's conditions


def stamp(info: DeviceInfo) -> str:
    """What blocks of one measurement have in common: the same phone, with the same system."""
    return f"{info.serial_hash or info.name} {info.epoch}"


@dataclass(eq=False)
class Ticket:
    """A job, its future, and what has happened to it so far; only the thread that has taken it changes it.

    Attributes:
        job: What to do.
        on_block: Whom to tell of blocks.
        future: Where the result goes.
        blocks: All blocks so far, those measured on other devices included.
        history: Errors so far.
        avoid: Devices that did not do it: others go first.
        accused: Devices on which it failed in a way that may be theirs or the model's.
        last_failure: The latest error.
        not_before_s: When it may be tried again.
        forlorn_since_s: Since when no device that could do it is there; None: there is one.
        first_index: Blocks before this one are not used (they gave no estimate).
    """

    job: MeasurementJob
    on_block: OnBlock | None = None
    future: Future[MeasurementResult] = field(default_factory=Future)
    blocks: list[Block] = field(default_factory=list)
    history: History = field(default_factory=History)
    avoid: set[str] = field(default_factory=set)
    accused: set[str] = field(default_factory=set)
    last_failure: Failure | None = None
    not_before_s: float = 0.0
    forlorn_since_s: float | None = None
    first_index: int = 0
    _begun: bool = False

    def begin(self) -> bool:
        """Whether it is to be done at all: False when its future was cancelled before."""
        self._begun = self._begun or self.future.set_running_or_notify_cancel()
        return self._begun

    def cancel(self) -> None:
        """The backend closes: nobody will do it."""
        if self._begun:
            self.future.set_exception(GateClosed("the backend was closed before this job had ended"))
        elif self.future.cancel():
            self.future.set_running_or_notify_cancel()

    def blocks_of(self, info: DeviceInfo) -> tuple[Block, ...]:
        """The blocks that can go into a measurement on this device. Those without a stamp are those of a named one."""
        mine = stamp(info)
        return tuple(
            block
            for block in self.blocks
            if block.index >= self.first_index and block.conditions.get(MEASURED_ON, mine) == mine
        )

    @property
    def next_index(self) -> int:
        """The next block's."""
        return max((block.index for block in self.blocks), default=-1) + 1

    def keeper(self) -> Callable[[Block], None]:
        """What `measure` is to call with new blocks."""

        def keep(block: Block) -> None:
            self.blocks.append(block)
            if self.on_block is not None:
                self.on_block(block)

        return keep
