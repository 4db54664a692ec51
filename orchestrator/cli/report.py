"""`nag report` and `nag export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunArgument = Annotated[Path, typer.Argument(help="The run folder.", show_default=False)]


def report(run: RunArgument) -> None:
    """Write RUN/report.html of a campaign or a collection: one page that needs nothing but itself.

    Works while it runs, too.
    """
    from orchestrator.cli.collect import is_collection

    if is_collection(run):
        from orchestrator.report.collection_page import write_collection_report as write
    else:
        from orchestrator.report.page import write_report as write
    print(write(run))


def export(
    run: RunArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Winners to: a new or empty folder, or an earlier export.", show_default=False),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(
            "--dataset",
            metavar="DIR",
            help="Every latency as a Parquet data set with its card, to: a new or empty folder, or its earlier set.",
        ),
    ] = None,
    candidates: Annotated[
        list[int] | None,
        typer.Option("--candidate", metavar="ID", help="Export this candidate instead of the winners. Repeatable."),
    ] = None,
    license: Annotated[
        str, typer.Option(help="Of the data set, as the Hugging Face hub spells it: cc-by-4.0, apache-2.0, ...")
    ] = "unknown",
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest on standard output.")] = False,
) -> None:
    """Write the winners of a campaign (--out), or every latency of a campaign or collection as a data set (--dataset).

    Winners are .tflite files with trained weights, manifests, and the Pareto table as CSV and Parquet.
    """
    from orchestrator.errors import ConfigError, Problem

    if (out is None) == (dataset is None) or (dataset is not None and candidates):
        given = "--candidate with --dataset" if candidates else "both" if out else "neither"
        raise ConfigError(
            "nag export", [Problem("--out, --dataset", given, "one of them; --candidate goes with --out")]
        )
    if dataset is not None:
        from orchestrator.cli.dataset import export_set

        export_set(run, dataset, license=license, as_json=as_json)
    elif out is not None:
        _export_winners(run, out, candidates, as_json)


def _export_winners(run: Path, out: Path, candidates: list[int] | None, as_json: bool) -> None:
    import json

    from orchestrator.report.export import export_run

    manifest = export_run(run, out, candidates=candidates or None)
    if as_json:
        print(json.dumps(manifest.to_json(), indent=2))
        return
    from rich.table import Table

    from orchestrator.cli.console import output
    from orchestrator.report import readable

    table = Table(box=None, pad_edge=False)
    for heading in ("file", "weights", "accuracy", "latency"):
        table.add_column(heading, no_wrap=True)
    for winner in manifest.winners:
        latencies = [f"{device} {readable.number(entry.latency_ms)} ms" for device, entry in winner.latency.items()]
        accuracy = readable.number(winner.accuracy["value"]) if winner.accuracy else readable.NONE
        table.add_row(winner.artifact.file, winner.weights, accuracy, ", ".join(latencies))
    console = output()
    console.print(table)
    console.print(f"\n{len(manifest.files) + 1} files in {out}", soft_wrap=True, highlight=False)
    if any(winner.weights == "random" for winner in manifest.winners):
        console.print("random weights: the accuracy objective of this run keeps none; train before use")
