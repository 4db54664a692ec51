"""`nag dataset`: check and merge data sets; and what `nag export --dataset` prints."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.phones import JsonOption

if TYPE_CHECKING:
    from profiling.dataset.manifest import Manifest
    from profiling.dataset.quality import DeviceQuality
    from profiling.dataset.validate import Report

DOUBTFUL = 1
PARTIAL = 3
_SHOWN = 20  # findings printed one by one

app = typer.Typer(help="Data sets of latencies, as `nag export RUN --dataset DIR` writes them.", no_args_is_help=True)
LicenseOption = Annotated[str, typer.Option(help="As the Hugging Face hub spells it: cc-by-4.0, apache-2.0, ...")]


def export_set(run: Path, out: Path, *, license: str, as_json: bool) -> None:
    """`nag export RUN --dataset DIR`."""
    from orchestrator.dataset.export import export_dataset

    with _rows_so_far("written") as progress:
        manifest = export_dataset(run, out, license=license, progress=progress)
    _print_written(manifest, out, as_json)


@app.command()
def validate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The set.", show_default=False)],
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check every file and row of a set, and say how good its measurements are.

    Exit codes: 0 right (warnings are printed); 1 something is wrong in it; 2 no set, or of an unknown version; 3 right,
    but a part is missing.
    """
    from profiling.dataset.validate import Validator

    with _translated(), _rows_so_far("looked at") as progress:
        report = Validator(folder).run(progress)
    if as_json:
        print(json.dumps({"dataset": str(folder), **report.to_json()}, indent=2))
    else:
        _print_quality(report.devices)
        _print_findings(report)
    wrong = report.counts["error"] + (report.counts["warning"] if strict else 0)
    if wrong or report.counts["missing"]:
        raise typer.Exit(DOUBTFUL if wrong else PARTIAL)


@app.command()
def merge(
    out: Annotated[Path, typer.Argument(help="The merged set: a new or empty folder.", show_default=False)],
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="The sets.", show_default=False)],
    name: Annotated[str, typer.Option(help="Of the merged set; theirs by default.")] = "",
    license: LicenseOption = "",
    as_json: JsonOption = False,
) -> None:
    """Join several labs' sets. Rows keep their source; the same measurement, come two ways, is taken once.

    Of two exports of one run, name the newer one first: its results stay. Labs salt their hashes of serials: one phone
    that two labs measured has two hashes, and nothing can tell that it is one.
    """
    from profiling.dataset.merge import merge as merge_sets

    with _translated():
        manifest, merged = merge_sets(out, folders, name=name, license=license)
    if as_json:
        print(json.dumps({**merged.to_json(), "manifest": manifest.to_json()}, indent=2))
        return
    _print_written(manifest, out, as_json=False)
    for count, why in (
        (merged.repeated, "were there already"),
        (merged.superseded, "are older results of the same run"),
    ):
        if count:
            print(f"{count:,} rows left out: they {why}")


@contextmanager
def _translated() -> Iterator[None]:
    from orchestrator.errors import DataError
    from profiling.dataset.errors import DatasetError

    try:
        yield
    except DatasetError as error:
        raise DataError(error.message, error.hint) from error


@contextmanager
def _rows_so_far(done: str) -> Iterator[Callable[[int], None]]:
    """A counter on a terminal; nothing elsewhere, for 100,000 rows take about a minute."""
    from rich.console import Console

    with Console(stderr=True).status("reading") as status:
        yield lambda rows: status.update(f"{rows:,} rows {done}")


def _print_written(manifest: Manifest, out: Path, as_json: bool) -> None:
    """What was written; on standard error what its reader should know."""
    if as_json:
        print(json.dumps(manifest.to_json(), indent=2))
    else:
        devices = len(manifest.files)
        print(f"{_rows(manifest.rows)} of {devices} device{'s' if devices != 1 else ''} in {out}")
    for source in manifest.sources:
        if source.missing_count:
            print(
                f"partial: {source.missing_count:,} measurements of {source.name} have no result yet", file=sys.stderr
            )
    if manifest.license == "unknown":
        print("no licence was chosen: give one with --license before you share the set", file=sys.stderr)


def _print_quality(devices: tuple[DeviceQuality, ...]) -> None:
    from rich.table import Table

    from orchestrator.cli.console import output
    from orchestrator.report import readable

    table = Table(box=None, pad_edge=False)
    table.add_column("device", overflow="fold")
    for heading in ("rows", "measured", "failures", "grades", "median ±", "drift", "rejected blocks", "between phones"):
        table.add_column(heading, justify="right" if heading in ("rows", "measured", "median ±", "drift") else "left")
    for device in devices:
        spread = device.phone_spread
        rejected = sum(device.rejected.values())
        table.add_row(
            device.device,
            f"{device.rows:,}",
            f"{device.measured:,}",
            _counted(device.failures),
            _counted(device.grades),
            readable.percent(device.median_half_width_ratio, 2),
            str(device.drift_suspects or readable.NONE),
            f"{rejected:,} of {device.blocks:,}" + (f" ({_counted(device.rejected)})" if rejected else ""),
            readable.NONE
            if spread is None
            else f"{readable.percent(spread.sd_log, 2)} ({spread.overlaps:,} models on {device.phones} phones)",
        )
    output().print(table)


def _print_findings(report: Report) -> None:
    """Errors and what is missing, each with its place; warnings by column, for they may be as many as rows."""
    serious = [finding for finding in report.findings if finding.severity != "warning"]
    for finding in serious[:_SHOWN]:
        print(finding)
    if (more := report.counts["error"] + report.counts["missing"] - min(len(serious), _SHOWN)) > 0:
        print(f"... and {more:,} more; --json has the first of them")
    warnings = Counter((finding.file, finding.column) for finding in report.findings if finding.severity == "warning")
    for (file, column), count in warnings.items():
        first = next(f for f in report.findings if (f.severity, f.file, f.column) == ("warning", file, column))
        print(first if count == 1 else f"{first}; and {count - 1:,} more like it")
    found = ", ".join(f"{count:,} {kind}{'s' if count != 1 else ''}" for kind, count in report.counts.items() if count)
    print(f"{_rows(report.rows)}: {found.replace('missings', 'missing') or 'all of them right'}")


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "–"
