"""Plotly pictures of drift, conditions, rejected blocks, spread and latencies; in the manner of `draw`."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import plotly.graph_objects as go

from orchestrator.report import readable
from orchestrator.report.conditions import ConditionFigure, ConditionPoint, ConditionSeries
from orchestrator.report.draw import AMBER, BLUE, GREEN, GREY, HOVER, LOG_RATIO, ORIGIN_COLOURS, RED, VIOLET, blank
from orchestrator.report.drift import DriftEvent, DriftFigure, ReferencePoint
from orchestrator.report.measured import DeviceSummary, LatencySpan

_BAND = "rgba(140,150,165,0.22)"
_SUSPECT = "rgba(217,72,95,0.13)"
_SERIES_COLOURS = (BLUE, AMBER, GREEN, VIOLET, RED, GREY)
_GRADES = {"A": GREEN, "B": BLUE, "C": AMBER, "F": RED}
_ROW = 30  # height of a bar with its name
_LONGEST = 34  # letters of a name beside a bar


def draw_drift(figure: DriftFigure, span: tuple[float, float]) -> go.Figure:
    """References over time: limits as a band, alarms in red, suspect times shaded, changes of the system as lines.

    Args:
        figure: One phone's.
        span: First and last moment of all phones, so that their pictures can be compared.
    """
    shown = _timeline("reference model (ms)", span, height=310)
    for first, last in _stretches(figure):
        _add_limits(shown, figure.points[first:last], named=not first)
    groups: dict[str, tuple[dict[str, Any], list[ReferencePoint]]] = {
        "reference": ({"color": BLUE, "size": 5}, []),
        "first of a system": ({"color": BLUE, "size": 8, "symbol": "circle-open"}, []),
        "shifted": ({"color": RED, "size": 9, "symbol": "x"}, []),
        "new level": ({"color": AMBER, "size": 9, "symbol": "diamond"}, []),
    }
    names = {"good": "reference", "starting": "first of a system", "shifted": "shifted", "recalibrated": "new level"}
    for point in figure.points:
        groups[names[point.verdict]][1].append(point)
    for name, (marker, points) in groups.items():
        if points:
            shown.add_scatter(
                x=[_moment(point.at) for point in points],
                y=[point.latency_ms for point in points],
                mode="markers",
                marker=marker,
                name=name,
                hovertext=[_reference_hover(point) for point in points],
                hovertemplate=HOVER,
            )
    for event in figure.events:
        shown.add_vrect(
            x0=_moment(event.since), x1=_moment(event.ended), fillcolor=_SUSPECT, line_width=0, layer="below"
        )
    for at in figure.changes:
        shown.add_vline(x=_moment(at), line={"color": VIOLET, "width": 1.5, "dash": "dot"})
    if figure.changes:  # a name in the legend: annotations of close lines would cover each other
        _add_name(shown, "system changed", {"color": VIOLET, "dash": "dot"})
    shown.update_yaxes(range=_reach(figure))
    return shown


def _reach(figure: DriftFigure) -> list[float]:
    """An axis that holds all points, and the last limits: the wide ones of the beginning would squeeze the rest."""
    values = [point.latency_ms for point in figure.points]
    for _, last in _stretches(figure):
        values += [limit for limit in (figure.points[last - 1].low_ms, figure.points[last - 1].high_ms) if limit]
    margin = 0.12 * (max(values) - min(values)) or 0.05 * max(values)
    return [min(values) - margin, max(values) + margin]


def _stretches(figure: DriftFigure) -> list[tuple[int, int]]:
    """Points between changes of the system, as half-open ranges: limits on both sides have nothing in common."""
    starts = [0, *(index for index, p in enumerate(figure.points) if index and p.at in set(figure.changes))]
    return list(zip(starts, [*starts[1:], len(figure.points)], strict=True))


def _add_limits(shown: go.Figure, points: Sequence[ReferencePoint], *, named: bool) -> None:
    judged = [point for point in points if point.low_ms is not None]
    if not judged:
        return
    x = [_moment(point.at) for point in judged]
    line = {"width": 0, "shape": "vh"}  # what was learned from one value is expected of the next
    hidden: dict[str, Any] = {"x": x, "mode": "lines", "hoverinfo": "skip"}
    shown.add_scatter(**hidden, y=[point.low_ms for point in judged], line=line, showlegend=False)
    high = [point.high_ms for point in judged]
    shown.add_scatter(
        **hidden, y=high, line=line, fill="tonexty", fillcolor=_BAND, name="expected, and limits", showlegend=named
    )
    expected = [point.expected_ms for point in judged]
    shown.add_scatter(**hidden, y=expected, line={"color": GREY, "width": 1, "shape": "vh"}, showlegend=False)


def _reference_hover(point: ReferencePoint) -> str:
    lines = [f"<b>{readable.number(point.latency_ms)} ms</b> ({_signed_percent(point.log_ratio)})"]
    if point.low_ms is not None and point.high_ms is not None:
        lines.append(f"limits {readable.number(point.low_ms)} to {readable.number(point.high_ms)} ms")
    if point.is_alarm:
        lines.append("<b>sudden shift</b>" if point.is_outside else "<b>small shift that lasts</b>")
    return "<br>".join([*lines, readable.moment(point.at)])


def draw_temperatures(figure: ConditionFigure, span: tuple[float, float]) -> go.Figure:
    """Temperatures over time with their extremes, and when Android said that the phone was hot."""
    shown = _timeline("temperature (°C)", span, height=280)
    temperatures = figure.of("temperature")
    for series, colour in zip(temperatures, _SERIES_COLOURS, strict=False):
        _add_series(shown, series, colour, "°C")
    top = max((point.high for series in temperatures for point in series.points), default=0.0)
    hot = [point for series in figure.of("thermal status") for point in series.points if point.high > 0]
    if hot:
        shown.add_scatter(
            x=[_moment(point.at) for point in hot],
            y=[top + 1] * len(hot),
            mode="markers",
            marker={"color": RED, "size": 7, "symbol": "triangle-down"},
            name="hot, says Android",
            hovertext=[f"thermal status {point.high:.0f}<br>{readable.moment(point.at)}" for point in hot],
            hovertemplate=HOVER,
        )
    return shown


def draw_clocks(figure: ConditionFigure, span: tuple[float, float]) -> go.Figure:
    """Clocks over time with their extremes, and the limits that the system set to them."""
    shown = _timeline("clock (GHz)", span, height=280)
    limits = {series.name: series for series in figure.of("limit")}
    for series, colour in zip(figure.of("clock"), _SERIES_COLOURS, strict=False):
        _add_series(shown, series, colour, "GHz")
        limit = limits.get(series.name)
        if limit is not None:
            shown.add_scatter(
                x=[_moment(point.at) for point in limit.points],
                y=[point.low for point in limit.points],
                mode="lines",
                line={"color": colour, "width": 1, "dash": "dot"},
                showlegend=False,
                hovertext=[f"limit {point.low:.2f} GHz<br>{html.escape(limit.name)}" for point in limit.points],
                hovertemplate=HOVER,
            )
    if limits:
        _add_name(shown, "the system's limit", {"color": GREY, "dash": "dot", "width": 1})
    shown.update_yaxes(rangemode="tozero")
    return shown


def _add_series(shown: go.Figure, series: ConditionSeries, colour: str, unit: str) -> None:
    x = [_moment(point.at) for point in series.points]
    band: dict[str, Any] = {"x": x, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    shown.add_scatter(**band, y=[point.low for point in series.points])
    shown.add_scatter(**band, y=[point.high for point in series.points], fill="tonexty", fillcolor=_pale(colour))
    shown.add_scatter(
        x=x,
        y=[point.mean for point in series.points],
        mode="lines+markers" if len(x) < 60 else "lines",
        line={"color": colour, "width": 1.6},
        marker={"size": 4},
        name=html.escape(series.name),
        hovertext=[_condition_hover(series.name, point, unit) for point in series.points],
        hovertemplate=HOVER,
    )


def _condition_hover(name: str, point: ConditionPoint, unit: str) -> str:
    spread = f" ({point.low:.2f} to {point.high:.2f})" if point.high > point.low else ""
    return f"<b>{point.mean:.2f} {unit}</b>{spread}<br>{html.escape(name)}<br>{readable.moment(point.at)}"


def draw_rejected(devices: Sequence[DeviceSummary]) -> go.Figure:
    """Share of each device's blocks that were not used, by reason."""
    totals: dict[str, int] = {}
    for device in devices:
        for reason, count in device.rejected.items():
            totals[reason] = totals.get(reason, 0) + count
    reasons = sorted(totals, key=lambda reason: -totals[reason])
    shares = {reason: {d.device: (d.rejected.get(reason, 0), d.blocks) for d in devices} for reason in reasons}
    colours = {reason: ORIGIN_COLOURS[(index + 3) % len(ORIGIN_COLOURS)] for index, reason in enumerate(reasons)}
    return _stacked(devices, "rejected blocks (% of all blocks)", shares, colours, "blocks")


