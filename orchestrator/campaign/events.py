"""Events: what a campaign tells those who watch it (the terminal, tests, trackers)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.campaign.state import CampaignState
from orchestrator.campaign.warm_start import Verdict
from profiling.records import Block, Failure, Measurement


@dataclass(frozen=True)
class Event:
    """Something that happened."""


@dataclass(frozen=True)
class Started(Event):
    """The campaign began, or continues with what the run folder holds."""

    state: CampaignState
    resumed: bool


@dataclass(frozen=True)
class WarmStarted(Event):
    """Earlier campaigns' measurements are known to the surrogates; `verdicts` say which, and why others are not."""

    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Proposing(Event):
    """A round's fit and generation began."""

    round: int


@dataclass(frozen=True)
class Proposed(Event):
    """A round has proposed candidates."""

    round: int
    candidates: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class BlockDone(Event):
    """A device finished a block of a candidate."""

    candidate: int
    device: str
    block: Block


@dataclass(frozen=True)
class LatencyDone(Event):
    """A candidate's latency on a device, or why there is none."""

    candidate: int
    device: str
    result: Measurement | Failure


@dataclass(frozen=True)
class AccuracyDone(Event):
    """A candidate's accuracy and its unit (` %`, nothing for proxies), or why there is none."""

    candidate: int
    result: float | Failure
    unit: str = ""


@dataclass(frozen=True)
class RoundDone(Event):
    """Every candidate of a round has all its results."""

    round: int
    state: CampaignState


@dataclass(frozen=True)
class Settling(Event):
    """The search is over, and what may be on the front is measured on; `measurements` says how many."""

    measurements: int


@dataclass(frozen=True)
class Verifying(Event):
    """Winners are measured again, with trained weights where there are any."""

    candidates: tuple[int, ...]


@dataclass(frozen=True)
class Finished(Event):
    """The campaign is done; `reason` says why it stopped."""

    state: CampaignState
    reason: str


Listener = Callable[[Event], None]
