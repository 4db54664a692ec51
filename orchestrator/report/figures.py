"""Figures as data: Pareto front, progress, predicted against measured, blocks. `draw` turns them into pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.campaign.config import ACCURACY, latency_metric
from orchestrator.campaign.state import Candidate
from orchestrator.optimize.pareto import pareto_mask
from orchestrator.report.run import LatencyRecord, Run
from profiling.records import Grade
from profiling.store import Purpose

PointKind = Literal["winner", "feasible", "infeasible", "failed"]

Z_90, Z_95 = 1.6449, 1.9600  # two-sided quantiles of the normal distribution
_LARGEST_LOG = 700.0  # a predictor without any idea must not stop the report
MIN_PAIRS = 3  # a rank correlation of fewer pairs says nothing


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval, in the unit of its metric."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class FrontPoint:
    """A candidate in the plane of one device's latency and the accuracy.

    Attributes:
        kind: `winner` (on the campaign's front, or its best), `feasible`, `infeasible`, `failed`.
        accuracy, accuracy_standard_error: None where unknown.
        latency_ms: As measured while searching; None where it failed.
        verified_ms: As measured again afterwards, with trained weights.
        grade: Quality of the latency.
        note: Why it failed.
    """

    candidate: int
    architecture: str
    origin: str
    round: int
    kind: PointKind
    accuracy: float | None
    accuracy_standard_error: float | None
    latency_ms: Interval | None
    verified_ms: Interval | None
    grade: Grade | None
    note: str


@dataclass(frozen=True)
class FrontFigure:
    """Accuracy against the latency on one device.

    Attributes:
        frontier: (latency_ms, accuracy) of the feasible points that no other dominates in this plane, by latency.
        budget_ms: The goal's bound on this device's latency, if it has one.
        is_pareto: Whether the goal is a front; else it is the best under constraints.
    """

    device: str
    accuracy_unit: str
    points: tuple[FrontPoint, ...]
    frontier: tuple[tuple[float, float], ...]
    budget_ms: float | None
    is_pareto: bool


def front_figure(run: Run, device: str) -> FrontFigure:
    """Every candidate that has at least one value or a failure, for one device."""
    state = run.state
    winners = {candidate.row.id for candidate in state.front}
    points = []
    for candidate in state.candidates:
        if candidate.status == "running" or not (device in candidate.latencies or candidate.accuracy):
            continue
        kind: PointKind = "failed"
        if candidate.status == "measured":
            feasible: PointKind = "feasible" if state.is_feasible(candidate) else "infeasible"
            kind = "winner" if candidate.row.id in winners else feasible
        points.append(_front_point(run, candidate, device, kind))
    shown = [point for point in points if point.kind in ("winner", "feasible")]
    budgets = [c.bound for c in state.goal.subject_to if c.metric == latency_metric(device)]
    return FrontFigure(
        device=device,
        accuracy_unit=run.accuracy_unit,
        points=tuple(points),
        frontier=_frontier(shown),
        budget_ms=min(budgets, default=None),
        is_pareto=bool(state.goal.minimize),
    )


def _front_point(run: Run, candidate: Candidate, device: str, kind: PointKind) -> FrontPoint:
    measurement = candidate.latencies.get(device)
    verified = run.verified.get((candidate.row.id, device))
    accuracy = candidate.accuracy
    return FrontPoint(
        candidate=candidate.row.id,
        architecture=candidate.row.architecture,
        origin=candidate.row.origin,
        round=candidate.row.round,
        kind=kind,
        accuracy=accuracy.accuracy if accuracy else None,
        accuracy_standard_error=accuracy.standard_error if accuracy else None,
        latency_ms=Interval(measurement.latency_ms, measurement.ci_low_ms, measurement.ci_high_ms)
        if measurement
        else None,
        verified_ms=Interval(verified.latency_ms, verified.ci_low_ms, verified.ci_high_ms) if verified else None,
        grade=measurement.grade if measurement else None,
        note="; ".join(f"{metric}: {failure.code}" for metric, failure in candidate.failures.items()),
    )


def _frontier(points: Sequence[FrontPoint]) -> tuple[tuple[float, float], ...]:
    pairs = [(p.latency_ms.value, p.accuracy) for p in points if p.latency_ms is not None and p.accuracy is not None]
    if not pairs:
        return ()
    values = np.array(pairs)
    mask = pareto_mask(values * [-1.0, 1.0])
    return tuple(sorted({pair for pair, kept in zip(pairs, mask, strict=True) if kept}))


@dataclass(frozen=True)
class ProgressPoint:
    """A candidate that became complete, and how good the campaign was from then on (None: nothing feasible yet)."""

    evaluation: int
    candidate: int
    architecture: str
    origin: str
    round: int
    value: float | None


@dataclass(frozen=True)
class ProgressFigure:
    """Hypervolume, or the best feasible accuracy, by evaluation.

    Attributes:
        label: What is counted, with its unit.
        points: In the order in which candidates became complete.
        missing: Why there is no curve; empty where there is one.
    """

    label: str
    points: tuple[ProgressPoint, ...]
    missing: str


def progress_figure(run: Run) -> ProgressFigure:
    """Progress by evaluation."""
    state = run.state
    pareto = bool(state.goal.minimize)
    unit = f" ({run.accuracy_unit})" if run.accuracy_unit else ""
    label = "hypervolume" if pareto else f"best feasible {state.goal.maximize}{unit}"
    points = tuple(
        ProgressPoint(
            evaluation=index,
            candidate=candidate.row.id,
            architecture=candidate.row.architecture,
            origin=candidate.row.origin,
            round=candidate.row.round,
            value=float(value) if math.isfinite(value) else None,
        )
        for index, (candidate, value) in enumerate(zip(state.measured, state.progress, strict=True), start=1)
    )
    missing = ""
    if not points:
        missing = "No candidate is complete yet."
    elif pareto and state.reference is None:
        missing = "The reference point of the hypervolume is fixed when the first round is complete."
    elif all(point.value is None for point in points):
        missing = "No measured candidate meets the constraints yet."
    return ProgressFigure(label, points, missing)


@dataclass(frozen=True)
class Prediction:
    """A value as predicted before it was measured, with the 95 % interval for the measured value."""

    candidate: int
    architecture: str
    round: int
    predicted: Interval
    measured: float


@dataclass(frozen=True)
class PredictionQuality:
    """How good predictions were.

    Attributes:
        round: Of which round; None for all together.
        count: Predictions that could be compared.
        spearman: Rank correlation; None for fewer than 3 or equal values.
        within_90, within_95: How many measured values lay inside the predicted 90 % and 95 % intervals.
    """

    round: int | None
    count: int
    spearman: float | None
    within_90: int
    within_95: int


@dataclass(frozen=True)
class PredictionFigure:
    """Predicted against measured values of one metric; the last quality is that of all rounds together."""

    metric: str
    unit: str
    points: tuple[Prediction, ...]
    quality: tuple[PredictionQuality, ...]


@dataclass(frozen=True)
class _Pair:
    """Prediction and measurement on the scale on which errors are normal: log for latency."""

    round: int
    mean: float
    sd: float
    measured: float


def prediction_figures(run: Run) -> tuple[PredictionFigure, ...]:
    """One figure for each metric of which at least one prediction can be compared.

    The interval is that of the measured value: the predictor's variance plus the measurement's own.
    """
    return tuple(figure for metric in run.state.goal.metrics if (figure := _prediction_figure(run, metric)).points)


def _prediction_figure(run: Run, metric: str) -> PredictionFigure:
    is_log = metric != ACCURACY
    points, pairs = [], []
    for candidate in run.state.candidates:
        predicted, observed = candidate.row.predictions.get(metric), candidate.metrics.get(metric)
        if predicted is None or observed is None:
            continue
        mean = math.log(predicted["mean"]) if is_log else predicted["mean"]
        sd = math.sqrt(predicted["sd"] ** 2 + (observed.variance or 0.0))
        pairs.append(_Pair(candidate.row.round, mean, sd, math.log(observed.value) if is_log else observed.value))
        ends = (mean, mean - Z_95 * sd, mean + Z_95 * sd)
        interval = Interval(*(math.exp(min(end, _LARGEST_LOG)) for end in ends)) if is_log else Interval(*ends)
        row = candidate.row
        points.append(Prediction(row.id, row.architecture, row.round, interval, observed.value))
    rounds = sorted({pair.round for pair in pairs})
    quality = [_quality(index, [pair for pair in pairs if pair.round == index]) for index in rounds]
    unit = "ms" if is_log else run.accuracy_unit
    return PredictionFigure(metric, unit, tuple(points), (*quality, _quality(None, pairs)))


def _quality(index: int | None, pairs: Sequence[_Pair]) -> PredictionQuality:
    def within(z: float) -> int:
        return sum(abs(pair.measured - pair.mean) <= z * pair.sd for pair in pairs)

    rho = spearman([pair.mean for pair in pairs], [pair.measured for pair in pairs])
    return PredictionQuality(index, len(pairs), rho, within(Z_90), within(Z_95))


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Rank correlation, equal values sharing their mean rank; None where it is not defined or says nothing."""
    if len(first) < MIN_PAIRS or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


@dataclass(frozen=True)
class BlockPoint:
    """One block: its value, how far it lies from the estimate, and why it was rejected (empty: it was used)."""

    index: int
    value_ms: float
    deviation: float
    rejected: str


@dataclass(frozen=True)
class MeasuredBlocks:
    """The blocks of one measurement; `deviation`s are relative to its estimate (0.02 is 2 %)."""

    candidate: int
    architecture: str
    purpose: Purpose
    latency_ms: Interval
    grade: Grade
    reasons: tuple[str, ...]
    target_half_width: float
    blocks: tuple[BlockPoint, ...]


@dataclass(frozen=True)
class BlocksFigure:
    """All measurements of one device in the order in which they were finished."""

    device: str
    measurements: tuple[MeasuredBlocks, ...]


def blocks_figure(run: Run, device: str) -> BlocksFigure:
    """The blocks of every measurement that has an estimate."""
    records = (record for record in run.latencies if record.device == device)
    return BlocksFigure(device, tuple(_measured(run, record) for record in records if record.measurement is not None))


def _measured(run: Run, record: LatencyRecord) -> MeasuredBlocks:
    measurement = record.measurement
    assert measurement is not None
    estimate = measurement.latency_ms
    return MeasuredBlocks(
        candidate=record.candidate,
        architecture=run.candidates[record.candidate].row.architecture,
        purpose=record.purpose,
        latency_ms=Interval(estimate, measurement.ci_low_ms, measurement.ci_high_ms),
        grade=measurement.grade,
        reasons=measurement.reasons,
        target_half_width=measurement.target_half_width,
        blocks=tuple(
            BlockPoint(
                index=block.index,
                value_ms=block.value_ms,
                deviation=block.value_ms / estimate - 1,
                rejected=(block.reason or "rejected") if block.status == "rejected" else "",
            )
            for block in record.blocks
        ),
    )