def draw_grades(devices: Sequence[DeviceSummary]) -> go.Figure:
    """Share of each device's measurements that has a grade."""
    present = [grade for grade in _GRADES if any(grade in device.grades for device in devices)]
    shares = {grade: {d.device: (d.grades.get(grade, 0), sum(d.grades.values())) for d in devices} for grade in present}
    return _stacked(devices, "measurements (%)", shares, _GRADES, "measurements")


def _stacked(
    devices: Sequence[DeviceSummary],
    x_title: str,
    shares: Mapping[str, Mapping[str, tuple[int, int]]],
    colours: Mapping[str, str],
    what: str,
) -> go.Figure:
    shown = blank(x_title, "", height=110 + _ROW * len(devices))
    names = [device.device for device in devices]
    for part, of in shares.items():
        counts = [of[name] for name in names]
        shown.add_bar(
            y=[_short(name) for name in names],
            x=[100 * count / total if total else 0.0 for count, total in counts],
            orientation="h",
            name=html.escape(part),
            marker={"color": colours[part]},
            hovertext=[
                f"<b>{html.escape(part)}</b> on {html.escape(name)}<br>{count:,} of {total:,} {what}"
                for name, (count, total) in zip(names, counts, strict=True)
            ],
            hovertemplate=HOVER,
            showlegend=True,
        )
    shown.update_layout(barmode="stack", bargap=0.35, legend={"traceorder": "normal"})
    shown.update_yaxes(autorange="reversed", ticks="")
    shown.update_xaxes(rangemode="tozero")
    return shown


