"""`nag collect`, and `nag status` of a collection."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.progress import INTERRUPTED, interruptible

PARTIAL = 3
LOG = "collect.log"
_LOG_BYTES = 5_000_000  # then a new one is begun; the one before is kept


def collect(
    config: Annotated[Path, typer.Argument(help="The collection's configuration (YAML).", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Run folder; default: runs/<name>.", show_default=False)] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Override a field, e.g. models.count=100. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Measure many models on many devices, for a data set. The same command goes on after any interruption.

    Look from another terminal with nag status; the page of nag report is written at the end. Exit code 3: it ended,
    but some models or measurements are missing.
    """
    from orchestrator.cli.collect_view import make_view
    from orchestrator.collect.collector import collect as run
    from orchestrator.collect.config import load_collection
    from orchestrator.collect.status import status_of

    parsed = load_collection(config, overrides or [])
    folder = out or Path("runs") / parsed.name
    with make_view(parsed.name, folder) as view, interruptible(folder), _log_to(folder / LOG):
        try:
            run(parsed, folder, view)
        except KeyboardInterrupt:
            view.stop()
            again = shlex.join(
                ["nag", "collect", str(config)]
                + (["--out", str(out)] if out else [])
                + [word for override in overrides or [] for word in ("--set", override)]
            )
            print(f"interrupted; everything measured is saved. Go on with:\n  {again}", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
    from orchestrator.report.collection_page import write_collection_report

    page = write_collection_report(folder)
    show_status(folder, as_json=as_json)
    if not as_json:
        print(f"\nreport   {page}")
    if not status_of(folder).complete:
        raise typer.Exit(PARTIAL)


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """What devices' errors say in full goes to a file: in weeks there are many, and the terminal shows the results."""
    logger = logging.getLogger("device_agent")
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, delay=True, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)
    before, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = before
        logger.removeHandler(handler)
        handler.close()


def is_collection(run: Path) -> bool:
    """Whether a run folder holds a collection."""
    from orchestrator.collect.store import STORE

    return (run / STORE).is_file()


def show_status(run: Path, *, as_json: bool) -> None:
    """Print how far a collection is."""
    from orchestrator.collect.status import status_of

    status = status_of(run)
    if as_json:
        print(json.dumps(status.to_json(), indent=2))
        return
    from orchestrator.cli.collect_view import print_status

    print_status(run, status)
