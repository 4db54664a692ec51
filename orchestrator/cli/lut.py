"""`nag lut`: block latency tables of one's own devices."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.phones import AdbPortOption, JsonOption

if TYPE_CHECKING:
    from orchestrator.lut.items import Target
    from orchestrator.lut.passes import Progress
    from orchestrator.lut.result import LutResult

INTERRUPTED = 130
MISSED = 1
_LINE_S = 15.0  # between two lines of progress where there is no terminal

app = typer.Typer(help="Block latency tables: a network's latency as the sum of its blocks'.", no_args_is_help=True)


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="The table: FILE.csv; FILE.json beside it says how it came about.")],
    space: Annotated[str, typer.Option(help="Search space; mobilenetv3 has blocks that add up.")] = "mobilenetv3",
    device: Annotated[str, typer.Option(help="host, the adb serial of a phone, or virtual:N.")] = "host",
    width: Annotated[float, typer.Option(min=0.1, max=4.0, help="Multiplier of the networks' channels.")] = 1.0,
    resolution: Annotated[str, typer.Option(metavar="R[,R...]", help="Height and width of the input.")] = "224",
    classes: Annotated[int, typer.Option(min=2, max=100_000, help="Outputs of the classifier.")] = 1000,
    validate: Annotated[
        int, typer.Option(min=0, max=1000, help="Whole networks to measure: half calibrate the table, half test it.")
    ] = 20,
    min_spearman: Annotated[
        float, typer.Option(min=-1.0, max=1.0, help="Exit code 1 if networks are ranked worse than this.")
    ] = 0.9,
    min_within_10: Annotated[
        float, typer.Option(min=0.0, max=100.0, help="Exit code 1 if fewer percent of them are within 10 %.")
    ] = 80.0,
    blocks: Annotated[str, typer.Option(metavar="MIN,MAX", help="Processes that measure one part.")] = "3,8",
    target: Annotated[float, typer.Option(min=0.001, max=0.4, help="Relative half-width to aim at.")] = 0.03,
    block_seconds: Annotated[float, typer.Option(min=0.01, max=60.0, help="Timed part of a process.")] = 0.15,
    threads: Annotated[int, typer.Option(min=1, help="Interpreter threads.")] = 1,
    delegate: Annotated[
        str, typer.Option(help="cpu (XNNPACK), none (built-in kernels); on phones also gpu, nnapi, external:PATH.")
    ] = "cpu",
    clock: Annotated[
        str, typer.Option(help="wall; or cpu, on a host that other programs use as well: time on the CPU, one thread.")
    ] = "wall",
    runner: Annotated[
        Path | None, typer.Option(help="benchmark_model to use on the phone instead of the one that was added.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the networks that validate, and of the order.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what was measured for this table.")] = False,
    adb_port: AdbPortOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure every block on a device, alone; calibrate and test their sums on whole networks; write the table.

    Each block is kept the moment it is measured: after any interruption, the same command with --resume goes on.
    """
    import json
    from dataclasses import replace

    from orchestrator.cli.measure import open_device
    from orchestrator.cli.progress import interrupt
    from orchestrator.errors import ConfigError, Problem
    from orchestrator.lut.build import DEFAULT_PLAN, BuildRequest, build_table
    from orchestrator.lut.items import Target
    from orchestrator.lut.result import FEWEST_NETWORKS

    problems = []
    if space != "mobilenetv3":
        problems.append(Problem("--space", space, "mobilenetv3"))
    if device.startswith("table:"):
        problems.append(Problem("--device", device, "host, an adb serial, or virtual:N: something that runs models"))
    if out.suffix != ".csv":
        problems.append(Problem("--out", str(out), "a name that ends in .csv"))
    if 0 < validate < FEWEST_NETWORKS:
        problems.append(Problem("--validate", validate, f"0, or at least {FEWEST_NETWORKS}"))
    sizes = _numbers(resolution)
    if not sizes or any(not 32 <= size <= 1024 for size in sizes):
        problems.append(Problem("--resolution", resolution, "R or R,R,... of 32 to 1024"))
    least_most = _numbers(blocks)
    if len(least_most) != 2 or not 1 <= least_most[0] <= least_most[1]:
        problems.append(Problem("--blocks", blocks, "MIN,MAX with 1 <= MIN <= MAX"))
    if clock not in ("wall", "cpu") or (clock == "cpu" and (device != "host" or threads > 1)):
        problems.append(Problem("--clock", clock, "wall; or cpu, with --device host and --threads 1"))
    journal = out.with_suffix(".journal.sqlite")
    if not resume and (found := next((file for file in (journal, out) if file.exists()), None)):
        problems.append(Problem("--out", str(found), "a new file, or --resume to go on with this one"))
    if problems:
        raise ConfigError("nag lut build", problems)

    networks = Target(width, tuple(sorted(set(sizes))), classes)
    plan = replace(
        DEFAULT_PLAN,
        min_blocks=least_most[0], max_blocks=least_most[1], target_half_width=target,
        block_seconds=block_seconds, threads=threads, delegate=delegate, clock="cpu" if clock == "cpu" else "wall",
    )  # fmt: skip
    request = BuildRequest(networks, validate, plan, seed)
    with open_device(device, runner=runner, adb_port=adb_port) as opened:
        for problem in opened.health():
            print(f"note: {problem}", file=sys.stderr)
        with _progress() as show, interrupt() as stopped:
            result = build_table(opened, request, journal, progress=show, stop=stopped)
    if result is None:
        print("stopped; what was measured is saved: the same command with --resume goes on", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    result.write(out)
    if as_json:
        print(json.dumps(result.to_json(), indent=2))
    else:
        _print(result, out)
    if missed := _missed(result, min_spearman, min_within_10):
        print(f"missed: {missed}", file=sys.stderr)
        raise typer.Exit(MISSED)


@app.command()
def show(
    path: Annotated[Path, typer.Argument(help="A table, FILE.csv or FILE.csv.gz.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Which networks a block table is for, and what they take; exit code 2 if it is for none."""
    import json

    from orchestrator.errors import DataError
    from orchestrator.lut.items import Target
    from orchestrator.predict.block_table import contents, read_block_latencies

    latencies = read_block_latencies(path)
    there = contents(latencies)
    if not there.widths or not there.classes:
        raise DataError(f"{path} is for no network: it has {there}", "see docs/block-tables.md for what it needs")
    rows = []
    for size in there.resolutions:
        for width in there.widths[:1]:  # others that fit have the same channels
            smallest, median, largest = _range(Target(width, (size,), there.classes[0]), latencies)
            rows.append({"resolution": size, "smallest_ms": smallest, "median_ms": median, "largest_ms": largest})
    if as_json:
        values = {"widths": there.widths, "classes": there.classes, "parts": len(latencies), "resolutions": rows}
        print(json.dumps(values, indent=2))
        return
    print(f"{len(latencies)} rows: {there}")
    print("resolution   smallest     median    largest network (ms)")
    for row in rows:
        print("{resolution:>10} {smallest_ms:>10.3f} {median_ms:>10.3f} {largest_ms:>10.3f}".format(**row))


def _range(target: Target, latencies: dict[tuple[int, str], float]) -> tuple[float, float, float]:
    """Latency of the smallest network, the median of random ones, and the largest, in ms. Raises DataError."""
    import numpy as np

    table = target.table(latencies)
    slots = target.space.sample(10_001, np.random.default_rng(0))
    lowest, highest = table.range
    return lowest, float(np.median(table.of(slots))), highest


def _numbers(text: str) -> list[int]:
    """`1,2` as numbers; empty if it is nothing of the kind."""
    words = text.split(",")
    return [int(word) for word in words] if all(word.strip().isdecimal() for word in words) else []


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, a line every few seconds elsewhere; both on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    def text(now: Progress) -> str:
        return f"{now.blocks} blocks, {now.seconds:.0f} s, about {now.seconds_left:.0f} s left"

    console = Console(stderr=True)
    if not console.is_terminal:
        last_s = -_LINE_S

        def line(now: Progress) -> None:
            nonlocal last_s
            if now.done == now.items or time.monotonic() - last_s >= _LINE_S:
                last_s = time.monotonic()
                print(f"{now.done} of {now.items} done, {text(now)}", file=sys.stderr, flush=True)

        yield line
        return
    with Bar(TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}")) as bar:
        task = bar.add_task("", total=None)
        yield lambda now: bar.update(task, completed=now.done, total=now.items, description=text(now))


def _print(result: LutResult, out: Path) -> None:
    """The table's quality, for people."""
    from orchestrator.lut.result import typical_half_width

    drift, calibration = result.drift, result.calibration
    parts = list(result.parts.values())
    print(f"{out}: {len(parts)} parts, measured to ±{100 * typical_half_width(parts):.1f} % (median)")
    spread = f", spread {100 * drift.sd_log:.1f} %" if drift.sd_log is not None else ""
    print(f"reference model: {drift.references} times{spread}, {drift.shifted} times out of line")
    if len(drift.levels_ms) > 1:
        levels = " -> ".join(f"{level:.3f} ms" for level in drift.levels_ms)
        print(f"  the device changed, for a while or for good: {levels}; the table is of the usual level")
    print(f"overhead of an invocation: {result.empty.latency_ms:.4f} ms")
    print(f"network = {calibration.offset_ms:.4f} ms + {calibration.scale:.4f} x sum of (part - overhead)")
    if not result.agreements:
        print("not validated: --validate 20 measures whole networks")
        return
    measured = list(result.networks.values())
    tested = [each.latency_ms for each in measured[1::2]]
    print(
        f"tested on {len(tested)} networks that fitted nothing, {min(tested):.3f} .. {max(tested):.3f} ms, "
        f"measured to ±{100 * typical_half_width(measured):.1f} %:"
    )
    print("                  spearman   within 5 %  within 10 %     bias")
    for name, found in result.agreements.items():
        print(
            f"{name.replace('_', ' '):16} {found.spearman:>9.3f} {found.within_5_percent:>10.0f} % "
            f"{found.within_10_percent:>10.0f} % {found.bias_percent:>+7.1f} %"
        )


def _missed(result: LutResult, min_spearman: float, min_within_10: float) -> str:
    """Which thresholds the calibrated table misses."""
    found = result.agreements.get("calibrated")
    if found is None:
        return ""
    missed = []
    if not found.spearman >= min_spearman:
        missed.append(f"rank correlation {found.spearman:.3f}, wanted {min_spearman:g}")
    if found.within_10_percent < min_within_10:
        missed.append(f"{found.within_10_percent:.0f} % of networks within 10 %, wanted {min_within_10:g} %")
    return "; ".join(missed)
