"""`nag run` and `nag status`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.progress import INTERRUPTED, interruptible

MISSED = 1

RunArgument = Annotated[Path, typer.Argument(help="The run folder.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def run(
    config: Annotated[Path, typer.Argument(help="The campaign's configuration (YAML).", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Run folder; default: runs/<name>.", show_default=False)] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Override a field, e.g. budget.candidates=32. Repeatable."),
    ] = None,
    warm_start: Annotated[
        list[Path] | None,
        typer.Option(
            "--warm-start", metavar="RUN", help="Begin with what an earlier run measured on these devices. Repeatable."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start a campaign, or continue the one in the run folder. The same command goes on after any interruption."""
    from orchestrator.campaign.config import load_config
    from orchestrator.cli.watch import make_view

    parsed = load_config(config, overrides or [])
    folder = out or Path("runs") / parsed.name
    with make_view(parsed, folder) as view, interruptible(folder):
        try:
            # Imported late: a wrong configuration is reported before the numerical libraries load.
            from orchestrator.campaign.devices import resolve
            from orchestrator.campaign.loop import run_campaign
            from orchestrator.track.trackers import tracked

            with tracked(parsed, folder, view) as listen:
                state = run_campaign(resolve(parsed, folder), folder, listen, warm_start or [])
        except KeyboardInterrupt:
            view.stop()
            again = _command(config, out, overrides, warm_start)
            print(f"interrupted; everything measured is saved. Go on with:\n  {again}", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None

    from orchestrator.report.page import write_report

    page = write_report(folder)
    if as_json:
        _print_json(folder)
    else:
        from orchestrator.cli.summary import print_summary

        print_summary(state, folder, page)
    if not state.front:
        raise typer.Exit(MISSED)


def status(run: RunArgument, as_json: JsonOption = False) -> None:
    """State of a campaign, a collection or a night, also while it runs."""
    from orchestrator.cli.collect import is_collection, show_status
    from orchestrator.cli.nightly import is_night, show_night

    if is_night(run):
        show_night(run, as_json=as_json)
        return
    if is_collection(run):
        show_status(run, as_json=as_json)
        return
    if as_json:
        _print_json(run)
        return
    from orchestrator.cli.summary import print_status

    print_status(run)


def _print_json(run: Path) -> None:
    import json

    from orchestrator.cli.summary import status_of

    print(json.dumps(status_of(run), indent=2))


def _command(config: Path, out: Path | None, overrides: list[str] | None, warm_start: list[Path] | None) -> str:
    import shlex

    words: list[Any] = ["nag", "run", config]
    words += ["--out", out] if out else []
    for override in overrides or []:
        words += ["--set", override]
    for run_folder in warm_start or []:
        words += ["--warm-start", run_folder]
    return shlex.join(str(word) for word in words)
