"""`nag nightly`."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.phones import JsonOption
from orchestrator.cli.progress import INTERRUPTED, interruptible

if TYPE_CHECKING:
    from orchestrator.collect.config import CollectConfig
    from orchestrator.collect.events import Listener
    from orchestrator.nightly.result import NightResult
    from profiling.compare import Effect


def nightly(
    config: Annotated[Path, typer.Argument(help="The night's configuration (YAML).", show_default=False)],
    baseline: Annotated[
        list[Path] | None,
        typer.Option(
            help="Run folder to compare with: an earlier night or collection. Repeatable.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default: runs/<name>/<date and time>.", show_default=False)
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Override a field, e.g. passes.night=3. Repeatable."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a fixed set of models on every phone, and compare with a baseline, phone by phone.

    Writes report.html, junit.xml, result.json and nightly.prom into the run folder. Exit code 1: a regression;
    3: a phone or a result is missing; 0: neither. Without a baseline, the night can be the baseline of others.
    """
    from orchestrator.nightly.config import load_nightly
    from orchestrator.nightly.run import run_night
    from orchestrator.nightly.write import write_night

    parsed = load_nightly(config, overrides or [])
    folder = out or Path("runs") / parsed.name / time.strftime("%Y-%m-%d-%H%M%S", time.gmtime())
    baselines = baseline or list(parsed.baseline)
    with interruptible(folder):
        try:
            result = run_night(parsed, folder, baselines, _view, _campaign_event)
        except KeyboardInterrupt:
            words = ["nag", "nightly", str(config), "--out", str(folder)]
            words += [word for path in baseline or [] for word in ("--baseline", str(path))]
            words += [word for override in overrides or [] for word in ("--set", override)]
            print(f"interrupted; everything measured is saved. Go on with:\n  {shlex.join(words)}", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
    files = write_night(result, folder)
    if as_json:
        print(json.dumps(result.to_json(), indent=2))
    else:
        _print(result, files, config)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


@contextmanager
def _view(title: str, config: CollectConfig, folder: Path) -> Iterator[Listener]:
    from orchestrator.cli.collect_view import make_view

    print(title, file=sys.stderr, flush=True)
    with make_view(config.name, folder) as view:
        yield view


def _campaign_event(event: object) -> None:
    from orchestrator.campaign.events import Event
    from orchestrator.cli.watch import line

    if isinstance(event, Event) and (text := line(event)):
        print(text, file=sys.stderr, flush=True)


def _print(result: NightResult, files: dict[str, Path], config: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    from orchestrator.cli.console import output
    from orchestrator.nightly.page import verdict_text
    from orchestrator.nightly.result import ALARMS, INCOMPLETE

    console = output(highlight=False)
    style = {0: "bold green", 1: "bold red"}.get(result.exit_code, "bold yellow")
    console.print(Text(f"{result.name}: {verdict_text(result)}", style=style), soft_wrap=True)
    for alarm in result.alarms:
        console.print(Text(f"  {alarm}", style="red"), soft_wrap=True)
    for note in result.notes:
        console.print(Text(f"  note: {note}", style="yellow"), soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for heading in ("phone", "as a whole, 95 %", "models", "slower", "missing", "finds from"):
        table.add_column(heading, no_wrap=heading != "phone", overflow="fold")
    for phone in result.phones:
        table.add_row(
            Text(f"{phone.device.name}, {phone.setting}"),
            Text(_shift_text(phone.shift) if phone.shift else phone.status),
            str(len(phone.models)),
            str(sum(model.status in ALARMS for model in phone.models)),
            str(sum(model.status in INCOMPLETE for model in phone.models) + phone.passes_missed),
            f"{phone.detectable - 1:.1%}" if phone.detectable else "",
        )
    console.print(table)
    console.print()
    for what, path in files.items():
        console.print(Text(f"{what:<11}{path}"), soft_wrap=True)
    if not result.baseline:
        words = ["nag", "nightly", str(config), "--baseline", result.run]
        console.print(Text(f"next night: {shlex.join(words)}"), soft_wrap=True)


def is_night(run: Path) -> bool:
    """Whether a run folder holds a night."""
    from orchestrator.nightly.night import NIGHT

    return (run / NIGHT).is_file()


def show_night(run: Path, *, as_json: bool) -> None:
    """Print how far a night is."""
    from orchestrator.cli.collect import is_collection
    from orchestrator.collect.status import status_of
    from orchestrator.folder_lock import is_busy
    from orchestrator.nightly.night import read_night
    from orchestrator.nightly.write import RESULT

    night = read_night(run)
    state = "running" if is_busy(run) else "finished" if (run / RESULT).is_file() else "interrupted"
    passes = {part: status_of(run / part) for part in night.passes if is_collection(run / part)}
    if as_json:
        values = {
            "name": night.name,
            "kind": "night",
            "state": state,
            "started_at": night.started_at,
            "passes": [{"folder": part, **status.to_json()} for part, status in passes.items()],
            "campaigns": night.campaigns,
        }
        print(json.dumps(values, indent=2))
        return
    from orchestrator.cli.collect_view import summary

    print(f"{night.name}: {state}, night of {time.strftime('%Y-%m-%d %H:%M', time.gmtime(night.started_at))} UTC")
    for part, status in passes.items():
        print(f"{part:<12}{status.state}, {summary(status)}")
    for name, folder in night.campaigns.items():
        print(f"campaign {name}: nag status {run / folder}")
    if state == "finished":
        print(f"page        {run / 'report.html'}")


def _shift_text(shift: Effect) -> str:
    """With its interval, always: without, a difference that may be none looks like one."""
    return f"{shift.ratio - 1:+.1%} [{shift.low - 1:+.1%}, {shift.high - 1:+.1%}]"
