"""Section on drift and quality: references of every phone, conditions, rejected blocks, grades, spread of phones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.campaign.jobs import begun_as
from orchestrator.report import readable
from orchestrator.report.conditions import ConditionFigure
from orchestrator.report.draw_quality import (
    draw_clocks,
    draw_drift,
    draw_grades,
    draw_rejected,
    draw_spread,
    draw_temperatures,
    event_outcome,
)
from orchestrator.report.drift import DriftEvent, DriftFigure, drift_figures
from orchestrator.report.markup import Cell, Content, Html, figure, join, number_cell, table, tag
from orchestrator.report.measured import DeviceSummary, Measured, gather
from orchestrator.report.observed import observed_in_run
from orchestrator.report.run import Run
from orchestrator.rig import JOURNAL


@dataclass(frozen=True)
class Quality:
    """What the section is made from.

    Attributes:
        measured: How well devices measured.
        drifts: References of every phone; none where no fleet was used, or it measured none.
    """

    measured: Measured
    drifts: tuple[DriftFigure, ...]


def campaign_drift_section(run: Run) -> Html:
    """A campaign's section, with what its fleet's journal says of references."""
    drifts = drift_figures(run.folder / JOURNAL)
    suspects = frozenset(begun_as(job) for drift in drifts for job in drift.suspects)
    return drift_section(Quality(gather(observed_in_run(run, suspects)), drifts))


def drift_section(quality: Quality) -> Html:
    """The whole section; parts of which nothing is known are left out, and the one on references says why."""
    measured = quality.measured
    if not measured.devices and not quality.drifts:
        return tag("p", "Nothing has been measured yet.", class_="notice")
    return join(
        [
            _findings(quality),
            *_references(quality.drifts),
            *_conditions(measured.conditions),
            *_blocks(measured.devices),
            *_spread(measured.devices),
        ]
    )


def _findings(quality: Quality) -> Html:
    """The section in a few sentences."""
    devices = quality.measured.devices
    events = [event for drift in quality.drifts for event in drift.events]
    found = []
    if quality.drifts:
        phones = {event.phone for event in events}
        references = _counted(sum(drift.count for drift in quality.drifts), "reference")
        on_devices = f"on {_counted(len(quality.drifts), 'device')}"
        if events:
            sentence = f"{_counted(len(events), 'drift')} on {_counted(len(phones), 'device')}, in {references}."
        elif any(drift.count > 1 for drift in quality.drifts):
            sentence = f"No drift in {references} {on_devices}."
        else:
            sentence = f"Too few references to see a drift: {references} {on_devices}."
        found.append(sentence)
    if marked := sum(device.suspects for device in devices):
        found.append(f"{_counted(marked, 'measurement')} marked as suspect: made since the last good reference before.")
    blocks, rejected = sum(d.blocks for d in devices), sum(sum(d.rejected.values()) for d in devices)
    if blocks:
        found.append(f"{rejected:,} of {blocks:,} blocks rejected ({readable.percent(rejected / blocks)}).")
    return tag("p", " ".join(found))


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


def _references(drifts: Sequence[DriftFigure]) -> Iterable[Html]:
    yield tag("h3", "Reference model over time")
    if not drifts:
        text = "There are no references here: collections measure them on phones and hosts, campaigns with phones too."
        yield tag("p", text, class_="soft")
        return
    lone = [drift.phone for drift in drifts if drift.count == 1]
    if lone:
        yield tag("p", f"Measured once, so that there is nothing to compare yet, on {', '.join(lone)}.", class_="soft")
    drawn = [drift for drift in drifts if drift.count > 1]
    if not drawn:
        return
    moments = [point.at for drift in drawn for point in drift.points]
    span = min(moments), max(moments)
    pictures = []
    for number, drift in enumerate(drawn):
        name = f"latency of the reference model on {drift.phone} over time"
        pictures.append(_titled(drift.phone, figure(f"drift-{number}", draw_drift(drift, span), "", name)))
    yield _pair(pictures)
    yield tag(
        "p",
        "The same small network, measured on each device between its other measurements. Grey is what the control "
        "chart expected from the good ones before, and how far one value may be from it; a small shift that lasts is "
        "found within, too. Measurements in the red time are suspect: they came after the last good reference.",
        class_="soft",
    )
    events = sorted((event for drift in drifts for event in drift.events), key=lambda event: event.began)
    if events:
        headings = ["device", "first alarm", "alarms", "largest shift", "suspect measurements", "then"]
        yield table(headings, [_event_row(event) for event in events], sortable=True)


def _event_row(event: DriftEvent) -> list[Content]:
    shift = f"{100 * event.log_ratio:+.1f} %"
    return [
        tag("b", event.phone),
        Cell(readable.moment(event.began), event.began, "short"),
        number_cell(str(event.alarms), event.alarms),
        number_cell(shift, abs(event.log_ratio), "bad"),
        number_cell(f"{event.marked:,}", event.marked, "warn" if event.marked else ""),
        event_outcome(event),
    ]


def _conditions(figures: Sequence[ConditionFigure]) -> Iterable[Html]:
    shown = [each for each in figures if each.of("temperature", "clock")]
    if not shown:
        return
    yield tag("h3", "Temperatures and clocks")
    moments = [point.at for each in shown for series in each.series for point in series.points]
    span = min(moments), max(moments)
    pictures = []
    for number, each in enumerate(shown):
        if each.of("temperature"):
            name = f"temperatures of {each.phone} over time"
            picture = figure(f"temperatures-{number}", draw_temperatures(each, span), "", name)
            pictures.append(_titled(each.phone, picture))
        if each.of("clock"):
            name = f"clocks of {each.phone} over time"
            pictures.append(_titled(each.phone, figure(f"clocks-{number}", draw_clocks(each, span), "", name)))
    yield _pair(pictures)
    text = (
        "As read before and after blocks, never during one. Lines are means, bands go from the lowest to the highest."
    )
    yield tag("p", text, class_="soft")


def _blocks(devices: Sequence[DeviceSummary]) -> Iterable[Html]:
    if not devices:
        return
    yield tag("h3", "Blocks and grades")
    pictures = []
    if any(device.rejected for device in devices):
        picture = figure("rejected", draw_rejected(devices), "", "rejected blocks by reason and device")
        pictures.append(_titled("Rejected blocks by reason", picture))
    if any(device.grades for device in devices):
        picture = figure("grades", draw_grades(devices), "", "grades of measurements by device")
        pictures.append(_titled("Grades", picture))
    yield _pair(pictures)
    headings = ["device", "measured", "grades", "median 95 % half-width", "blocks", "rejected", "suspect", "failures"]
    yield table(headings, [_device_row(device) for device in devices], sortable=True)
    whys = [
        f"{device.device}: {', '.join(f'{why} ({count:,})' for why, count in device.doubts.items())}."
        for device in devices
        if device.doubts
    ]
    if whys:
        yield tag("p", f"Why grades are not A. {' '.join(whys)}", class_="soft")


def _device_row(device: DeviceSummary) -> list[Content]:
    rejected = sum(device.rejected.values())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in device.rejected.items())
    failures = ", ".join(f"{count:,} {code}" for code, count in device.failures.items())
    half_width = f"± {readable.percent(device.half_width, 2)}" if device.half_width is not None else readable.NONE
    return [
        tag("b", device.device),
        number_cell(f"{device.measured:,}", device.measured),
        ", ".join(f"{count:,} {grade}" for grade, count in device.grades.items()) or readable.NONE,
        number_cell(half_width, device.half_width),
        number_cell(f"{device.blocks:,}", device.blocks),
        Cell(f"{rejected:,}" + (f" ({reasons})" if reasons else ""), rejected, "warn" if rejected else ""),
        number_cell(f"{device.suspects:,}", device.suspects, "warn" if device.suspects else ""),
        Cell(failures or readable.NONE, sum(device.failures.values()), "bad" if failures else ""),
    ]


def _spread(devices: Sequence[DeviceSummary]) -> Iterable[Html]:
    several = [device for device in devices if len(device.phones) > 1]
    if not several:
        return
    yield tag("h3", "Spread from phone to phone")
    known = [device for device in several if device.spread is not None]
    if known:
        name = "distance of each phone to the mean of its model's phones"
        yield figure("spread", draw_spread(known), "", name)
    rows: list[list[Content]] = []
    for device in several:
        spread = device.spread
        rows.append(
            [
                tag("b", device.device),
                number_cell(str(len(device.phones)), len(device.phones)),
                number_cell(f"{spread.overlaps:,}", spread.overlaps) if spread else number_cell("0", 0),
                number_cell(readable.percent(spread.sd_log, 2), spread.sd_log) if spread else number_cell("–", None),
            ]
        )
    yield table(["device", "phones", "measured on several", "standard deviation between phones"], rows)
    text = "From what several phones of a model measured; the uncertainty of the measurements themselves is taken out."
    if not known:
        text = "Nothing was measured on two phones of a model, so their spread is not known."
    yield tag("p", text, class_="soft")


def _titled(title: str, picture: Html) -> Html:
    return tag("div", join([tag("h3", title), picture]))


def _pair(pictures: Sequence[Html]) -> Html:
    return tag("div", join(pictures), class_="pair") if pictures else Html("")
