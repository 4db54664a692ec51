"""What a collection looks like: live on a terminal, plain lines elsewhere, and as `nag status` prints it."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.cli.console import output
from orchestrator.cli.view import View
from orchestrator.collect.events import Arrived, Event, Planning, PutOff, Rested, Started, Woke
from orchestrator.collect.status import CollectStatus, read_status
from orchestrator.collect.store import STORE, CollectStore, Tally
from profiling.records import Failure, Measurement

_LINES = 6  # recent results shown below the table
_REFRESH_S = 1.0
_PLAIN_S = 30.0  # between lines of progress where there is no terminal
_SHOWN = 10  # skipped models, kinds of failures, and failures of one kind on one device


def make_view(name: str, folder: Path) -> View[Event]:
    """A live view where standard error is a terminal, plain lines otherwise; both on standard error."""
    console = Console(stderr=True)
    return LiveView(console, name, folder) if console.is_terminal else PlainView(console, name, folder)


def line(event: Event) -> str | None:
    """An event as one line."""
    match event:
        case Planning():
            return "choosing and checking models"
        case Started(resumed, skipped, unplanned):
            left_out = f", {_models(len(skipped))} left out" if skipped else ""
            new = f"; {_new(unplanned)}" if unplanned else ""
            return ("going on" if resumed else "starting") + left_out + new
        case Arrived(job, Measurement() as result):
            half = f" ± {100 * result.half_width:.1f} %" if 0 < result.half_width < 10 else ""
            return f"{job.model.name}: {result.latency_ms:.3f} ms{half} on {result.device.name} ({_setting(event)})"
        case Arrived(job, Failure(kind, code, detail)):
            return f"{job.model.name}: no latency on {job.device} ({_setting(event)}; {kind}: {code}): {_first(detail)}"
        case PutOff(job, failure):
            return f"{job.model.name}: put off on {job.device} ({failure.code}): {_first(failure.detail)}"
        case Rested(device, reason):
            return f"{device} gets no jobs until it is well again: {reason}"
        case Woke(device):
            return f"{device} gets jobs again"
    return None


def _models(count: int) -> str:
    return f"{count:,} model{'s' if count != 1 else ''}"


def _new(files: Sequence[str]) -> str:
    """What to know of files that came too late."""
    several = f"{len(files):,} files are" if len(files) > 1 else f"{files[0]} is"
    return f"{several} new in the folder and no part of this collection: another one (--out) takes them"


def _first(text: str) -> str:
    """Its first line."""
    return text.partition("\n")[0]


def _setting(event: Arrived) -> str:
    setting = event.job.setting
    return f"{setting.precision}, {setting.delegate}, {setting.threads} thread{'s' if setting.threads > 1 else ''}"


def summary(status: CollectStatus) -> str:
    """Where the collection is, in one line."""
    done = status.measured + status.failed
    share = f" ({100 * done / status.planned:.1f} %)" if status.planned else ""
    running = status.state == "running" and status.missing
    left = f", {duration(status.left_s)} left" if running and status.left_s is not None else ""
    failed = f", {status.failed} failed" if status.failed else ""
    return f"{done:,} of {status.planned:,} results{share}{failed}{left}"


def duration(seconds: float) -> str:
    """`12 s`, `47 min`, `3 h 20 min`, `4 d 2 h`."""
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if minutes < 99.5:
        return f"{minutes:.0f} min"
    if days < 2:
        return f"{int(hours)} h {int(minutes % 60)} min"
    return f"{int(days)} d {int(hours % 24)} h"


def table(status: CollectStatus) -> Table:
    """A row for every device."""
    rows = Table(box=None, pad_edge=False)
    rows.add_column("device")
    rows.add_column("phones", justify="right")
    rows.add_column("", width=20)
    for heading in ("measured", "failed", "missing", "per result", "time left"):
        rows.add_column(heading, justify="right")
    for tally in status.tallies:
        rows.add_row(
            escape(tally.device),
            str(len(tally.phones)) if tally.phones else "-",
            ProgressBar(max(tally.planned, 1), tally.measured + tally.failed, width=20),
            f"{tally.measured:,}",
            f"{tally.failed:,}",
            f"{tally.missing:,}",
            "-" if tally.interval_s is None else f"{tally.interval_s:.1f} s",
            _left(tally, status),
        )
    return rows


def _left(tally: Tally, status: CollectStatus) -> str:
    if not tally.missing:
        return "done"
    return "-" if tally.left_s is None or status.state != "running" else duration(tally.left_s)


def print_status(run: Path, status: CollectStatus) -> None:
    """`nag status` of a collection, for people."""
    console = output()
    console.print(f"[bold]{escape(status.name)}[/]: {status.state}, {summary(status)}, {_models(status.models)}")
    console.print(table(status))
    for tally in status.tallies:
        for code, count in list(tally.failures.items())[:_SHOWN]:
            console.print(f"{tally.device}: {count} x {code}", markup=False, highlight=False)
    for model in status.skipped[:_SHOWN]:
        detail = model.failure.detail if model.failure is not None else ""
        console.print(f"left out: {model.name}: {detail}", markup=False, highlight=False, soft_wrap=True)
    if len(status.skipped) > _SHOWN:
        console.print(f"left out: {len(status.skipped) - _SHOWN} more")
    if status.state == "partial":
        _print_missing(console, run, status)


def _print_missing(console: Console, run: Path, status: CollectStatus) -> None:
    """What a collection ended without, and why."""
    with CollectStore.read(run / STORE) as store:
        for tally in status.tallies:
            if not tally.missing:
                continue
            why = status.reasons.get(tally.device, "")
            text = f"missing on {tally.device}: {tally.missing:,} of {tally.planned:,}" + (f"; {why}" if why else "")
            console.print(text, markup=False, highlight=False, soft_wrap=True)
            for obstacle, count in list(store.missing(tally.device).items())[:_SHOWN]:
                console.print(f"  {count:,} x {obstacle or 'not tried'}", markup=False, highlight=False, soft_wrap=True)
    console.print("the same nag collect command goes on with what is missing; look at the phones with: nag doctor")


class _Watch:
    """The collection's state, read from its store at most every second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store: CollectStore | None = None
        self._status: CollectStatus | None = None
        self._at_s = 0.0

    def status(self) -> CollectStatus | None:
        """None until there is a plan."""
        if time.monotonic() - self._at_s >= _REFRESH_S:
            self._at_s = time.monotonic()
            if self._store is None and (self._folder / STORE).is_file():
                self._store = CollectStore.read(self._folder / STORE)
            if self._store is not None and self._store.planned:
                self._status = read_status(self._folder, self._store)
        return self._status

    def close(self) -> None:
        if self._store is not None:
            self._store.close()


