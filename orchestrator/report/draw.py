"""Plotly pictures of the figures. They carry no colours of text and grid: the page gives them those of its theme."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go

from orchestrator.report import readable
from orchestrator.report.figures import (
    BlockPoint,
    BlocksFigure,
    FrontFigure,
    FrontPoint,
    Interval,
    MeasuredBlocks,
    PointKind,
    PredictionFigure,
    ProgressFigure,
    ProgressPoint,
)

# Middle tones: readable on white and on near-black.
BLUE, PALE, GREY, RED, AMBER, GREEN, VIOLET = (
    "#3a78e0",
    "#8db2ee",
    "#9aa3b0",
    "#d9485f",
    "#e0901f",
    "#2c9f73",
    "#8a63d2",
)
ORIGIN_COLOURS = (GREY, BLUE, GREEN, AMBER, VIOLET, RED)
EARLY_TO_LATE = [[0.0, AMBER], [0.5, VIOLET], [1.0, BLUE]]
LOG_RATIO = 10.0  # an axis that spans more than this is logarithmic
HOVER = "%{hovertext}<extra></extra>"

_MARKERS: dict[PointKind, dict[str, Any]] = {  # drawn in this order
    "infeasible": {"color": GREY, "size": 8, "symbol": "circle-open", "opacity": 0.75},
    "feasible": {"color": PALE, "size": 9},
    "winner": {"color": BLUE, "size": 12, "line": {"color": "white", "width": 1}},
}


def draw_front(figure: FrontFigure) -> go.Figure:
    """Accuracy against latency: winners, dominated, infeasible (grey) and failed points, the frontier, the budget."""
    picture = blank(f"latency on {figure.device} (ms)", _titled("accuracy", figure.accuracy_unit), height=520)
    plotted = [p for p in figure.points if p.latency_ms is not None and p.accuracy is not None and p.kind != "failed"]
    if figure.frontier:
        picture.add_scatter(
            x=[latency for latency, _ in figure.frontier],
            y=[accuracy for _, accuracy in figure.frontier],
            mode="lines",
            line={"color": BLUE, "width": 1.5, "shape": "hv"},
            name="frontier",
            hoverinfo="skip",
        )
    feasible, winner = ("dominated", "on the front") if figure.is_pareto else ("feasible", "best")
    legend: dict[PointKind, str] = {"infeasible": "infeasible", "feasible": feasible, "winner": winner}
    for kind, marker in _MARKERS.items():
        points = [point for point in plotted if point.kind == kind]
        if points:
            _add_points(picture, points, legend[kind], marker, figure.accuracy_unit, with_errors=kind == "winner")
    _add_verified(picture, plotted, figure.accuracy_unit)
    _add_failed(picture, figure, plotted)
    if figure.budget_ms is not None:
        picture.add_vline(
            x=figure.budget_ms,
            line={"color": AMBER, "width": 1.5, "dash": "dash"},
            annotation={"text": f"budget {figure.budget_ms:g} ms", "font": {"color": AMBER}},
            annotation_position="top left",
        )
    latencies = [point.latency_ms.value for point in plotted if point.latency_ms is not None]
    if latencies and max(latencies) > LOG_RATIO * min(latencies):
        picture.update_xaxes(type="log", dtick="D2")
    return picture


def _add_points(
    picture: go.Figure, points: Sequence[FrontPoint], name: str, marker: dict[str, Any], unit: str, *, with_errors: bool
) -> None:
    errors: dict[str, Any] = {}
    if with_errors:
        errors = {
            "error_x": _error_bar([p.latency_ms for p in points]),
            "error_y": {"array": [p.accuracy_standard_error or 0 for p in points], "color": BLUE, "thickness": 1},
        }
    picture.add_scatter(
        x=[point.latency_ms.value if point.latency_ms else None for point in points],
        y=[point.accuracy for point in points],
        mode="markers",
        marker=marker,
        name=name,
        hovertext=[_front_hover(point, unit) for point in points],
        hovertemplate=HOVER,
        **errors,
    )


def _error_bar(intervals: Iterable[Interval | None], colour: str = BLUE) -> dict[str, Any]:
    spans = [(i.high - i.value, i.value - i.low) if i else (0.0, 0.0) for i in intervals]
    return {
        "array": [up for up, _ in spans],
        "arrayminus": [down for _, down in spans],
        "color": colour,
        "thickness": 1,
    }


def _add_verified(picture: go.Figure, points: Sequence[FrontPoint], unit: str) -> None:
    verified = [point for point in points if point.verified_ms is not None]
    if not verified:
        return
    picture.add_scatter(
        x=[point.verified_ms.value if point.verified_ms else None for point in verified],
        y=[point.accuracy for point in verified],
        mode="markers",
        marker={"color": AMBER, "size": 9, "symbol": "diamond-open", "line": {"width": 2}},
        error_x=_error_bar((point.verified_ms for point in verified), AMBER),
        name="verified again",
        hovertext=[_front_hover(point, unit) for point in verified],
        hovertemplate=HOVER,
    )


def _add_failed(picture: go.Figure, figure: FrontFigure, plotted: Sequence[FrontPoint]) -> None:
    """Candidates that lack one of the two values: at the edge of the axis whose value is missing."""
    failed = [point for point in figure.points if point.kind == "failed"]
    if not failed:
        return
    known = [*plotted, *failed]
    right = 1.08 * max((p.latency_ms.value for p in known if p.latency_ms), default=1.0)
    accuracies = [p.accuracy for p in known if p.accuracy is not None] or [0.0]
    below = min(accuracies) - 0.06 * (max(accuracies) - min(accuracies) or 1.0)
    picture.add_scatter(
        x=[p.latency_ms.value if p.latency_ms else right for p in failed],
        y=[below if p.accuracy is None else p.accuracy for p in failed],
        mode="markers",
        marker={"color": RED, "size": 9, "symbol": "x-thin", "line": {"color": RED, "width": 2}},
        name="failed (at the edge of what is missing)",
        hovertext=[_front_hover(point, figure.accuracy_unit) for point in failed],
        hovertemplate=HOVER,
    )


def _front_hover(point: FrontPoint, unit: str) -> str:
    """What the pointer shows: Plotly reads a little HTML here, so texts are escaped."""
    lines = [
        f"<b>#{point.candidate}</b> {_architecture(point.architecture)}",
        f"accuracy {readable.accuracy(point.accuracy, point.accuracy_standard_error, unit)}",
        f"latency {readable.latency(point.latency_ms)}, grade {point.grade or readable.NONE}",
        f"{html.escape(point.origin)}, round {point.round}",
    ]
    if point.verified_ms is not None:
        lines.insert(3, f"verified {readable.latency(point.verified_ms)}")
    if point.note:
        lines.append(f"<b>{html.escape(point.note)}</b>")
    return "<br>".join(lines)


def draw_progress(figure: ProgressFigure) -> go.Figure:
    """The curve as steps, each evaluation as a mark in the colour of what proposed it."""
    picture = blank("measured candidates", figure.label, height=380)
    known = [point for point in figure.points if point.value is not None]
    picture.add_scatter(
        x=[point.evaluation for point in known],
        y=[point.value for point in known],
        mode="lines",
        line={"color": BLUE, "width": 2, "shape": "hv"},
        showlegend=False,
        hoverinfo="skip",
    )
    origins = list(dict.fromkeys(point.origin for point in figure.points))
    for index, origin in enumerate(origins):
        points = [point for point in known if point.origin == origin]
        if points:
            picture.add_scatter(
                x=[point.evaluation for point in points],
                y=[point.value for point in points],
                mode="markers",
                marker={"color": ORIGIN_COLOURS[index % len(ORIGIN_COLOURS)], "size": 8},
                name=html.escape(origin),
                showlegend=True,
                hovertext=[_progress_hover(point) for point in points],
                hovertemplate=HOVER,
            )
    picture.update_xaxes(range=[0.5, len(figure.points) + 0.5], tickformat="d")
    return picture


def _progress_hover(point: ProgressPoint) -> str:
    return (
        f"<b>{readable.number(point.value)}</b> after {point.evaluation}<br>"
        f"#{point.candidate} {_architecture(point.architecture)}<br>{html.escape(point.origin)}, round {point.round}"
    )


def draw_predictions(figure: PredictionFigure) -> go.Figure:
    """Measured against predicted values with 95 % intervals; points on the diagonal were predicted exactly."""
    unit = f" ({figure.unit})" if figure.unit else ""
    picture = blank(f"predicted{unit}", f"measured{unit}", height=420)
    points = figure.points
    values = [value for point in points for value in (point.predicted.value, point.measured)]
    low, high = min(values), max(values)
    is_log = low > 0 and high > LOG_RATIO * low
    margin = 0.0 if is_log else 0.04 * ((high - low) or abs(high) or 1.0)
    diagonal = [low - margin, high + margin]
    picture.add_scatter(
        x=diagonal,
        y=diagonal,
        mode="lines",
        line={"color": GREY, "width": 1, "dash": "dash"},
        hoverinfo="skip",
        showlegend=False,
    )
    rounds = [point.round for point in points]
    several = len(set(rounds)) > 1
    picture.add_scatter(
        x=[point.predicted.value for point in points],
        y=[point.measured for point in points],
        error_x=_error_bar((point.predicted for point in points), "rgba(140,150,165,0.45)") | {"width": 0},
        mode="markers",
        marker={
            "size": 9,
            "color": rounds if several else BLUE,
            "colorscale": EARLY_TO_LATE if several else None,
            "showscale": several,
            "colorbar": _round_bar(rounds) if several else None,
        },
        showlegend=False,
        hovertext=[
            f"<b>#{p.candidate}</b> {_architecture(p.architecture)}<br>predicted {readable.number(p.predicted.value)} "
            f"{readable.ends(p.predicted)}<br>measured {readable.number(p.measured)}{unit}, round {p.round}"
            for p in points
        ],
        hovertemplate=HOVER,
    )
    if is_log:
        picture.update_xaxes(type="log", dtick="D2")
        picture.update_yaxes(type="log", dtick="D2")
    return picture


def _round_bar(rounds: Sequence[int]) -> dict[str, Any]:
    step = max(1, -(-(max(rounds) - min(rounds)) // 8))  # at most nine whole numbers
    return {"title": {"text": "round"}, "thickness": 10, "dtick": step, "tick0": min(rounds), "outlinewidth": 0}


def draw_blocks(figure: BlocksFigure) -> go.Figure:
    """Each block's deviation from its measurement's estimate, in percent, over the 95 % interval."""
    picture = blank("measurement, in the order of finishing", "deviation from the estimate (%)", height=420)
    measurements = figure.measurements
    limit = _deviation_limit(measurements)
    positions = list(range(1, len(measurements) + 1))
    picture.add_scatter(
        x=positions,
        y=[0.0] * len(positions),
        mode="markers",
        marker={"size": 9, "symbol": "line-ew", "line": {"color": GREY, "width": 2}},
        error_y={
            "array": [100 * (m.latency_ms.high / m.latency_ms.value - 1) for m in measurements],
            "arrayminus": [100 * (1 - m.latency_ms.low / m.latency_ms.value) for m in measurements],
            "color": "rgba(140,150,165,0.55)",
            "thickness": 5,
            "width": 0,
        },
        name="estimate and 95 % interval",
        hoverinfo="skip",
    )
    groups: dict[str, tuple[dict[str, Any], list[tuple[int, MeasuredBlocks, BlockPoint]]]] = {
        "block": ({"color": BLUE, "size": 6}, []),
        "block of a verification": ({"color": AMBER, "size": 6, "symbol": "diamond"}, []),
        "rejected block": ({"color": RED, "size": 8, "symbol": "x-thin", "line": {"color": RED, "width": 2}}, []),
    }
    for position, measured in zip(positions, measurements, strict=True):
        used = "block" if measured.purpose == "search" else "block of a verification"
        for block in measured.blocks:
            groups["rejected block" if block.rejected else used][1].append((position, measured, block))
    for name, (marker, members) in groups.items():
        if members:
            picture.add_scatter(
                x=[position for position, _, _ in members],
                # Blocks far outside would squeeze all others: they stand at the edge, their hover tells the truth.
                y=[max(-limit, min(limit, 100 * block.deviation)) for _, _, block in members],
                mode="markers",
                marker=marker,
                name=name,
                hovertext=[_block_hover(measured, block) for _, measured, block in members],
                hovertemplate=HOVER,
            )
    picture.update_yaxes(range=[-1.08 * limit, 1.08 * limit])
    picture.update_xaxes(range=[0.3, len(positions) + 0.7], tickformat="d")
    return picture


def _deviation_limit(measurements: Sequence[MeasuredBlocks]) -> float:
    """Percent at which the axis ends: wide enough for every used block, not for wild rejected ones."""
    used = [abs(block.deviation) for m in measurements for block in m.blocks if not block.rejected]
    target = max((m.target_half_width for m in measurements), default=0.02)
    return 100 * max(1.1 * max(used, default=0.0), 2 * target)


def _block_hover(measured: MeasuredBlocks, block: BlockPoint) -> str:
    lines = [
        f"<b>#{measured.candidate}</b> {_architecture(measured.architecture)}",
        f"block {block.index}: {readable.number(block.value_ms)} ms ({100 * block.deviation:+.2f} %)",
        f"estimate {readable.latency(measured.latency_ms)}, grade {measured.grade}",
    ]
    if block.rejected:
        lines.append(f"<b>rejected: {html.escape(block.rejected)}</b>")
    return "<br>".join(lines)


def _architecture(text: str) -> str:
    """Escaped and broken at `+`, so that the hover box stays narrow."""
    return html.escape(text).replace("|+|", "|+<br>|")


def _titled(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def blank(x_title: str, y_title: str, *, height: int) -> go.Figure:
    """An empty picture in the page's style."""
    axis = {"zeroline": False, "ticks": "outside", "ticklen": 4, "automargin": True}
    return go.Figure(
        layout={
            "template": "none",
            "height": height,
            "margin": {"l": 60, "r": 20, "t": 40, "b": 50},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": {**axis, "title": {"text": html.escape(x_title)}},
            "yaxis": {**axis, "title": {"text": html.escape(y_title)}},
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            "hovermode": "closest",
            "hoverlabel": {"align": "left"},
        }
    )
