"""Drift as data: the references of a phone over time on its control chart, and what happened on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from device_agent.journal import JournalError
from device_agent.journal_history import DeviceHistory, Marked, read_history
from orchestrator.errors import RunFolderError
from profiling.drift import ChartPolicy, ControlChart, Verdict

SHOWN = 500  # points of a chart: more cannot be told apart, and the page stays small

Outcome = Literal["came back", "new level", "still shifted", "system changed"]


@dataclass(frozen=True)
class ReferencePoint:
    """A measurement of the reference model, and what the chart expected of it.

    Attributes:
        at: Seconds since the epoch.
        latency_ms: As measured.
        expected_ms, low_ms, high_ms: Mean of the good ones before it, and the limits of sudden shifts; None for the
            first one of a system.
        log_ratio: As the chart said when it was measured.
        verdict: The same.
    """

    at: float
    latency_ms: float
    expected_ms: float | None
    low_ms: float | None
    high_ms: float | None
    log_ratio: float
    verdict: Verdict

    @property
    def is_alarm(self) -> bool:
        """Whether the chart raised an alarm."""
        return self.verdict in ("shifted", "recalibrated")

    @property
    def is_outside(self) -> bool:
        """Whether it lies outside the limits; an alarm within them is a small shift that lasts."""
        return None not in (self.low_ms, self.high_ms) and not self.low_ms <= self.latency_ms <= self.high_ms  # type: ignore[operator]


@dataclass(frozen=True)
class DriftEvent:
    """Alarms in a row on one phone.

    Attributes:
        phone: Which.
        since: The last good reference before; the first alarm where there is none.
        began, ended: First alarm, and the last one (seconds since the epoch).
        alarms: How many.
        log_ratio: The largest one.
        marked: Measurements since `since` that are marked as suspect.
        outcome: `new level`: several alarms agreed, and the chart began again from them; `still shifted`: nothing
            came after.
    """

    phone: str
    since: float
    began: float
    ended: float
    alarms: int
    log_ratio: float
    marked: int
    outcome: Outcome


@dataclass(frozen=True)
class DriftFigure:
    """One phone's references over time.

    Attributes:
        phone: What people call it.
        points: In order; good ones are thinned out where there are too many to be told apart.
        count: How many there were before.
        changes: When the phone's system, or the reference model, became another one: what came before is no measure
            for what came after.
        events: Its drifts.
        suspects: The jobs whose measurements are marked.
    """

    phone: str
    points: tuple[ReferencePoint, ...]
    count: int
    changes: tuple[float, ...]
    events: tuple[DriftEvent, ...]
    suspects: frozenset[str]


def drift_figures(journal: Path) -> tuple[DriftFigure, ...]:
    """One figure for each phone that has references; none without a journal, which only fleets keep.

    Raises:
        RunFolderError: The journal cannot be read.
    """
    if not journal.is_file():
        return ()
    try:
        histories = read_history(journal)
    except JournalError as error:
        raise RunFolderError(error.message, error.hint) from error
    unknown = (f"phone {number}, nothing else measured yet" for number in range(1, len(histories) + 1))
    named = [(each.info.name if each.info is not None else next(unknown), each) for each in histories]
    return tuple(drift_figure(phone, history) for phone, history in sorted(named, key=lambda item: item[0]))


def drift_figure(phone: str, history: DeviceHistory, policy: ChartPolicy | None = None) -> DriftFigure:
    """One phone's; its chart is gone through again for the limits of every moment, verdicts stay as they were.

    Args:
        phone: What people call it.
        history: From its journal.
        policy: The chart's rules.
    """
    systems: list[tuple[str, str]] = []
    charts: dict[tuple[str, str], ControlChart] = {}
    befores: list[ControlChart] = []
    for timed in history.references:
        # Charts of other models and systems wait: an update that is taken back finds its own again.
        system = (timed.reference.artifact_sha256, timed.reference.epoch)
        systems.append(system)
        befores.append(charts.setdefault(system, ControlChart(policy or ChartPolicy())))
        charts[system], _ = befores[-1].observe(timed.reference.log_latency)
    is_alarm = [timed.reference.verdict in ("shifted", "recalibrated") for timed in history.references]
    points = {index: _point(history, befores[index], index) for index in _kept(is_alarm)}
    changed = [index for index in range(1, len(systems)) if systems[index] != systems[index - 1]]
    return DriftFigure(
        phone=phone,
        points=tuple(points.values()),
        count=len(systems),
        changes=tuple(history.references[index].at for index in changed),
        events=tuple(_events(phone, history, is_alarm, set(changed))),
        suspects=frozenset(mark.job_id for mark in history.marked),
    )


def _point(history: DeviceHistory, before: ControlChart, index: int) -> ReferencePoint:
    timed = history.references[index]
    limits = before.limits_log
    return ReferencePoint(
        at=timed.at,
        latency_ms=math.exp(timed.reference.log_latency),
        expected_ms=math.exp(before.mean) if limits else None,
        low_ms=math.exp(limits[0]) if limits else None,
        high_ms=math.exp(limits[1]) if limits else None,
        log_ratio=timed.reference.log_ratio,
        verdict=timed.reference.verdict,
    )


def _kept(is_alarm: Sequence[bool]) -> list[int]:
    """Which points are shown: all, or alarms and others at equal distances, the first and the last of them included."""
    alarms = _thinned([index for index, alarm in enumerate(is_alarm) if alarm], SHOWN // 2)
    others = _thinned([index for index, alarm in enumerate(is_alarm) if not alarm], SHOWN - len(alarms))
    return sorted({*alarms, *others})


def _thinned(indices: Sequence[int], most: int) -> list[int]:
    if len(indices) <= most:
        return list(indices)
    return [indices[round(place * (len(indices) - 1) / (most - 1))] for place in range(most)]


def _events(phone: str, history: DeviceHistory, is_alarm: Sequence[bool], changed: set[int]) -> list[DriftEvent]:
    """Runs of alarms; a new level or another system ends one."""
    events: list[DriftEvent] = []
    begin: int | None = None
    for index, alarm in enumerate(is_alarm):
        if begin is not None and (not alarm or index in changed):
            outcome: Outcome = "system changed" if index in changed else "came back"
            events.append(_event(phone, history, begin, index - 1, outcome))
            begin = None
        if alarm and begin is None:
            begin = index
        if begin is not None and history.references[index].reference.verdict == "recalibrated":
            events.append(_event(phone, history, begin, index, "new level"))
            begin = None
    if begin is not None:
        events.append(_event(phone, history, begin, len(is_alarm) - 1, "still shifted"))
    return events


def _event(phone: str, history: DeviceHistory, begin: int, end: int, outcome: Outcome) -> DriftEvent:
    alarms = history.references[begin : end + 1]
    # Marks follow the alarm that made them, before the next reference.
    until = history.references[end + 1].at if end + 1 < len(history.references) else math.inf
    return DriftEvent(
        phone=phone,
        since=history.references[max(begin - 1, 0)].at,
        began=alarms[0].at,
        ended=alarms[-1].at,
        alarms=len(alarms),
        log_ratio=max((timed.reference.log_ratio for timed in alarms), key=abs),
        marked=_marked(history.marked, alarms[0].at, until),
        outcome=outcome,
    )


def _marked(marks: Sequence[Marked], since: float, until: float) -> int:
    return sum(since <= mark.marked_at <= until for mark in marks)
