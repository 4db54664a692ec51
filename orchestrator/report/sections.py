"""Sections of the report, each from a run to HTML."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import yaml

from orchestrator.campaign.config import latency_metric
from orchestrator.campaign.state import Candidate
from orchestrator.report import readable
from orchestrator.report.cells import (
    accuracy_cell,
    accuracy_text,
    id_cell,
    interval_of,
    latency_cells,
    latency_headings,
    size_cells,
)
from orchestrator.report.choice import choice_section
from orchestrator.report.draw import draw_front, draw_predictions, draw_progress
from orchestrator.report.drift_section import campaign_drift_section
from orchestrator.report.figures import (
    Interval,
    PredictionFigure,
    PredictionQuality,
    front_figure,
    prediction_figures,
    progress_figure,
)
from orchestrator.report.markup import Cell, Content, Html, code, figure, join, number_cell, table, tag
from orchestrator.report.quality import measurement_section
from orchestrator.report.run import Run
from orchestrator.report.tables import environment_rows, failure_rows, round_rows

_NOTHING = Html("")
_SHORT = 8  # rows that a table may have without being folded away


def result_section(run: Run) -> Html:
    """What was found, and what it cost."""
    state = run.state
    cards = [*_winner_cards(run), _budget_card(run)]
    if state.goal.minimize and state.reference is not None and state.measured:
        reference = ", ".join(_reference(run))
        cards.append(
            _card(
                "Hypervolume",
                readable.number(float(state.progress[-1])),
                f"{len(state.front)} of {len(state.measured)} measured candidates on the front",
                f"above the reference point {reference}",
            )
        )
    parts = [tag("div", join(cards), class_="cards")]
    if notice := _notice(run):
        parts.append(tag("p", notice, class_="notice"))
    if state.front:
        parts.append(_winners(run))
    return join(parts)


def _notice(run: Run) -> str:
    """Why there is no result, where there is none."""
    state = run.state
    counts = state.counts
    if not state.candidates:
        return "Nothing has been proposed yet."
    if counts["failed"] == len(state.candidates):
        return f"All {counts['failed']} candidates failed."
    if not state.measured:
        return f"No candidate is complete yet: {counts['running']} still running, {counts['failed']} failed."
    if not state.front:
        bounds = {constraint.metric: constraint.bound for constraint in state.goal.subject_to}
        excess = {
            c.row.id: max(c.metrics[name].value / bound for name, bound in bounds.items()) for c in state.measured
        }
        nearest = min(excess, key=lambda candidate: excess[candidate])
        return (
            f"None of the {len(state.measured)} measured candidates meets the constraints. The nearest, #{nearest}, "
            f"is at {readable.number(excess[nearest], 3)} times its bound."
        )
    return ""


def _winner_cards(run: Run) -> list[Html]:
    state = run.state
    if not state.front:
        return []
    best = state.front[0]
    if not state.goal.minimize:
        return [_accuracy_card("Best within the constraints", run, best)]
    cards = [_accuracy_card("Most accurate", run, best)]
    for device in run.devices:
        metric = latency_metric(device)
        if metric in state.goal.minimize:
            fastest = min(state.front, key=lambda candidate: candidate.metrics[metric].value)
            cards.append(_fastest_card(f"Fastest on {device}", run, fastest, device))
    return cards


def _accuracy_card(title: str, run: Run, candidate: Candidate) -> Html:
    lines = []
    for device in candidate.latencies:
        interval, remark = _best_known(run, candidate, device)
        lines.append(f"{device}: {readable.latency(interval)}{remark}")
    return _card(title, accuracy_text(run, candidate), _origin(candidate), *lines)


def _fastest_card(title: str, run: Run, candidate: Candidate, device: str) -> Html:
    interval, remark = _best_known(run, candidate, device)
    lines = (f"95 % interval {readable.ends(interval)}{remark}", f"accuracy {accuracy_text(run, candidate)}")
    return _card(title, f"{readable.number(interval.value)} ms", _origin(candidate), *lines)


def _origin(candidate: Candidate) -> str:
    return f"candidate #{candidate.row.id}, round {candidate.row.round}"


def _best_known(run: Run, candidate: Candidate, device: str) -> tuple[Interval, str]:
    """The latency that verified the candidate, where there is one, else that of the search; and a remark."""
    verified = run.verified.get((candidate.row.id, device))
    return interval_of(verified or candidate.latencies[device]), " (verified)" if verified else ""


def _budget_card(run: Run) -> Html:
    state = run.state
    counts, budget = state.counts, run.state.config.budget.candidates
    kinds = (("measured", ""), ("failed", "bad"), ("running", "run"))
    bars = join(tag("i", "", class_=kind, style=f"width:{100 * counts[name] / budget:.2f}%") for name, kind in kinds)
    spent = f"working time {readable.duration(run.worked_s)}" if run.worked_s is not None else ""
    measured = join([f"{len(state.candidates)} of {budget}"])
    shown = ", ".join(f"{counts[name]} {name}" for name, _ in kinds if counts[name] or name == "measured")
    return _card("Candidates proposed", measured, tag("div", bars, class_="meter"), shown, spent)


def _card(title: str, value: str | Html, *lines: str | Html) -> Html:
    shown = [line if isinstance(line, Html) else tag("small", line) for line in lines if line]
    return tag("div", join([tag("span", title, class_="title"), tag("b", value), *shown]), class_="card")


def _reference(run: Run) -> list[str]:
    """The reference point in the metrics' own units (the goal compares latencies by their logarithm)."""
    accuracy, *costs = run.state.reference or ()
    worst = [accuracy, *(math.exp(-cost) for cost in costs)]
    return [f"{name} {readable.number(value)}" for name, value in zip(run.state.goal.objectives, worst, strict=True)]


