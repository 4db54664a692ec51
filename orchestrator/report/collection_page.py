"""The report of a collection: how far it is, what it found, and how well its phones measured."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from orchestrator.collect.config import CollectConfig
from orchestrator.collect.folder import read_config
from orchestrator.collect.status import CollectStatus, read_status
from orchestrator.collect.store import CollectStore, store_path
from orchestrator.errors import RunFolderError
from orchestrator.report import readable
from orchestrator.report.collection_tables import (
    failure_table,
    missing_table,
    phone_table,
    progress_table,
    skipped_table,
    span_table,
)
from orchestrator.report.document import Section, document, page_header, write_document
from orchestrator.report.draw_quality import draw_latencies
from orchestrator.report.drift import drift_figures
from orchestrator.report.drift_section import Quality, drift_section
from orchestrator.report.markup import Content, Html, code, figure, join, table, tag
from orchestrator.report.measured import Measured, gather
from orchestrator.report.observed import observed_in_collection
from orchestrator.report.tables import flat
from orchestrator.rig import JOURNAL
from profiling.database import StoreError


@dataclass(frozen=True)
class Collection:
    """Everything that the page says.

    Attributes:
        folder: The run folder.
        config: As it was planned.
        status: How far it is.
        quality: What its devices measured, and how well.
        examples: (device, code) -> what one such failure said.
        missing: Device -> what was in the way of jobs without a result -> how many.
        environment: Versions and platform of the process that began it.
        read_at: Seconds since the epoch.
    """

    folder: Path
    config: CollectConfig
    status: CollectStatus
    quality: Quality
    examples: dict[tuple[str, str], str]
    missing: dict[str, dict[str, int]]
    environment: dict[str, object]
    read_at: float


def write_collection_report(folder: Path) -> Path:
    """Write `report.html` into a collection's folder; it may be going on.

    Returns:
        The file. It appears whole or not at all.

    Raises:
        RunFolderError: The collection cannot be read, or the file cannot be written.
    """
    return write_document(folder, render_collection(read_collection(folder)))


def read_collection(folder: Path) -> Collection:
    """Read a collection's folder, its results one at a time; who works in it is neither disturbed nor waited for.

    Raises:
        RunFolderError: There is none, or it cannot be read.
    """
    try:
        with CollectStore.read(store_path(folder)) as store:
            if not store.planned:
                raise RunFolderError(
                    f"{folder} holds a collection that is not planned yet",
                    "wait a moment, or plan it again with: nag collect CONFIG",
                )
            status = read_status(folder, store)
            return Collection(
                folder=folder,
                config=read_config(store),
                status=status,
                quality=Quality(gather(observed_in_collection(store)), drift_figures(folder / JOURNAL)),
                examples=store.failure_examples(),
                missing={tally.device: store.missing(tally.device) for tally in status.tallies if tally.missing},
                environment=store.meta("environment") or {},
                read_at=time.time(),
            )
    except StoreError as error:
        raise RunFolderError(error.message, error.hint) from error


def render_collection(collection: Collection) -> str:
    """The page."""
    sections = [
        Section("summary", "Summary", _summary(collection)),
        Section("latencies", "Latencies", _latencies(collection.quality.measured)),
        Section("drift", "Drift and quality", drift_section(collection.quality)),
        Section("failures", "Failures and what is missing", _failures(collection)),
        Section("environment", "Environment and configuration", _environment(collection)),
    ]
    return document(collection.status.name, _header(collection), sections, collection.folder, collection.read_at)


def _header(collection: Collection) -> Html:
    status, config = collection.status, collection.config
    last = max((tally.last_at or 0.0 for tally in status.tallies), default=0.0)
    since = f"last result {readable.moment(last)}" if last else "no result yet"
    settings = config.settings
    several = [
        ", ".join(settings.precision),
        ", ".join(settings.delegate),
        f"{', '.join(map(str, settings.threads))} thread{'s' if settings.threads != (1,) else ''}",
    ]
    facts = [f"{status.models:,} models", f"devices: {', '.join(config.device_names)}", *several, f"seed {config.seed}"]
    good = status.state == "finished"
    state = tag("span", f"{status.state}, {since}", class_=f"badge {'good' if good else 'warn'}")
    sentence = "Latencies of many models on many devices, for a data set"
    return page_header(status.name, sentence, [state, *(tag("span", fact, class_="badge") for fact in facts)])


def _summary(collection: Collection) -> Html:
    status = collection.status
    parts = [tag("div", join(_cards(collection)), class_="cards")]
    if not status.measured and not status.failed:
        parts.append(tag("p", "No result has arrived yet.", class_="notice"))
    for device, reason in status.reasons.items():
        parts.append(tag("p", f"{device}: {reason}", class_="notice"))
    parts.append(progress_table(status))
    return join(parts)


def _cards(collection: Collection) -> list[Html]:
    status = collection.status
    kinds = (("measured", status.measured, ""), ("failed", status.failed, "bad"))
    planned = max(status.planned, 1)
    meter = join(tag("i", "", class_=kind, style=f"width:{100 * n / planned:.2f}%") for _, n, kind in kinds)
    cards = [
        _card(
            "Results",
            f"{status.measured + status.failed:,} of {status.planned:,}",
            tag("div", meter, class_="meter"),
            tag("small", f"{status.measured:,} measured, {status.failed:,} failed"),
        )
    ]
    if status.missing:
        left = readable.duration(status.left_s) if status.left_s is not None else "not known yet"
        note = f"time left: {left}" if status.state == "running" else "the same nag collect command goes on with them"
        cards.append(_card("Missing", f"{status.missing:,}", tag("small", note)))
    if status.skipped:
        note = "their files cannot be read or built"
        cards.append(_card("Models left out", f"{len(status.skipped):,}", tag("small", note)))
    drifts = sum(len(drift.events) for drift in collection.quality.drifts)
    if collection.quality.drifts:
        suspects = sum(device.suspects for device in collection.quality.measured.devices)
        cards.append(_card("Drifts", f"{drifts:,}", tag("small", f"{suspects:,} measurements are suspect")))
    return cards


def _card(title: str, value: str, *lines: Html) -> Html:
    return tag("div", join([tag("span", title, class_="title"), tag("b", value), *lines]), class_="card")


def _latencies(measured: Measured) -> Html:
    if not measured.latencies:
        return tag("p", "No latency has been measured yet.", class_="notice")
    caption = "Boxes hold the middle half of the models, whiskers end at 5 and 95 %; the line is the median."
    picture = figure("latencies", draw_latencies(measured.latencies), caption, "latencies by device and setting")
    return join([picture, span_table(measured.latencies)])


def _failures(collection: Collection) -> Html:
    status = collection.status
    parts = []
    if any(tally.failures for tally in status.tallies):
        parts.append(failure_table(status.tallies, collection.examples))
    else:
        parts.append(tag("p", "Nothing failed.", class_="soft"))
    if any(collection.missing.values()):
        parts += [tag("h3", "Without a result"), missing_table(collection.missing)]
    if status.skipped:
        parts += [tag("h3", f"Models left out ({len(status.skipped):,})"), skipped_table(status.skipped)]
    return join(parts)


def _environment(collection: Collection) -> Html:
    parts = []
    if collection.quality.measured.phones:
        parts.append(phone_table(collection.quality.measured.phones))
    rows: list[list[Content]] = [[tag("b", name), code(value)] for name, value in flat(collection.environment)]
    if rows:
        parts.append(table(["", "collection started with"], rows))
    values = collection.config.model_dump(mode="json")
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
    return join([*parts, tag("h3", "Configuration"), tag("pre", text.strip())])
