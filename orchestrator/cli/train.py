"""`nag train`: models that the search is guided by."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.progress import interrupt, training_progress
from orchestrator.cli.train_accuracy import accuracy
from orchestrator.cli.train_dinas import dinas
from orchestrator.cli.train_latency import latency

if TYPE_CHECKING:
    from orchestrator.generate.diffusion_nag.training_set import TrainingSet
    from orchestrator.space.base import FloatArray, IntArray, Space

INTERRUPTED = 130

app = typer.Typer(help="Train the models that guide the search.", no_args_is_help=True)
app.command()(accuracy)
app.command()(dinas)
app.command()(latency)


@app.command()
def score(
    space: Annotated[str, typer.Option(help="Search space, e.g. nasbench201.", show_default=False)],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 10_000,
    batch: Annotated[int, typer.Option(min=1, help="Architectures a step.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="All randomness derives from it.")] = 0,
    holdout: Annotated[
        float,
        typer.Option(min=0.0, max=0.99, help="Random share of the space kept out, so that novelty has a meaning."),
    ] = 0.5,
    draws: Annotated[int, typer.Option(min=1, help="Training set of a space too large to be listed.")] = 200_000,
    architectures: Annotated[
        str | None,
        typer.Option(
            metavar="FILE[:COLUMN]",
            help="Train on these instead: a text file with one architecture a line, or a table and the column that "
            "says how often each is drawn.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Checkpoint to write; default: SPACE.safetensors.")] = None,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between savings of an unfinished training.")] = 500,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished training.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Train the score network of a space, and sample from it once."""
    import json

    import torch

    from orchestrator.errors import ConfigError, Problem
    from orchestrator.generate.base import Request
    from orchestrator.generate.diffusion_nag.generator import DiffusionNAG
    from orchestrator.generate.diffusion_nag.train import TrainConfig, train_score
    from orchestrator.generate.training import state_file
    from orchestrator.space.registry import parse_space

    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        allowed = "cpu or cuda" if torch.cuda.is_available() else "cpu (this torch sees no CUDA device)"
        raise ConfigError("nag train score", [Problem("--device", device, allowed)])
    chosen = parse_space(space)
    slots, described, weights = _training_set(chosen, architectures, holdout, draws, seed)
    target = out or Path(f"{chosen.name}.safetensors")
    config = TrainConfig(steps=steps, batch=batch, seed=seed, save_every=save_every)
    print(f"training on {len(slots):,} architectures ({described.kind}), seed {seed}", file=sys.stderr)
    if resume and not state_file(target).exists():
        print(f"nothing to resume at {state_file(target)}: starting at step 0", file=sys.stderr)
    with training_progress(steps, "score network") as show, interrupt() as stopped:
        reached = train_score(
            chosen, slots, described, config, target,
            weights=weights, resume=resume, device=device, progress=show, stop=stopped,
            provenance={"command": _command(space, steps, batch, seed, holdout, architectures)},
        )  # fmt: skip
    if reached.step < steps:
        print(f"stopped at step {reached.step}: the same command with --resume goes on", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    quality = DiffusionNAG(chosen, checkpoint=target).propose(Request(count=1000))
    values = {
        "checkpoint": str(target),
        "steps": reached.step,
        "loss": reached.loss,
        "seconds": round(reached.seconds, 1),
        "cpu_seconds": round(reached.cpu_seconds, 1),
        "validity_unprojected": quality.validity_unprojected,
        "uniqueness": quality.uniqueness,
        "novelty": quality.novelty,
    }
    if as_json:
        print(json.dumps(values, indent=2))
    else:
        for name, value in values.items():
            print(f"{name:22} {value:.4f}" if isinstance(value, float) else f"{name:22} {value}")


def _training_set(
    space: Space, source: str | None, holdout: float, draws: int, seed: int
) -> tuple[IntArray, TrainingSet, FloatArray | None]:
    """Architectures, their description, and how often each is drawn. Raises DataError, IllegalArchitecture."""
    import numpy as np

    from orchestrator.errors import DataError
    from orchestrator.generate.diffusion_nag.training_set import from_file, random_share, uniform_draws
    from orchestrator.generate.pool import enumerate_space
    from orchestrator.generate.table_guide import read_column, split_column

    if source is None:
        if enumerate_space(space) is None:
            return *uniform_draws(space, draws, seed), None
        return *random_share(space, 1 - holdout, seed), None
    path, column = split_column(source)
    if column is None:
        try:
            texts = [line for line in path.read_text().splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path}: cannot be read: {error}", "give a text file with one architecture a line"
            ) from error
        weights = None
    else:
        values = read_column(path, column, at_least=0.0)
        texts, weights = list(values), np.array(list(values.values()))
    slots = np.array([space.parse(text).slots for text in texts], dtype=np.int64).reshape(-1, len(space.choices))
    if not len(slots) or (weights is not None and not weights.any()):
        raise DataError(f"{source}: nothing to train on", "give at least one architecture with a weight above 0")
    return slots, from_file(slots, path.name), weights


def _command(space: str, steps: int, batch: int, seed: int, holdout: float, architectures: str | None) -> str:
    """The command that would train this checkpoint again."""
    data = f"--holdout {holdout:g}" if architectures is None else f"--architectures {Path(architectures).name}"
    return f"nag train score --space {space} --steps {steps} --batch {batch} --seed {seed} {data}"
