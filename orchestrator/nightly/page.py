"""A night on one page: an HTML file that needs nothing but itself, in the style of the other reports."""

from __future__ import annotations

import math
from collections.abc import Iterator

from orchestrator.nightly.result import (
    ALARMS,
    INCOMPLETE,
    CampaignResult,
    ModelResult,
    NightResult,
    PhoneResult,
    Status,
    change_text,
)
from orchestrator.report import readable
from orchestrator.report.markup import Cell, Content, Html, html, join, number_cell, table, tag
from orchestrator.report.style import CSS, SCRIPT
from profiling.compare import Effect

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
_CSS = """
svg.ratio { display: block; width: 190px; height: 18px; }
svg.ratio .band { fill: var(--grid); } svg.ratio .one { stroke: var(--line); }
svg.ratio line.span { stroke: var(--soft); stroke-width: 2; } svg.ratio circle { fill: var(--soft); }
svg.ratio.slower line.span { stroke: var(--bad); } svg.ratio.slower circle { fill: var(--bad); }
svg.ratio.faster line.span { stroke: var(--good); } svg.ratio.faster circle { fill: var(--good); }
.badge.bad { color: var(--bad); border-color: currentColor; }
.alarm { border-left: 3px solid var(--bad); }
"""
_WIDTH, _HEIGHT = 190, 18
_SCALE = 0.10  # log ratio at the picture's edges
_CLASSES: dict[Status, str] = {
    "slower": "bad",
    "broken": "bad",
    "failed": "warn",
    "missing": "warn",
    "faster": "good",
}
_ORDER: tuple[Status, ...] = ("broken", "slower", "failed", "missing", "unclear", "faster", "same", "new")


def render(night: NightResult) -> str:
    """The page."""
    sections = [_summary(night), *(_phone(phone, night.margin) for phone in _worst_first(night))]
    if night.campaigns:
        sections.append(_campaigns(night.campaigns))
    moment = readable.moment(night.ended_at)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html(night.name)}: night of {html(readable.moment(night.started_at))}</title>
<link rel="icon" href="data:,">
<style>{CSS}{_CSS}</style>
</head>
<body>
{_header(night).text}
<main>
{join(sections, chr(10)).text}
<footer>DeviceNAG night {html(night.name)} in {html(night.run)}, made {moment}.</footer>
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def verdict_text(night: NightResult) -> str:
    """The night in a few words."""
    counts = night.counts
    regressions = sum(counts[status] for status in ALARMS)
    absent = sum(counts[status] for status in INCOMPLETE) + sum(phone.passes_missed for phone in night.phones)
    if regressions:
        return f"{regressions} regression{'s' if regressions > 1 else ''}"
    if absent:
        return f"no regression, {absent} result{'s' if absent > 1 else ''} missing"
    return "no regression" if night.baseline else "measured; no baseline to compare with"


def _header(night: NightResult) -> Html:
    kind = {0: "good", 1: "bad"}.get(night.exit_code, "warn")
    badges = [tag("span", verdict_text(night), class_=f"badge {kind}")]
    badges += [tag("span", f"{number} {status}", class_="badge") for status, number in _sorted_counts(night)]
    against = f"against {', '.join(night.baseline)}" if night.baseline else "no baseline"
    duration = readable.duration(night.ended_at - night.started_at)
    parts = [
        tag("h1", night.name),
        tag("div", f"Night of {readable.moment(night.started_at)}, {duration}, {against}", class_="soft"),
        tag("div", join(badges), class_="badges"),
    ]
    return tag("header", tag("div", join(parts), class_="top"))


def _worst_first(night: NightResult) -> list[PhoneResult]:
    return sorted(
        night.phones,
        key=lambda phone: (-_count(phone, ALARMS), phone.status not in ALARMS, -_count(phone, INCOMPLETE)),
    )


def _sorted_counts(night: NightResult) -> Iterator[tuple[str, int]]:
    for status in _ORDER:
        if night.counts[status]:
            yield status, night.counts[status]


def _summary(night: NightResult) -> Html:
    parts: list[Html] = [tag("h2", "What to know")]
    if night.alarms:
        parts += [tag("p", alarm, class_="notice alarm") for alarm in night.alarms]
    elif night.baseline:
        text = f"Nothing is surely slower than in the baseline by more than {night.margin:.1%}."
        parts.append(tag("p", text))
    parts += [tag("p", note, class_="notice") for note in night.notes]
    rows: list[list[Content]] = [
        [
            Cell(tag("b", phone.device.name), phone.device.name, "short"),
            Cell(phone.setting, phone.setting, "short"),
            _status_cell(phone.status),
            number_cell(str(bad), bad, "bad") if (bad := _count(phone, ALARMS)) else number_cell("0", 0),
            number_cell(str(gone), gone, "warn") if (gone := _count(phone, INCOMPLETE)) else number_cell("0", 0),
            _picture(phone.shift, phone.status, night.margin) if phone.shift else "",
            number_cell(f"{phone.shift.ratio - 1:+.1%}", phone.shift.ratio) if phone.shift else "",
            number_cell(f"{phone.detectable - 1:.1%}", phone.detectable) if phone.detectable else "",
        ]
        for phone in _worst_first(night)
    ]
    headings = ["phone", "setting", "as a whole", "slower", "missing", "all models, 95 %", "change", "finds from"]
    if rows:
        parts.append(table(headings, rows))
        text = "Finds from: the smallest slow-down of one model that is found with a probability of 95 %."
        parts.append(tag("p", f"{text} Grey: changes of up to {night.margin:.1%}, which do not matter.", class_="soft"))
    return tag("section", join(parts), id="summary")


