"""Tables of a collection's page, each from data to HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.collect.records import CollectModel
from orchestrator.collect.status import CollectStatus
from orchestrator.collect.store import Tally
from orchestrator.report import readable
from orchestrator.report.markup import Cell, Content, Html, code, join, number_cell, table, tag
from orchestrator.report.measured import LatencySpan, PhoneRow

_SHOWN = 200  # rows of a table that a broken folder could make endless


def progress_table(status: CollectStatus) -> Html:
    """How far each device is."""
    headings = [
        "device",
        "planned",
        "measured",
        "failed",
        "missing",
        "per result",
        "time left",
        "last result",
        "phones",
    ]
    rows: list[list[Content]] = [
        [
            tag("b", tally.device),
            number_cell(f"{tally.planned:,}", tally.planned),
            number_cell(f"{tally.measured:,}", tally.measured),
            number_cell(f"{tally.failed:,}", tally.failed, "bad" if tally.failed else ""),
            number_cell(f"{tally.missing:,}", tally.missing, "warn" if tally.missing else ""),
            number_cell(readable.duration(tally.interval_s), tally.interval_s),
            number_cell(readable.duration(tally.left_s) if tally.missing else readable.NONE, tally.left_s),
            Cell(readable.moment(tally.last_at), tally.last_at, "short"),
            ", ".join(f"{name} ({count:,})" for name, count in tally.phones.items()) or readable.NONE,
        ]
        for tally in status.tallies
    ]
    return table(headings, rows, sortable=True)


def span_table(spans: Sequence[LatencySpan]) -> Html:
    """The numbers behind the boxes."""
    headings = ["device", "setting", "models", "lowest", "5 %", "25 %", "median", "75 %", "95 %", "highest"]
    rows: list[list[Content]] = [
        [
            tag("b", span.device),
            span.setting,
            number_cell(f"{span.count:,}", span.count),
            *(number_cell(readable.number(ms), ms) for ms in (span.lowest, *span.quantiles_ms, span.highest)),
        ]
        for span in spans
    ]
    return join([table(headings, rows, sortable=True), tag("p", "Latencies in milliseconds.", class_="soft")])


def failure_table(tallies: Sequence[Tally], examples: Mapping[tuple[str, str], str]) -> Html:
    """Failures by class, with what one of them said."""
    rows: list[list[Content]] = [
        [
            tag("b", tally.device),
            Cell(failure, failure, "bad"),
            number_cell(f"{count:,}", count),
            examples.get((tally.device, failure), readable.NONE),
        ]
        for tally in tallies
        for failure, count in tally.failures.items()
    ]
    return table(["device", "code", "results", "one of them says"], rows, sortable=True)


def missing_table(missing: Mapping[str, Mapping[str, int]]) -> Html:
    """What was in the way of jobs without a result."""
    rows: list[list[Content]] = [
        [tag("b", device), number_cell(f"{count:,}", count), obstacle or "not tried yet"]
        for device, obstacles in missing.items()
        for obstacle, count in list(obstacles.items())[:_SHOWN]
    ]
    return table(["device", "jobs", "last obstacle"], rows, sortable=True)


def skipped_table(models: Sequence[CollectModel]) -> Html:
    """Models that cannot be measured at all; the first ones of very many."""
    rows: list[list[Content]] = [
        [code(model.name), Cell(model.failure.code, model.failure.code, "bad"), model.failure.detail]
        for model in models[:_SHOWN]
        if model.failure is not None
    ]
    shown = table(["model", "code", "why"], rows, sortable=True)
    more = len(models) - _SHOWN
    return join([shown, tag("p", f"and {more:,} more", class_="soft")]) if more > 0 else shown


def phone_table(phones: Sequence[PhoneRow]) -> Html:
    """Who measured, with what."""
    headings = ["phone", "device", "kind", "model", "system", "abi", "runtime", "measurements"]
    rows: list[list[Content]] = [
        [
            tag("b", phone.info.name),
            phone.device,
            phone.info.kind,
            phone.info.model or readable.NONE,
            f"{phone.info.epoch or readable.NONE}{f' (changed: {phone.epochs} systems)' if phone.epochs > 1 else ''}",
            phone.info.abi or readable.NONE,
            phone.info.runtime or readable.NONE,
            number_cell(f"{phone.measured:,}", phone.measured),
        ]
        for phone in phones
    ]
    return table(headings, rows, sortable=True)