def _winners(run: Run) -> Html:
    headings = ["#", "architecture", "accuracy", *latency_headings(run), "parameters", "multiply-adds", "origin"]
    rows: list[list[Content]] = [
        [
            id_cell(candidate),
            code(candidate.row.architecture),
            accuracy_cell(run, candidate),
            *latency_cells(run, candidate),
            *size_cells(candidate),
            candidate.row.origin,
        ]
        for candidate in run.state.front
    ]
    title = "Pareto front" if run.state.goal.minimize else "Best architecture"
    note = "Latencies in milliseconds with the half-width of their 95 % interval and their grade, A to F."
    return join(
        [tag("h3", f"{title} ({len(rows)})"), table(headings, rows, sortable=True), tag("p", note, class_="soft")]
    )


def front_section(run: Run) -> Html:
    """One front for each device."""
    parts = []
    caption = (
        "Each mark is a candidate; up and left is better. The line joins the feasible candidates that no other beats "
        "in both accuracy and this latency. Bars are the standard error of the accuracy and the 95 % interval of the "
        "latency."
    )
    for number, device in enumerate(run.devices):
        data = front_figure(run, device)
        if not data.points:
            parts.append(tag("p", f"Nothing to show for {device}: no candidate has a value yet.", class_="notice"))
            continue
        if len(run.devices) > 1:
            parts.append(tag("h3", device))
        name = f"accuracy against latency on {device}"
        parts.append(figure(f"front-{number}", draw_front(data), caption, name))
        caption = ""
    if len(run.state.goal.minimize) > 1:
        note = "A winner may lie off the line of a device: it is on the front of all the goal's metrics together."
        parts.append(tag("p", note, class_="soft"))
    return join(parts)


def progress_section(run: Run) -> Html:
    """The curve, and the rounds behind it."""
    data = progress_figure(run)
    if data.missing:
        picture = tag("p", data.missing, class_="notice")
    else:
        caption = "Candidates in the order in which they became complete; colours say what proposed them."
        if run.state.goal.minimize:
            caption += (
                " The hypervolume is the area (volume) that the front dominates above the reference point, "
                "in units of accuracy times logarithm of latency."
            )
        picture = figure("progress", draw_progress(data), caption, f"{data.label} by evaluation")
    rows = round_rows(run)
    if not rows:
        return picture
    facts = list(dict.fromkeys(key for row in rows for key in row.generator))
    body: list[list[Content]] = [
        [
            number_cell(str(row.round), row.round),
            readable.moment(row.at),
            ", ".join(f"{number} {origin}" for origin, number in row.origins.items()),
            number_cell(str(row.measured), row.measured),
            number_cell(str(row.failed), row.failed, "bad" if row.failed else ""),
            number_cell(str(row.running), row.running),
            number_cell(readable.duration(row.seconds), row.seconds),
            *(_fact(row.generator.get(fact)) for fact in facts),
        ]
        for row in rows
    ]
    headings = ["round", "proposed at", "proposed by", "measured", "failed", "running", "time to propose"]
    said = (f"generator: {fact.replace('_', ' ')}" for fact in facts)
    shown = table([*headings, *said], body, sortable=True)
    return join([picture, tag("details", join([tag("summary", f"Rounds ({len(rows)})"), shown]))])


def _fact(value: object) -> Content:
    if value is None:
        return number_cell(readable.NONE, None)
    if isinstance(value, int | float):
        return number_cell(f"{value:,}" if isinstance(value, int) else readable.number(value), value)
    return str(value)


