"""`nag train dinas`: a conditional model, for `--method dinas`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.progress import interrupt, training_progress

if TYPE_CHECKING:
    from orchestrator.generate.dinas.labels import Labels

INTERRUPTED = 130


def dinas(
    space: Annotated[str, typer.Option(help="Search space: nasbench201 or mobilenetv3.", show_default=False)],
    accuracy: Annotated[
        str,
        typer.Option(
            metavar="FILE:COLUMN|ofa:FILE",
            help="What is good: a table's column, or OFA's predictor.",
            show_default=False,
        ),
    ],
    latency: Annotated[
        list[str],
        typer.Option(
            metavar="FILE:COLUMN|lut:FILE[@WIDTH]",
            help="Milliseconds on a known device. Repeatable; other devices are made up around these.",
            show_default=False,
        ),
    ],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 5000,
    batch: Annotated[int, typer.Option(min=1, help="Architectures a step.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="All randomness derives from it.")] = 0,
    holdout: Annotated[
        float,
        typer.Option(min=0.0, max=0.99, help="Random share of the tables kept out, so that novelty has a meaning."),
    ] = 0.5,
    population: Annotated[
        int, typer.Option(min=1000, help="Architectures to learn from, where all labels are predicted.")
    ] = 40_000,
    references: Annotated[int, typer.Option(min=2, max=64, help="Architectures that a device is known by.")] = 10,
    out: Annotated[Path | None, typer.Option(help="Checkpoint to write; default: dinas_SPACE.safetensors.")] = None,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between savings of an unfinished training.")] = 500,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished training.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Train a conditional model: architectures of an accuracy and within latency budgets, on devices given later."""
    import json

    from orchestrator.generate.dinas.checkpoint import load_checkpoint
    from orchestrator.generate.dinas.labels import Labels
    from orchestrator.generate.dinas.network import NetworkConfig
    from orchestrator.generate.dinas.population import make_population
    from orchestrator.generate.dinas.train import TrainConfig, train_dinas
    from orchestrator.generate.training import state_file
    from orchestrator.space.registry import parse_space

    chosen = parse_space(space)
    target = out or Path(f"dinas_{chosen.name}.safetensors")
    labels = Labels.read(chosen, accuracy, latency)
    print("gathering architectures and their labels", file=sys.stderr)
    learned = make_population(chosen, labels, references=references, holdout=holdout, count=population, seed=seed)
    config = TrainConfig(
        steps=steps, batch=batch, seed=seed, save_every=save_every, network=NetworkConfig(references=references)
    )
    print(
        f"training on {len(learned.slots):,} architectures, {len(labels.latencies)} known devices, seed {seed}",
        file=sys.stderr,
    )
    if resume and not state_file(target).exists():
        print(f"nothing to resume at {state_file(target)}: starting at step 0", file=sys.stderr)
    with training_progress(steps, "conditional model") as show, interrupt() as stopped:
        reached = train_dinas(
            chosen, labels, learned, config, target, resume=resume, progress=show, stop=stopped,
            provenance={"command": _command(space, labels, steps, batch, seed, holdout, population, references)},
        )  # fmt: skip
    if reached.step < steps:
        print(f"stopped at step {reached.step}: the same command with --resume goes on", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    checkpoint = load_checkpoint(target, chosen)
    values = {
        "checkpoint": str(target),
        "steps": reached.step,
        "loss": reached.loss,
        "seconds": round(reached.seconds, 1),
        "cpu_seconds": round(reached.cpu_seconds, 1),
        "margin": checkpoint.calibration.margin,
        "within_budget": list(checkpoint.calibration.kept),
        "references": [chosen.architecture(row).text for row in checkpoint.references],
    }
    if as_json:
        print(json.dumps(values, indent=2))
        return
    for name, value in values.items():
        shown = f"{value:.4f}" if isinstance(value, float) else value
        print(f"{name:16} " + ("\n".ljust(18).join(map(str, shown)) if isinstance(shown, list) else str(shown)))


def _command(
    space: str,
    labels: Labels,
    steps: int,
    batch: int,
    seed: int,
    holdout: float,
    population: int,
    references: int,
) -> str:
    """The command that would train this checkpoint again."""
    latencies = " ".join(f"--latency {label.name}" for label in labels.latencies)
    return (
        f"nag train dinas --space {space} --accuracy {labels.accuracy.name} {latencies} "
        f"--steps {steps} --batch {batch} --seed {seed} --holdout {holdout:g} --population {population} "
        f"--references {references}"
    )