def _phone(phone: PhoneResult, margin: float) -> Html:
    system = " · ".join(text for text in (phone.device.model, phone.device.runtime, phone.device.epoch) if text)
    parts = [tag("h2", f"{phone.device.name}, {phone.setting}"), tag("p", system, class_="soft")]
    for change in phone.other_system:
        text = (
            f"Another system than the baseline's: {change.what} was {change.before or 'unknown'}, is "
            f"{change.now or 'unknown'}."
        )
        parts.append(tag("p", text, class_="notice"))
    if phone.status == "missing":
        parts.append(tag("p", "The phone was in the baseline, and was not there tonight.", class_="notice"))
        names = ", ".join(model.model for model in phone.models)
        parts.append(tag("p", f"Not measured: {names}.", class_="soft"))
        return tag("section", join(parts))
    if phone.passes_missed:
        text = f"{phone.passes_missed} measurements are missing: the phone did not take part in every pass."
        parts.append(tag("p", text, class_="notice"))
    if phone.shift is not None:
        text = f"What all its models share: {change_text(phone.shift)}. Each model's own change is beyond that."
        parts.append(tag("p", text))
    ordered = sorted(phone.models, key=lambda model: (_ORDER.index(model.status), -_log_ratio(model), model.model))
    rows = [_row(model, margin) for model in ordered]
    headings = ["status", "model", "own ratio, 95 %", "change", "interval", "baseline (ms)", "tonight (ms)", "remarks"]
    if rows:
        models = table(headings, rows, sortable=True)
        calm = not _count(phone, (*ALARMS, *INCOMPLETE))
        summary = tag("summary", f"{len(rows)} models, the most slowed down first")
        parts.append(tag("details", join([summary, models])) if calm else models)
    others = [change for change in phone.changes if not change.system]
    if others:
        listed: list[list[Content]] = [[change.what, change.before, change.now] for change in others]
        summary = tag("summary", f"{len(others)} other changes since the baseline")
        parts.append(tag("details", join([summary, table(["what", "before", "now"], listed)])))
    return tag("section", join(parts))


def _row(model: ModelResult, margin: float) -> list[Content]:
    own = model.own
    return [
        _status_cell(model.status),
        model.model,
        _picture(own, model.status, margin) if own else "",
        number_cell(f"{own.ratio - 1:+.1%}", own.ratio) if own else "",
        number_cell(f"{own.low - 1:+.1%} to {own.high - 1:+.1%}", own.high - own.low) if own else "",
        number_cell(readable.number(model.before_ms), model.before_ms),
        number_cell(readable.number(model.now_ms), model.now_ms),
        "; ".join(_remarks(model)),
    ]


def _remarks(model: ModelResult) -> Iterator[str]:
    if model.failure is not None:
        yield f"{model.failure.code}: {model.failure.detail}"
    if model.measured_again:
        yield "measured again"
    if model.rebuilt:
        yield "compiled otherwise than in the baseline"
    if model.suspect:
        yield model.suspect


def _campaigns(campaigns: tuple[CampaignResult, ...]) -> Html:
    rows: list[list[Content]] = [
        [
            _status_cell(each.status),
            each.name,
            ", ".join(f"{name} {readable.number(value)}" for name, value in each.best.items()),
            number_cell(readable.number(each.before), each.before),
            number_cell(readable.number(each.hypervolume), each.hypervolume),
            each.detail,
        ]
        for each in campaigns
    ]
    headings = ["status", "campaign", "most accurate winner", "hypervolume before", "tonight", "remarks"]
    return tag("section", join([tag("h2", "Campaigns"), table(headings, rows)]))


def _status_cell(status: Status) -> Cell:
    words = {"same": "no difference", "unclear": "no sure difference", "new": "measured"}.get(status, status)
    return Cell(words, _ORDER.index(status), f"short {_CLASSES.get(status, '')}".strip())


def _picture(effect: Effect, status: Status, margin: float) -> Html:
    """The ratio and its interval on a log scale; grey: what does not matter."""
    band = _place(math.log1p(margin)) - _place(-math.log1p(margin))
    low, middle, high = (_place(math.log(value)) for value in (effect.low, effect.ratio, effect.high))
    half = _HEIGHT / 2
    return Html(
        f'<svg class="ratio {status}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{html(change_text(effect))}">'
        f'<rect class="band" x="{_place(-math.log1p(margin)):.1f}" y="1" width="{band:.1f}" height="{_HEIGHT - 2}"/>'
        f'<line class="one" x1="{_WIDTH / 2}" x2="{_WIDTH / 2}" y1="0" y2="{_HEIGHT}"/>'
        f'<line class="span" x1="{low:.1f}" x2="{high:.1f}" y1="{half}" y2="{half}"/>'
        f'<circle cx="{middle:.1f}" cy="{half}" r="3.5"/></svg>'
    )


def _place(log_ratio: float) -> float:
    """Where a log ratio stands in the picture; beyond its ends: at them."""
    return (min(max(log_ratio / _SCALE, -1.0), 1.0) + 1) / 2 * (_WIDTH - 8) + 4


def _count(phone: PhoneResult, statuses: tuple[Status, ...]) -> int:
    return sum(model.status in statuses for model in phone.models)


def _log_ratio(model: ModelResult) -> float:
    return model.own.log_ratio if model.own is not None else -math.inf
