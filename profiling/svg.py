"""Small pictures as SVG text: curves, bars and dots for pages that run no scripts. Everything foreign is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import ArrayLike

# Middle tones: readable on white, which is painted behind, whatever the page's theme.
COLOURS = ("#3a78e0", "#2c9f73", "#e0901f", "#8a63d2", "#d9485f", "#4aa3b8", "#8c6d46", "#9aa3b0")
_TEXT, _GRID, _BACK = "#39424f", "#e3e7ec", "#ffffff"
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 64, 24, 20, 46
_ROW, _LEGEND_ROW = 26, 20
_LABEL = 190  # width of the names beside bars and dots
_LONGEST = 26  # letters of a name


@dataclass(frozen=True)
class Curve:
    """A line of a chart: `x` and `y`, each (`N`,)."""

    name: str
    x: ArrayLike
    y: ArrayLike


def line_chart(curves: Sequence[Curve], *, x_title: str, y_title: str, log_x: bool = False) -> str:
    """Curves over a shared axis; `y` runs from 0 to 1.

    Args:
        curves: With at least one point each; `x` positive where the axis is logarithmic.
        x_title, y_title: With units.
        log_x: Whether the axis is logarithmic.
    """
    height, bottom = 360, 360 - _BOTTOM
    scale = np.log10 if log_x else np.asarray
    points = [(np.asarray(scale(np.asarray(c.x, dtype=float))), np.asarray(c.y, dtype=float)) for c in curves]
    low = min(float(x.min()) for x, _ in points)
    high = max(float(x.max()) for x, _ in points)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    span = _WIDTH - _LEFT - _RIGHT

    def across(value: float) -> float:
        return _LEFT + span * (value - low) / (high - low)

    def up(value: float) -> float:
        return bottom - (bottom - _TOP) * value

    parts = []
    for tick in _log_ticks(low, high) if log_x else _ticks(low, high):
        x = across(math.log10(tick) if log_x else tick)
        parts += [_line(x, _TOP, x, bottom), _text(x, bottom + 16, f"{tick:g}", "middle")]
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts += [
            _line(_LEFT, up(share), _WIDTH - _RIGHT, up(share)),
            _text(_LEFT - 8, up(share) + 4, f"{share:g}", "end"),
        ]
    for index, (values, shares) in enumerate(points):
        path = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in zip(values, shares, strict=True))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{_colour(index)}" stroke-width="2"/>')
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 36, x_title, "middle"))
    middle = (_TOP + bottom) / 2
    parts.append(f'<g transform="rotate(-90 16 {middle:.0f})">{_text(16, middle, y_title, "middle")}</g>')
    return _picture(parts, height, [curve.name for curve in curves])


def stacked_bars(bars: Mapping[str, Mapping[str, float]], colours: Mapping[str, str]) -> str:
    """A horizontal bar for each name, divided into its parts' shares of their sum.

    Args:
        bars: Name -> part -> amount.
        colours: Of the parts, in the order in which they are drawn.
    """
    parts = []
    span = _WIDTH - _LABEL - _RIGHT - 50
    for row, (name, amounts) in enumerate(bars.items()):
        y, x, total = _TOP + row * _ROW, float(_LABEL), sum(amounts.values())
        parts.append(_text(_LABEL - 8, y + 14, _shortened(name), "end"))
        for part, colour in colours.items():
            width = span * amounts.get(part, 0) / total if total else 0.0
            if width:
                title = f"<title>{escape(f'{name}, {part}: {amounts[part]:g}')}</title>"
                parts.append(
                    f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="18" fill="{colour}">{title}</rect>'
                )
            x += width
        parts.append(_text(_LABEL + span + 8, y + 14, f"{total:g}", "start"))
    used = {part: colour for part, colour in colours.items() if any(amounts.get(part) for amounts in bars.values())}
    return _picture(parts, _TOP + len(bars) * _ROW + 8, list(used), list(used.values()))


def dot_rows(values: Mapping[str, float], *, x_title: str) -> str:
    """A dot for each name on a shared axis around zero."""
    limit = max(1.15 * max(abs(value) for value in values.values()), 0.1)
    height = _TOP + len(values) * _ROW + _BOTTOM
    span, bottom = _WIDTH - _LABEL - _RIGHT, height - _BOTTOM

    def across(value: float) -> float:
        return _LABEL + span * (value + limit) / (2 * limit)

    parts = []
    for tick in _ticks(-limit, limit):
        parts += [
            _line(across(tick), _TOP, across(tick), bottom),
            _text(across(tick), bottom + 16, f"{tick:g}", "middle"),
        ]
    for row, (name, value) in enumerate(values.items()):
        y = _TOP + row * _ROW + 12
        parts.append(_text(_LABEL - 8, y + 4, _shortened(name), "end"))
        parts.append(f'<circle cx="{across(value):.1f}" cy="{y}" r="5" fill="{COLOURS[0]}"/>')
    parts.append(_text(_LABEL + span / 2, bottom + 36, x_title, "middle"))
    return _picture(parts, height, [])


def _picture(parts: Sequence[str], height: int, legend: Sequence[str], colours: Sequence[str] = ()) -> str:
    """The whole file: the drawing, and below it the legend in columns."""
    columns = 3
    rows = -(-len(legend) // columns)
    total = height + rows * _LEGEND_ROW + (8 if rows else 0)
    marks = []
    for index, name in enumerate(legend):
        x = 24 + (index % columns) * (_WIDTH - 48) / columns
        y = height + 4 + (index // columns) * _LEGEND_ROW
        colour = colours[index] if colours else _colour(index)
        marks.append(f'<rect x="{x:.0f}" y="{y}" width="12" height="12" fill="{colour}"/>')
        marks.append(_text(x + 18, y + 10, _shortened(name), "start"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {total}" width="{_WIDTH}" height="{total}"'
        f' font-family="system-ui, sans-serif" font-size="12" fill="{_TEXT}">\n'
        f'<rect width="100%" height="100%" fill="{_BACK}"/>\n' + "\n".join([*parts, *marks]) + "\n</svg>\n"
    )


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{_GRID}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _ticks(low: float, high: float) -> list[float]:
    """About six round numbers."""
    raw = (high - low) / 6
    size = 10 ** math.floor(math.log10(raw))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= raw)
    return [round(number * step, 10) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each power of ten; the powers alone, and ever fewer of them, where there are many."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    every = max(1, len(powers) // 8)
    factors = (1, 2, 5) if len(powers) <= 4 else (1,)
    ticks = [factor * 10.0**power for power in powers if power % every == 0 for factor in factors]
    return [tick for tick in ticks if low <= math.log10(tick) <= high]
