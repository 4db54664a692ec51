"""Section on the final choice: what was predicted of it, what was measured, and what was measured again."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.campaign.config import latency_metric
from orchestrator.campaign.state import Candidate
from orchestrator.report import readable
from orchestrator.report.cells import id_cell, interval_of
from orchestrator.report.figures import Z_95, Interval
from orchestrator.report.markup import Cell, Content, Html, join, number_cell, table, tag
from orchestrator.report.run import Run


@dataclass(frozen=True)
class ChoiceRow:
    """A winner's latency on a device, at its three times.

    Attributes:
        candidate: The winner.
        device: Where.
        predicted: Before it was measured, the 95 % interval of a measurement without error; None in the first round.
        measured: While searching.
        again: Afterwards, with trained weights; None where it was not.
        bound_ms: The goal's; None where latency is not bounded there.
        trusted: The predicted probability that the bound is kept.
        blocks_over: Of the blocks of measuring again, how many exceeded the bound, and how many there are.
    """

    candidate: Candidate
    device: str
    predicted: Interval | None
    measured: Interval
    again: Interval | None
    bound_ms: float | None
    trusted: float | None
    blocks_over: tuple[int, int]

    @property
    def breaks_bound(self) -> bool | None:
        """Whether it exceeded the bound when measured again; None where there is no bound, or it was not."""
        return None if self.bound_ms is None or self.again is None else self.again.value > self.bound_ms


def choice_rows(run: Run) -> tuple[ChoiceRow, ...]:
    """Every winner that was measured again, on every device; where none was, all winners."""
    again = {candidate for candidate, _ in run.verified}
    winners = [each for each in run.state.front if each.row.id in again] or list(run.state.front)
    return tuple(_row(run, winner, device) for winner in winners for device in winner.latencies)


def _row(run: Run, winner: Candidate, device: str) -> ChoiceRow:
    metric = latency_metric(device)
    bound_ms = min((each.bound for each in run.state.goal.subject_to if each.metric == metric), default=None)
    said = winner.row.predictions.get(metric)
    predicted, trusted = None, None
    if said is not None:
        factor = math.exp(min(Z_95 * said["sd"], 50.0))
        predicted = Interval(said["mean"], said["mean"] / factor, said["mean"] * factor)
        if bound_ms is not None:
            trusted = statistics.NormalDist().cdf(math.log(bound_ms / said["mean"]) / max(said["sd"], 1e-9))
    verified = run.verified.get((winner.row.id, device))
    values_ms = [
        block.value_ms
        for record in run.latencies
        if (record.candidate, record.device, record.purpose) == (winner.row.id, device, "verify")
        for block in record.blocks
        if block.status == "ok"
    ]
    over = sum(value > bound_ms for value in values_ms) if bound_ms is not None else 0
    return ChoiceRow(
        candidate=winner,
        device=device,
        predicted=predicted,
        measured=interval_of(winner.latencies[device]),
        again=None if verified is None else interval_of(verified),
        bound_ms=bound_ms,
        trusted=trusted,
        blocks_over=(over, len(values_ms)),
    )


def choice_section(run: Run) -> Html:
    """What was said of the final choice, and whether it held."""
    rows = choice_rows(run)
    if not rows:
        return tag("p", "Nothing has been chosen yet.", class_="notice")
    sentences = [tag("p", sentence) for sentence in _findings(run, rows)]
    headings = ["#", "device", "predicted (ms)", "measured (ms)", "measured again (ms)", "again / measured"]
    bounded = any(row.bound_ms is not None for row in rows)
    headings += ["bound (ms)", "predicted to keep it", "blocks over it"] if bounded else []
    note = (
        "The prediction was made before the candidate was measured, with its 95 % interval; candidates of the first "
        "round have none. Measuring again is done at the end, twice as precisely."
    )
    body = [_cells(row, bounded) for row in rows]
    return join([*sentences, table(headings, body, sortable=True), tag("p", note, class_="soft")])


def _findings(run: Run, rows: Sequence[ChoiceRow]) -> list[str]:
    """The constraint-violation rate, and by how much winners were lucky."""
    again = [row for row in rows if row.again is not None]
    if not again:
        why = "devices that look latencies up give the same again" if run.stop_reason else "that is done at the end"
        return [f"No winner was measured again ({why})."]
    found = []
    bounded = [row for row in again if row.bound_ms is not None]
    if bounded:
        broken = sum(bool(row.breaks_bound) for row in bounded)
        over, blocks = (sum(row.blocks_over[part] for row in bounded) for part in (0, 1))
        text = (
            f"Measured again, {broken} of {len(bounded)} ({readable.percent(broken / len(bounded), 0)}) broke a bound"
        )
        text += f"; of the single blocks, {over} of {blocks}." if blocks else "."
        trusts = [row.trusted for row in bounded if row.trusted is not None]
        if trusts:
            expected = readable.percent(1 - statistics.fmean(trusts), 0)
            text += f" Before they were measured, the predictor expected {expected}."
        found.append(text)
    ratio = statistics.median(row.again.value / row.measured.value for row in again if row.again is not None)
    found.append(f"Winners measured again took {ratio:.3f} times as long as when they were found (median).")
    predicted = [row for row in again if row.predicted is not None]
    inside = sum(
        row.predicted.low <= row.again.value <= row.predicted.high
        for row in predicted
        if row.predicted is not None and row.again is not None
    )
    if predicted:
        found.append(f"{inside} of {len(predicted)} predictions of them hold that latency in their 95 % interval.")
    return found


def _cells(row: ChoiceRow, bounded: bool) -> list[Content]:
    ratio = row.again.value / row.measured.value if row.again is not None else None
    cells: list[Content] = [
        id_cell(row.candidate),
        row.device,
        _latency(row.predicted),
        _latency(row.measured),
        _latency(row.again, "bad" if row.breaks_bound else ""),
        number_cell(readable.NONE if ratio is None else f"{ratio:.3f}", ratio),
    ]
    if bounded:
        over, blocks = row.blocks_over
        cells += [
            number_cell(readable.NONE if row.bound_ms is None else readable.number(row.bound_ms), row.bound_ms),
            number_cell(readable.NONE if row.trusted is None else readable.percent(row.trusted, 0), row.trusted),
            number_cell(f"{over} of {blocks}" if blocks else readable.NONE, over / blocks if blocks else None),
        ]
    return cells


def _latency(interval: Interval | None, kind: str = "") -> Cell:
    if interval is None:
        return number_cell(readable.NONE, None)
    return number_cell(readable.compact_latency(interval), interval.value, kind)
