"""`nag train latency`: what many devices have in common, so that a new one is known from few measurements."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.phones import JsonOption


def latency(
    space: Annotated[str | None, typer.Option(help="Search space, e.g. nasbench201.", show_default=False)] = None,
    models: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Instead of a space: the .tflite files in this folder.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="One row an architecture or file (column arch), one column a device, in milliseconds."),
    ] = None,
    devices: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Columns of --table to learn from; default: all of them.")
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--latency",
            metavar="FILE:COLUMN|lut:FILE[@WIDTH]|RUN",
            help="Another device: a column of another table, or a block table; with --models all devices of a run of "
            "`nag collect`, or of a data set. Repeatable.",
        ),
    ] = None,
    synthetic: Annotated[
        int | None,
        typer.Option(
            min=0, max=500, help="Made-up devices to add, where measured ones are few.", show_default="0; of models 16"
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=100, help="Architectures that made-up devices and block tables are asked for.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of made-up devices and drawn architectures.")] = 0,
    out: Annotated[Path | None, typer.Option(help="File to write; default: latency_SPACE.safetensors.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Accepted; training takes seconds, so it simply starts over.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Learn from measurements on many devices what to expect of a new one; `nag adapt` goes on from there."""
    import json

    from orchestrator.cli.adapt_models import MADE_UP
    from orchestrator.cli.train_models import train_models
    from orchestrator.errors import ConfigError, Problem
    from orchestrator.predict.latency.checkpoint import save_prior
    from orchestrator.predict.latency.prior import fit_prior
    from orchestrator.predict.latency.sources import gather_sources
    from orchestrator.predict.latency.structures import structures_of
    from orchestrator.space.registry import parse_space

    names = None if devices is None else [name.strip() for name in devices.split(",") if name.strip()]
    if (space is None) == (models is None):
        raise ConfigError("nag train latency", [Problem("--space/--models", (space, models), "one of them")])
    if resume:
        print("training takes seconds: it starts over", file=sys.stderr)
    if models is not None:
        made_up = MADE_UP if synthetic is None else synthetic
        train_models(models, table, names, sources or [], made_up, seed, out, as_json=as_json)
        return
    assert space is not None
    synthetic = synthetic or 0
    chosen = parse_space(space)
    if devices is not None and table is None:
        raise ConfigError("nag train latency", [Problem("--devices", devices, "columns of a --table")])
    if not (table or sources or synthetic):
        raise ConfigError("nag train latency", [Problem("--table", None, "a table, --latency or --synthetic")])
    started = time.perf_counter()
    tables = gather_sources(
        chosen, table, names, sources or [], synthetic=synthetic, draws=draws, seed=seed,
        progress=lambda text: print(text, file=sys.stderr, flush=True),
    )  # fmt: skip

    def show(device: str, done: int, count: int) -> None:
        if device:
            print(f"device {done + 1}/{count}: {device}, {len(tables[device][1]):,} architectures", file=sys.stderr)

    prior = fit_prior(
        structures_of(chosen), tables, provenance=_provenance(table, sources or [], synthetic, seed), progress=show
    )
    target = out or Path(f"latency_{chosen.name}.safetensors")
    save_prior(target, chosen, prior)
    structures = structures_of(chosen)
    found = [
        {
            "device": device,
            "family": prior.families[row],
            "structure": structures.names[prior.structures[row]],
            "median_ms": float(prior.medians_ms[row]),
            "residual_sd": float(prior.spreads[row]),
        }
        for row, device in enumerate(prior.devices)
    ]
    values = {
        "checkpoint": str(target),
        "seconds": round(time.perf_counter() - started, 2),
        "amounts": len(prior.amounts_of),
        "devices": found,
    }
    if as_json:
        print(json.dumps(values, indent=2))
        return
    print(f"{target}: {len(prior.devices)} devices, {len(prior.amounts_of)} prices each")
    print(f"{'device':24} {'median ms':>10} {'residual':>9}  pays for")
    for row, device in enumerate(prior.devices):
        pays_for = structures.names[prior.structures[row]]
        print(f"{device:24} {prior.medians_ms[row]:10.3f} {prior.spreads[row]:9.1%}  {pays_for}")


def _provenance(table: Path | None, sources: list[str], synthetic: int, seed: int) -> dict[str, object]:
    """Where a prior came from, without folders."""
    return {
        "table": table.name if table else None,
        "latency": [f"lut:{Path(text[4:]).name}" if text.startswith("lut:") else Path(text).name for text in sources],
        "synthetic": synthetic,
        "seed": seed,
    }
