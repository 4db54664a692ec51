"""`nag tasks`: small tasks that a predictor of accuracy across data sets learns from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.progress import interrupt

INTERRUPTED = 130
_PLAIN_LINES = 40

app = typer.Typer(help="Small tasks that a predictor of accuracy learns from.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `collect` a verb of its own."""


@app.command()
def collect(
    space: Annotated[str, typer.Option(help="Search space, e.g. nasbench201.", show_default=False)],
    dataset: Annotated[
        list[str],
        typer.Option(help="digits, a .npz, or a folder with one folder of pictures per class.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the tasks.", show_default=False)],
    count: Annotated[int, typer.Option("-n", "--tasks", min=1, help="Tasks.")] = 20,
    architectures: Annotated[int, typer.Option(min=2, help="Architectures trained on each.")] = 30,
    classes: Annotated[tuple[int, int], typer.Option(help="Fewest and most classes of a task.")] = (2, 6),
    images: Annotated[int, typer.Option(min=5, help="Images of each class at most.")] = 80,
    size: Annotated[
        tuple[int, int, int], typer.Option("--input", help="Height, width and channels of the networks' input.")
    ] = (16, 16, 1),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over a task's images in a training.")] = 6,
    validation: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Share of the images that accuracies are taken on.")
    ] = 0.4,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER", help="A size of the space's networks, e.g. channels=8 cells=1."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides tasks, architectures and trainings.")] = 0,
) -> None:
    """Train sampled architectures on class subsets of your data sets.

    Run the same command again to go on, or at the same time in several terminals to share the work.
    """
    from orchestrator.errors import ConfigError, Problem
    from orchestrator.predict.transfer.collect import CollectPlan, collect_tasks
    from orchestrator.space.registry import parse_space

    if not 2 <= classes[0] <= classes[1]:
        raise ConfigError("nag tasks collect", [Problem("--classes", classes, "two numbers, 2 <= fewest <= most")])
    plan = CollectPlan(
        space,
        tuple(dataset),
        size,
        dict(map(_size, option or ())),
        count,
        architectures,
        classes,
        images,
        epochs,
        validation,
        seed,
    )
    total = count * architectures
    every = max(total // _PLAIN_LINES, 1)
    shown = -1

    def show(done: int, of: int) -> None:
        nonlocal shown
        if done // every != shown:
            shown = done // every
            print(f"{done}/{of} trainings", file=sys.stderr, flush=True)

    with interrupt() as stopped:
        done = collect_tasks(plan, parse_space(space), out, progress=show, stop=stopped)
    print(f"{out}: {done} of {total} trainings")
    if done < total:
        print("the same command goes on", file=sys.stderr)
        raise typer.Exit(INTERRUPTED if stopped() else 0)


def _size(text: str) -> tuple[str, int]:
    """`NAME=NUMBER`. Raises ConfigError."""
    from orchestrator.errors import ConfigError, Problem

    name, _, value = text.partition("=")
    if not name or not value.isdecimal():
        raise ConfigError("nag tasks collect", [Problem("--option", text, "NAME=NUMBER, e.g. channels=8")])
    return name, int(value)
