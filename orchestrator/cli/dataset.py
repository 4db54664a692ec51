"""`nag dataset`: check and merge data sets; and what `nag export --dataset` prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from profiling.dataset.manifest import Manifest

app = typer.Typer(help="Data sets of latencies, as `nag export RUN --dataset DIR` writes them.", no_args_is_help=True)


def export_set(run: Path, out: Path, *, license: str, as_json: bool) -> None:
    """`nag export RUN --dataset DIR`."""
    from orchestrator.dataset.export import export_dataset

    _print_written(export_dataset(run, out, license=license), out, as_json)


def _print_written(manifest: Manifest, out: Path, as_json: bool) -> None:
    """What was written; on standard error what its reader should know."""
    if as_json:
        print(json.dumps(manifest.to_json(), indent=2))
    else:
        devices = len(manifest.files)
        print(f"{manifest.rows:,} rows of {devices} device{'s' if devices != 1 else ''} in {out}")
    for source in manifest.sources:
        if source.missing_count:
            print(
                f"partial: {source.missing_count:,} measurements of {source.name} have no result yet", file=sys.stderr
            )
    if manifest.license == "unknown":
        print("no licence was chosen: give one with --license before you share the set", file=sys.stderr)
