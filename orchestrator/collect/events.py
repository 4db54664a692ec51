"""Events: what a collection tells those who watch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.collect.records import CollectJob, CollectModel
from profiling.records import Failure, Measurement


@dataclass(frozen=True)
class Event:
    """Something that happened."""


@dataclass(frozen=True)
class Planning(Event):
    """Models are being looked for."""


@dataclass(frozen=True)
class Started(Event):
    """The collection began, or goes on.

    Attributes:
        resumed: It goes on.
        skipped: What cannot be measured at all.
        unplanned: Files that have come into its folders since it was planned, and are no part of it.
    """

    resumed: bool
    skipped: tuple[CollectModel, ...]
    unplanned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arrived(Event):
    """A result is committed."""

    job: CollectJob
    result: Measurement | Failure


@dataclass(frozen=True)
class PutOff(Event):
    """A device failed at a job, which is tried again later."""

    job: CollectJob
    failure: Failure


@dataclass(frozen=True)
class Rested(Event):
    """A device gets no jobs any more, until it is well again."""

    device: str
    reason: str


@dataclass(frozen=True)
class Woke(Event):
    """A device that got none gets jobs again."""

    device: str


Listener = Callable[[Event], None]