def draw_spread(devices: Sequence[DeviceSummary]) -> go.Figure:
    """How far each phone is from the mean of its model's phones, on what several of them measured."""
    rows = [
        (device, device.phones.get(serial, serial), offset)
        for device in devices
        if device.spread is not None
        for serial, offset in device.spread.offsets_log.items()
    ]
    shown = blank("distance to the mean of the phones of the model (%)", "", height=90 + _ROW * len(rows))
    shown.add_vline(x=0, line={"color": GREY, "width": 1})
    for index, device in enumerate(dict.fromkeys(device.device for device, _, _ in rows)):
        mine = [(phone, offset) for each, phone, offset in rows if each.device == device]
        shown.add_scatter(
            x=[100 * offset for _, offset in mine],
            y=[_short(phone) for phone, _ in mine],
            mode="markers",
            marker={"color": _SERIES_COLOURS[index % len(_SERIES_COLOURS)], "size": 11},
            name=html.escape(device),
            hovertext=[f"<b>{html.escape(phone)}</b><br>{_signed_percent(offset)}" for phone, offset in mine],
            hovertemplate=HOVER,
            showlegend=False,
        )
    reach = max((abs(100 * offset) for _, _, offset in rows), default=1.0) or 1.0
    shown.update_xaxes(range=[-1.15 * reach, 1.15 * reach])
    shown.update_yaxes(autorange="reversed", ticks="", showgrid=True)
    return shown


def draw_latencies(spans: Sequence[LatencySpan]) -> go.Figure:
    """Quartiles as a box, 5 and 95 % as whiskers; a row for each device and setting."""
    shown = blank("latency (ms)", "", height=110 + _ROW * len(spans))
    devices = list(dict.fromkeys(span.device for span in spans))
    for span in spans:
        p5, p25, p50, p75, p95 = span.quantiles_ms
        colour = _SERIES_COLOURS[devices.index(span.device) % len(_SERIES_COLOURS)]
        shown.add_box(
            y=[_short(f"{span.device}, {span.setting}" if span.setting else span.device)],
            q1=[p25],
            median=[p50],
            q3=[p75],
            lowerfence=[p5],
            upperfence=[p95],
            orientation="h",
            line={"color": colour, "width": 1.5},
            width=0.55,
            showlegend=False,
            hoverinfo="x",
        )
    lowest, highest = min(span.quantiles_ms[0] for span in spans), max(span.quantiles_ms[-1] for span in spans)
    if highest > LOG_RATIO * lowest:
        shown.update_xaxes(type="log", dtick="D2")
    shown.update_yaxes(autorange="reversed", ticks="")
    return shown


def event_outcome(event: DriftEvent) -> str:
    """What became of a drift, in words."""
    return {
        "came back": "came back",
        "new level": "a new level: the chart began again from it",
        "still shifted": "nothing was measured since",
        "system changed": "the system changed",
    }[event.outcome]


def _timeline(y_title: str, span: tuple[float, float], *, height: int) -> go.Figure:
    shown = blank("time (UTC)", y_title, height=height)
    margin = 0.02 * (span[1] - span[0]) or 30.0
    shown.update_layout(margin={"t": 58}, legend={"traceorder": "normal"})  # legends of two rows
    shown.update_xaxes(type="date", range=[_moment(span[0] - margin), _moment(span[1] + margin)])
    return shown


def _add_name(shown: go.Figure, name: str, line: Mapping[str, Any]) -> None:
    """A line in the legend for what is drawn without one."""
    shown.add_scatter(x=[None], y=[None], mode="lines", line=dict(line), name=name, hoverinfo="skip")


def _moment(at: float) -> str:
    """As Plotly reads dates; it knows no time zones."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _signed_percent(log_ratio: float) -> str:
    return f"{100 * log_ratio:+.1f} %"


def _pale(colour: str) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"


def _short(name: str) -> str:
    """The middle of a long name is left out, so that its ends tell it from others."""
    half = _LONGEST // 2
    return html.escape(name if len(name) <= _LONGEST else f"{name[: half - 1]}…{name[-half:]}")
