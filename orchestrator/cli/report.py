"""`nag report` and `nag export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunArgument = Annotated[Path, typer.Argument(help="The run folder.", show_default=False)]


def report(run: RunArgument) -> None:
    """Write RUN/report.html: one page that needs nothing but itself. Works while the campaign runs, too."""
    from orchestrator.report.page import write_report

    print(write_report(run))


def export(
    run: RunArgument,
    out: Annotated[
        Path, typer.Option("--out", help="Where to: a new or empty folder, or an earlier export.", show_default=False)
    ],
    candidates: Annotated[
        list[int] | None,
        typer.Option("--candidate", metavar="ID", help="Export this candidate instead of the winners. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest on standard output.")] = False,
) -> None:
    """Write the winners: .tflite with trained weights, manifests, and the Pareto table as CSV and Parquet."""
    import json

    from orchestrator.report.export import export_run

    manifest = export_run(run, out, candidates=candidates or None)
    if as_json:
        print(json.dumps(manifest.to_json(), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    from orchestrator.report import readable

    table = Table(box=None, pad_edge=False)
    for heading in ("file", "weights", "accuracy", "latency"):
        table.add_column(heading, no_wrap=True)
    for winner in manifest.winners:
        latencies = [f"{device} {readable.number(entry.latency_ms)} ms" for device, entry in winner.latency.items()]
        accuracy = readable.number(winner.accuracy["value"]) if winner.accuracy else readable.NONE
        table.add_row(winner.artifact.file, winner.weights, accuracy, ", ".join(latencies))
    console = Console()
    console.print(table)
    console.print(f"\n{len(manifest.files) + 1} files in {out}", soft_wrap=True, highlight=False)
    if any(winner.weights == "random" for winner in manifest.winners):
        console.print("random weights: the accuracy objective of this run keeps none; train before use")
