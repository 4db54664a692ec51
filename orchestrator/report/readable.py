"""Numbers, intervals, times and architectures as people read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from orchestrator.report.figures import Interval

NONE = "–"
_HARD_SPACE = "\u00a0"  # does not break


def number(value: float | None, digits: int = 4) -> str:
    """So many significant digits, without an exponent where that can be read: 3.214, 12,340, 0.00412."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0 or 1e-4 <= abs(value) < 1e7:
        places = 0 if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return f"{value:,.{places}f}"
    return f"{value:.{digits - 1}e}"


def count(value: int | None) -> str:
    """A count in thousands or millions: 73.8 k, 10.66 M."""
    if value is None:
        return NONE
    for size, letter in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:.4g} {letter}"
    return str(value)


def latency(interval: Interval | None) -> str:
    """`3.214 ms [3.190, 3.239]`: the estimate and its 95 % interval."""
    if interval is None:
        return NONE
    return f"{number(interval.value)} ms {ends(interval)}"


def compact_latency(interval: Interval | None) -> str:
    """`3.214 ± 0.8 %`: milliseconds and the relative half-width of the 95 % interval, for tables."""
    if interval is None:
        return NONE
    if not interval.low > 0 or not math.isfinite(interval.high):
        return f"{number(interval.value)} ± ∞"
    half_width = math.log(interval.high / interval.low) / 2
    return number(interval.value) + (f" ± {percent(half_width)}" if half_width > 0 else "")


def ends(interval: Interval) -> str:
    """`[3.190, 3.239]`, never broken between lines."""
    return f"[{number(interval.low)},{_HARD_SPACE}{number(interval.high)}]"


def accuracy(value: float | None, standard_error: float | None, unit: str) -> str:
    """`91.20 ± 0.85 %`: the value and its standard error."""
    if value is None:
        return NONE
    error = "" if standard_error is None else f" ± {standard_error:.2f}"
    shown = f"{value:.2f}" if unit else number(value)
    return f"{shown}{error}{f' {unit}' if unit else ''}"


def percent(share: float | None, places: int = 1) -> str:
    """A fraction in percent."""
    return NONE if share is None or not math.isfinite(share) else f"{100 * share:.{places}f} %"


def duration(seconds: float | None) -> str:
    """`42 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds is None:
        return NONE
    if seconds < 10:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def moment(at: float | None) -> str:
    """A time in UTC: the same report wherever it is made."""
    return NONE if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
