"""What a campaign looks like while it runs: a live view on a terminal, plain lines elsewhere. Both on stderr."""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from orchestrator.campaign.config import ACCURACY, Config
from orchestrator.campaign.events import (
    AccuracyDone,
    BlockDone,
    Event,
    Finished,
    LatencyDone,
    Proposed,
    Proposing,
    RoundDone,
    Settling,
    Started,
    Verifying,
    WarmStarted,
)
from orchestrator.campaign.state import CampaignState
from orchestrator.cli.summary import front_table
from orchestrator.cli.view import View
from profiling.records import Failure, Measurement

_LINES = 8  # recent results shown below the bar
_REFRESH_PER_SECOND = 4  # drawing costs processor time that the host device would rather have


def make_view(config: Config, folder: Path) -> View[Event]:
    """A live view where standard error is a terminal, plain lines otherwise."""
    console = Console(stderr=True)
    return LiveView(console, config, folder) if console.is_terminal else PlainView(console)


def line(event: Event) -> str | None:
    """An event as one line; None for those too small to tell."""
    match event:
        case Started(state, resumed):
            begun = f"continuing with {len(state.candidates)} candidates" if resumed else "starting"
            prior = state.config.accuracy_prior
            told = f", accuracies predicted by {prior.checkpoint}" if prior else ""
            return f"{state.config.name}: {begun}, budget {state.config.budget.candidates}{told}"
        case WarmStarted(verdicts):
            return "\n".join(f"warm start: {each}" for each in verdicts)
        case Proposing(index):
            return f"round {index}: proposing"
        case Proposed(index, candidates, seconds):
            return f"round {index}: {len(candidates)} candidates proposed in {seconds:.1f} s"
        case LatencyDone(candidate, device, Failure(kind, code, detail)):
            return f"candidate {candidate}: no latency on {device} ({kind}: {code}): {detail}"
        case LatencyDone(candidate, device, Measurement() as measurement):
            half = 100 * measurement.half_width
            spread = f" ± {half:.1f} %" if 0 < half < 1000 else ""
            used = sum(block.status == "ok" for block in measurement.blocks)
            return (
                f"candidate {candidate}: {measurement.latency_ms:.3f} ms{spread} on {device} "
                f"({used} blocks, grade {measurement.grade})"
            )
        case AccuracyDone(candidate, Failure(kind, code, detail)):
            return f"candidate {candidate}: no accuracy ({kind}: {code}): {detail}"
        case AccuracyDone(candidate, accuracy, unit):
            return f"candidate {candidate}: accuracy {accuracy:.2f}{unit}"
        case RoundDone(index, state):
            return f"round {index}: done, {_standing(state)}"
        case Settling(count):
            return f"measuring on {count} latencies that matter to the front"
        case Verifying(candidates):
            return f"verifying {len(candidates)} winners"
        case Finished(state, reason):
            return f"finished: {reason}; {_standing(state)}"
    return None


def _standing(state: CampaignState) -> str:
    """Counts and the best so far."""
    counts = state.counts
    text = f"{counts['measured']} measured, {counts['failed']} failed"
    if state.goal.minimize and len(state.progress):
        text += f", hypervolume {state.progress[-1]:.4g}, {len(state.front)} on the front"
    elif state.front:
        text += f", best {state.front[0].metrics[ACCURACY].value:.2f}{state.config.accuracy_unit}"
    return text


class PlainView:
    """One line an event."""

    def __init__(self, console: Console) -> None:
        """Args:
        console: Where to write.
        """
        self._console = console

    def __call__(self, event: Event) -> None:
        """Print the event's line."""
        text = line(event)
        if text is not None:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Nothing to leave."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class LiveView:
    """A bar, what happens now, the last results, and the front so far."""

    def __init__(self, console: Console, config: Config, folder: Path) -> None:
        """Args:
        console: A terminal.
        config: The campaign shown.
        folder: Its run folder.
        """
        self._lock = threading.Lock()
        self._state: CampaignState | None = None
        self._now = "starting"
        self._blocks: dict[tuple[int, str], int] = {}
        self._recent: deque[str] = deque(maxlen=_LINES)
        self._title = Text.assemble((config.name, "bold"), f"  {folder}", style="")
        self._progress = Progress(
            TextColumn("candidates"), BarColumn(bar_width=40), MofNCompleteColumn(), TimeElapsedColumn()
        )
        self._bar = self._progress.add_task("candidates", total=config.budget.candidates)
        self._wanted: dict[int, int] = {}
        self._per_candidate = len(config.parsed_goal().metrics)
        self._live = Live(
            console=console, refresh_per_second=_REFRESH_PER_SECOND, get_renderable=self._render, transient=True
        )

    def __call__(self, event: Event) -> None:
        """Take the event into the picture."""
        with self._lock:
            match event:
                case Started(state, _) | RoundDone(_, state) | Finished(state, _):
                    self._state = state
                    self._progress.update(self._bar, completed=state.counts["measured"] + state.counts["failed"])
                case Proposing(index):
                    self._now = f"round {index}: fitting predictors, generating, choosing"
                case Proposed(index, candidates, _):
                    self._now = f"round {index}: evaluating {len(candidates)} candidates"
                case BlockDone(candidate, device, _):
                    self._blocks[candidate, device] = self._blocks.get((candidate, device), 0) + 1
                case LatencyDone(candidate, device, _):
                    self._blocks.pop((candidate, device), None)
                    self._arrived(candidate)
                case AccuracyDone(candidate, _):
                    self._arrived(candidate)
                case Settling(count):
                    self._now = f"measuring on {count} latencies that matter to the front"
                case Verifying(candidates):
                    self._now = f"verifying {len(candidates)} winners with their trained weights"
            text = line(event)
            if text is not None:
                self._recent.append(f"{time.strftime('%H:%M:%S')}  {text}")

    def _arrived(self, candidate: int) -> None:
        """Advance the bar when a candidate's last result is there."""
        self._wanted[candidate] = self._wanted.get(candidate, 0) + 1
        if self._wanted[candidate] == self._per_candidate:
            self._progress.advance(self._bar)

    def _render(self) -> RenderableType:
        with self._lock:
            parts: list[RenderableType] = [self._title, self._progress, Text(self._now, style="cyan")]
            for (candidate, device), count in self._blocks.items():
                parts.append(Text(f"  measuring candidate {candidate} on {device}: block {count}", style="dim"))
            parts += [Text(text, style="dim", no_wrap=True, overflow="ellipsis") for text in self._recent]
            if self._state is not None and self._state.front:
                parts += [Text("front so far", style="bold"), front_table(self._state, limit=6)]
            return Group(*parts)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        self._live.stop()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