def prediction_section(run: Run) -> Html:
    """Predicted against measured, with rank correlation and coverage."""
    data = prediction_figures(run)
    known = [f"Predictors began with {each}." for each in run.earlier]
    config = run.state.config
    if (prior := config.accuracy_prior) is not None:
        known.append(f"Accuracies were expected from the first round on: {prior.checkpoint} saw {config.seen_images}.")
    began = [tag("p", each, class_="soft") for each in known]
    if not data:
        text = "No prediction can be compared yet: the first round is proposed before any predictor is fitted."
        return join([*began, tag("p", text, class_="notice")])
    pairs = []
    for number, each in enumerate(data):
        picture = figure(f"predictions-{number}", draw_predictions(each), "", f"predicted and measured {each.metric}")
        pairs.append(tag("div", join([tag("h3", each.metric), picture, _quality_table(each)])))
    note = (
        "Predictions were made before the candidate was measured. Bars are the predicted 95 % interval of the measured "
        "value, its own noise included; on the dashed line the prediction is exact. Rank correlation is Spearman's."
    )
    return join([*began, tag("div", join(pairs), class_="pair"), tag("p", note, class_="soft")])


def _quality_table(data: PredictionFigure) -> Html:
    def share(count: int, quality: PredictionQuality) -> Cell:
        value = count / quality.count
        return number_cell(f"{count} of {quality.count} ({readable.percent(value, 0)})", value)

    rows = [
        [
            number_cell("all" if q.round is None else str(q.round), None if q.round is None else q.round),
            number_cell(str(q.count), q.count),
            number_cell(readable.NONE if q.spearman is None else f"{q.spearman:+.2f}", q.spearman),
            share(q.within_90, q),
            share(q.within_95, q),
        ]
        for q in data.quality
    ]
    headings = ["round", "compared", "rank correlation", "inside 90 %", "inside 95 %"]
    if len(rows) <= _SHORT:
        return table(headings, rows)
    each = tag("details", join([tag("summary", f"Each of the {len(rows) - 1} rounds"), table(headings, rows[:-1])]))
    return join([table(headings, rows[-1:]), each])


def candidate_section(run: Run) -> Html:
    """Every candidate."""
    if not run.state.candidates:
        return tag("p", "Nothing has been proposed yet.", class_="notice")
    winners = {candidate.row.id for candidate in run.state.front}
    sizes = ["parameters", "multiply-adds"]
    headings = ["#", "architecture", "result", "accuracy", *latency_headings(run), *sizes, "round", "origin"]
    rows: list[list[Content]] = [
        [
            id_cell(candidate),
            code(candidate.row.architecture),
            _standing(run, candidate, winners),
            accuracy_cell(run, candidate),
            *latency_cells(run, candidate),
            *size_cells(candidate),
            number_cell(str(candidate.row.round), candidate.row.round),
            candidate.row.origin,
        ]
        for candidate in run.state.candidates
    ]
    return table(headings, rows, sortable=True)


def _standing(run: Run, candidate: Candidate, winners: set[int]) -> Cell:
    pareto = bool(run.state.goal.minimize)
    if candidate.status != "measured":
        order, word, kind = (4, "failed", "bad") if candidate.status == "failed" else (3, "running", "warn")
    elif candidate.row.id in winners:
        order, word, kind = 0, "on the front" if pareto else "best", "good"
    elif run.state.is_feasible(candidate):
        order, word, kind = 1, "dominated" if pareto else "feasible", ""
    else:
        order, word, kind = 2, "infeasible", ""
    return Cell(word, order, f"short {kind}".strip())


def failure_section(run: Run) -> Html:
    """Failures with their reasons; nothing where there are none."""
    rows = failure_rows(run)
    if not rows:
        return tag("p", "Nothing failed.", class_="soft")
    body: list[list[Content]] = [
        [
            number_cell(f"#{row.candidate}", row.candidate),
            f"{row.metric}{' (verifying)' if row.while_verifying else ''}",
            Cell(row.failure.code, row.failure.code, "bad"),
            row.failure.kind,
            join([row.failure.detail, _stderr(row.failure.stderr_tail)]),
            code(row.architecture),
        ]
        for row in rows
    ]
    return table(["#", "what", "code", "whose fault", "why", "architecture"], body, sortable=True)


def _stderr(text: str) -> Html:
    if not text.strip():
        return _NOTHING
    return tag("details", join([tag("summary", "standard error"), tag("pre", text.strip())]))


def environment_section(run: Run) -> Html:
    """What ran where, and the configuration."""
    rows = [(tag("b", name), code(value)) for name, value in environment_rows(run)]
    parts = [table(["", "campaign started with"], rows)] if rows else []
    config = yaml.safe_dump(run.state.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)
    return join([*parts, tag("h3", "Configuration"), tag("pre", config.strip())])


SECTIONS: Sequence[tuple[str, str, Callable[[Run], Html]]] = (
    ("result", "Result", result_section),
    ("front", "Accuracy against latency", front_section),
    ("progress", "Progress", progress_section),
    ("predictions", "Predicted against measured", prediction_section),
    ("choice", "Final choice", choice_section),
    ("measurements", "Measurement quality", measurement_section),
    ("drift", "Drift and quality", campaign_drift_section),
    ("candidates", "Candidates", candidate_section),
    ("failures", "Failures", failure_section),
    ("environment", "Environment and configuration", environment_section),
)
