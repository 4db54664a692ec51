"""`nag train accuracy`: a predictor of accuracy on data sets that nothing was trained on yet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.progress import interrupt, training_progress

INTERRUPTED = 130


def accuracy(
    space: Annotated[str, typer.Option(help="Search space, e.g. nasbench201.", show_default=False)],
    tasks: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of tasks, as nag tasks collect writes it.", show_default=False)
    ],
    out: Annotated[Path | None, typer.Option(help="Checkpoint to write; default: accuracy_SPACE.safetensors.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="All randomness derives from it.")] = 0,
    holdout: Annotated[
        int, typer.Option(min=0, help="Tasks kept out, on which the predictor is then tried; 0 trains on all.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Train a predictor of accuracy that looks at the data set, on many small tasks.

    It takes seconds to minutes, so there is nothing to resume: Ctrl-C writes no checkpoint.
    """
    import json

    import numpy as np

    from orchestrator.errors import ConfigError, Problem
    from orchestrator.predict.transfer.tasks import read_tasks
    from orchestrator.predict.transfer.train import TransferConfig, train_transfer
    from orchestrator.predict.transfer.trial import try_on
    from orchestrator.space.registry import parse_space

    chosen = parse_space(space)
    known = list(read_tasks(tasks, chosen))
    if len(known) - holdout < 2:
        raise ConfigError(
            "nag train accuracy", [Problem("--holdout", holdout, f"at most {len(known) - 2} of the {len(known)} tasks")]
        )
    np.random.default_rng(seed).shuffle(known)
    kept, trained_on = known[:holdout], known[holdout:]
    target = out or Path(f"accuracy_{chosen.name}.safetensors")
    count = sum(len(task.slots) for task in trained_on)
    print(f"training on {len(trained_on)} tasks, {count:,} accuracies, seed {seed}", file=sys.stderr)
    with training_progress(steps, "accuracy across data sets") as show, interrupt() as stopped:
        predictor = train_transfer(
            chosen, trained_on, TransferConfig(steps=steps, seed=seed), progress=show, stop=stopped
        )
        if stopped():
            raise typer.Exit(INTERRUPTED)
    predictor.save(target, {"seed": seed, "steps": steps, "held_out": [task.name for task in kept]})
    trials = {str(known): value for known, value in try_on(predictor, kept, seed=seed).items()} if kept else {}
    values = {
        "checkpoint": str(target),
        "tasks": len(trained_on),
        "accuracies": count,
        "held_out": [task.name for task in kept],
        "spearman_by_evaluations": trials,
    }
    if as_json:
        print(json.dumps(values, indent=2))
        return
    print(f"checkpoint  {target}")
    for known_count, value in trials.items():
        print(f"rank correlation on {len(kept)} held-out tasks, {known_count:>2} evaluated there  {value:.3f}")
