"""What looking at the data set is worth: rank correlation on tasks that a predictor was not trained on.

    python benchmarks/transfer.py --tasks DIR [--folds 7] [--seeds 3] [--json]

The tasks are collected first where the folder is empty (some 20 minutes): class subsets of scikit-learn's digits and of
six kinds of drawn pictures (`benchmarks/glyphs.py`), 28 tasks of 24 NAS-Bench-201 cells each, trained for 6 epochs.
Beside the predictor stands the same process without the data set. Folds split tasks, so no task is in both parts;
subsets of the same kind of picture may be.  `--by-kind` leaves out all tasks of a kind at once, which is harder.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from glyphs import write_sets

from orchestrator.predict.transfer.collect import CollectPlan, collect_tasks
from orchestrator.predict.transfer.tasks import Task, read_tasks
from orchestrator.predict.transfer.train import TransferConfig, train_transfer
from orchestrator.predict.transfer.trial import EVALUATED, try_on
from orchestrator.space.nasbench201 import NASBench201

KINDS = 7


def collect(folder: Path) -> None:
    """Draw the pictures and train."""
    sets = [str(path) for path in write_sets(folder / "sets")]
    plan = CollectPlan(
        "nasbench201", (*sets, "digits"), (16, 16, 1), {"channels": 8, "cells": 1},
        tasks=28, architectures=24, classes=(3, 8), images=60, epochs=6,
    )  # fmt: skip
    collect_tasks(
        plan,
        NASBench201(),
        folder / "tasks",
        progress=lambda done, total: print(f"\r{done}/{total} trainings", end="", file=sys.stderr),
    )


def folds(tasks: Sequence[Task], count: int, *, by_kind: bool, seed: int) -> Iterator[tuple[list[Task], list[Task]]]:
    """(trained on, held out), `count` times."""
    if by_kind:  # the collector takes the kinds in turn
        groups = [_kind(task) for task in tasks]
    else:
        groups = list(np.random.default_rng(seed).permutation(len(tasks)) % count)
    for group in sorted(set(groups)):
        yield (
            [task for task, other in zip(tasks, groups, strict=True) if other != group],
            [task for task, other in zip(tasks, groups, strict=True) if other == group],
        )


def _kind(task: Task) -> int:
    return int(task.name.removeprefix("task")) % KINDS


def main() -> None:
    """Print a table of mean rank correlations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=Path, required=True, help="folder; filled when it is empty")
    parser.add_argument("--folds", type=int, default=7)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--by-kind", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not (arguments.tasks / "tasks").is_dir():
        collect(arguments.tasks)
    space = NASBench201()
    tasks = [replace(task, source=str(_kind(task))) for task in read_tasks(arguments.tasks / "tasks", space)]
    found: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in ("with", "without")}
    for seed in range(arguments.seeds):
        for known, held_out in folds(tasks, arguments.folds, by_kind=arguments.by_kind, seed=seed):
            for name, values in found.items():
                config = TransferConfig(seed=seed, steps=arguments.steps, knows_datasets=name == "with")
                predictor = train_transfer(space, known, config)
                for count, value in try_on(predictor, held_out, seed=seed).items():
                    values[count].append(value)
    table = {name: {count: float(np.mean(values[count])) for count in EVALUATED} for name, values in found.items()}
    if arguments.json:
        print(json.dumps({"tasks": len(tasks), "seeds": arguments.seeds, "spearman": table}, indent=2))
        return
    print(f"{len(tasks)} tasks, mean rank correlation over folds and {arguments.seeds} seeds")
    print("| evaluated there | " + " | ".join(map(str, EVALUATED)) + " |")
    print("|---|" + "---|" * len(EVALUATED))
    for name, row in table.items():
        print(f"| {name} the data set | " + " | ".join(f"{row[count]:.3f}" for count in EVALUATED) + " |")


if __name__ == "__main__":
    main()
