"""Scalars: what trackers are told of a campaign's events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.campaign.events import AccuracyDone, Event, Finished, LatencyDone, Proposed, RoundDone
from orchestrator.campaign.state import CampaignState
from profiling.records import Failure


@dataclass(frozen=True)
class Scalar:
    """A value at a step.

    Attributes:
        name: With its unit; parts are separated by a slash, as both trackers group them.
        value: Finite.
        step: A candidate's id, a round, or how many candidates are measured.
    """

    name: str
    value: float
    step: int


def scalars(event: Event) -> Iterator[Scalar]:
    """What an event says in numbers; nothing, for most."""
    match event:
        case LatencyDone(candidate, device, result) if not isinstance(result, Failure):
            yield Scalar(f"latency_ms/{device}", result.latency_ms, candidate)
            yield Scalar(f"half_width/{device}", result.half_width, candidate)
        case AccuracyDone(candidate, float(value)):
            yield Scalar("accuracy", value, candidate)
        case Proposed(index, _, seconds):
            yield Scalar("proposal_seconds", seconds, index)
        case RoundDone(_, state) | Finished(state, _):
            yield from _standing(state)


def _standing(state: CampaignState) -> Iterator[Scalar]:
    step = len(state.measured)
    for status, number in state.counts.items():
        yield Scalar(f"candidates/{status}", float(number), step)
    yield Scalar("front/size", float(len(state.front)), step)
    if step:
        yield Scalar("hypervolume" if state.goal.minimize else "best", float(state.progress[-1]), step)
    if state.front:
        for name, observed in state.front[0].metrics.items():
            yield Scalar(f"front/{name}", observed.value, step)