class PlainView:
    """A line for what is not as usual, and one about progress from time to time."""

    def __init__(self, console: Console, name: str, folder: Path) -> None:
        """Args:
        console: Where to write.
        name: Of the collection shown.
        folder: Its run folder.
        """
        self._console = console
        self._name = name
        self._watch = _Watch(folder)
        self._said_s = time.monotonic()
        self._alike: Counter[tuple[str, str]] = Counter()

    def __call__(self, event: Event) -> None:
        """Print the event, if it is not as usual, and progress, if it is time."""
        if self._is_news(event) and (text := line(event)) is not None:
            self._say(text)
        if time.monotonic() - self._said_s >= _PLAIN_S and (status := self._watch.status()) is not None:
            self._said_s = time.monotonic()
            self._say(summary(status))

    def stop(self) -> None:
        """See `View.stop`."""
        self._watch.close()

    def _is_news(self, event: Event) -> bool:
        """Whether people want to know: the thousandth failure of one kind on one device is none."""
        match event:
            case Arrived(_, Measurement()):
                return False
            case Arrived(job, Failure() as failure) | PutOff(job, failure):
                self._alike[job.device, failure.code] += 1
                return self._alike[job.device, failure.code] <= _SHOWN
        return True

    def _say(self, text: str) -> None:
        self._console.print(f"{self._name}: {text}", markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class LiveView:
    """A row for every device, and the last results."""

    def __init__(self, console: Console, name: str, folder: Path) -> None:
        """Args:
        console: A terminal.
        name: Of the collection shown.
        folder: Its run folder.
        """
        self._title = Text.assemble((name, "bold"), f"  {folder}")
        self._watch = _Watch(folder)
        self._recent: deque[str] = deque(maxlen=_LINES)
        self._live = Live(console=console, refresh_per_second=1, get_renderable=self._render, transient=True)

    def __call__(self, event: Event) -> None:
        """Take the event into the picture."""
        if (text := line(event)) is not None:
            self._recent.append(f"{time.strftime('%H:%M:%S')}  {text}")

    def stop(self) -> None:
        """See `View.stop`."""
        self._live.stop()
        self._watch.close()

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = [self._title]
        if (status := self._watch.status()) is not None:
            parts += [Text(summary(status)), table(status)]
        parts += [Text(text, style="dim", no_wrap=True, overflow="ellipsis") for text in list(self._recent)]
        return Group(*parts)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
