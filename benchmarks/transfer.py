"""What looking at the data set is worth, on tasks that a predictor was not trained on.

    python benchmarks/transfer.py collect --tasks DIR          # draws and trains: about 8 minutes of one core
    python benchmarks/transfer.py ceiling --tasks DIR          # trains some once more: how far two trainings agree
    python benchmarks/transfer.py rank --tasks DIR [--by-kind] [--seeds 3] [--json]
    python benchmarks/transfer.py search --tasks DIR [--seeds 3] [--json]

`collect` makes small tasks from pictures drawn by program (`benchmarks/glyphs.py`) and scikit-learn's digits: class
subsets of each variant of each kind, NAS-Bench-201 cells with 8 channels. Ctrl-C and the same command go on.

`rank` prints rank correlations with the accuracies of tasks left out of training, by how many of their accuracies the
predictor was told, beside the same process without the data set. Folds split tasks at random, or (`--by-kind`) leave
out a kind of picture with all its variants.

`search` replays campaigns on tasks of kinds left out: the campaign's own surrogate and expected improvement choose
among the task's architectures, with the predictor as `accuracy_prior`, without, and with a prior that says the
opposite. It prints how much accuracy the best architecture found so far lacks, the median over tasks and seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from glyphs import write_sets
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from orchestrator.cli.progress import interrupt
from orchestrator.optimize.acquisition import log_expected_improvement, undominated
from orchestrator.predict.accuracy_belief import AccuracyBelief
from orchestrator.predict.surrogates import Measured, SurrogateFitter
from orchestrator.predict.transfer.collect import CollectPlan, collect_tasks
from orchestrator.predict.transfer.tasks import Task, read_tasks
from orchestrator.predict.transfer.train import TransferConfig, train_transfer
from orchestrator.predict.transfer.trial import EVALUATED, try_on
from orchestrator.space.nasbench201 import NASBench201

SPACE = NASBench201()
TASKS = 35
REPEATED = 5
FOLDS = 7
SEARCHED = (1, 2, 3, 5)
FIRST = 3  # architectures before a surrogate is fitted

Split = tuple[list[Task], list[Task]]  # trained on, held out
Table = Mapping[str, Mapping[int, Sequence[float]]]


def collect(folder: Path, *, tasks: int = TASKS, repeat: int = 0) -> None:
    """Draw the pictures and train."""
    sets = [str(path) for path in write_sets(folder / "sets")]
    plan = CollectPlan(
        "nasbench201", (*sets, "digits"), (16, 16, 1), {"channels": 8, "cells": 1},
        tasks=tasks, architectures=20, classes=(3, 6), images=120, epochs=6, validation=0.55, repeat=repeat,
    )  # fmt: skip
    with interrupt() as stopped:
        collect_tasks(
            plan,
            SPACE,
            folder / ("again" if repeat else "tasks"),
            progress=lambda done, total: print(f"\r{done}/{total} trainings", end="", file=sys.stderr),
            stop=stopped,
        )
    print(file=sys.stderr)


def ceiling(folder: Path) -> None:
    """Rank correlation between two trainings of the same architectures."""
    collect(folder, tasks=REPEATED, repeat=1)
    once = {task.name: task for task in read_tasks(folder / "tasks", SPACE)}
    agree = [
        float(spearmanr(once[task.name].accuracies, task.accuracies).statistic)
        for task in read_tasks(folder / "again", SPACE)
    ]
    print(
        f"two trainings agree at {np.mean(agree):.3f} (from {min(agree):.2f} to {max(agree):.2f}, {len(agree)} tasks)"
    )
    print(f"so a perfect prediction would reach about {np.mean(np.sqrt(np.maximum(agree, 0))):.3f} against one of them")


def rank(tasks: Sequence[Task], seeds: int, *, by_kind: bool) -> Table:
    """Rank correlations by what the predictor knows and how many accuracies it was told; one value a task and seed."""
    found: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in ("with", "without")}
    for seed in range(seeds):
        for known, held_out in kinds(tasks) if by_kind else folds(tasks, seed):
            for name, values in found.items():
                config = TransferConfig(seed=seed, knows_datasets=name == "with")
                predictor = train_transfer(SPACE, known, config)
                for task in held_out:
                    for count, value in try_on(predictor, [task], seed=seed).items():
                        values[count].append(value)
    return found


def search(tasks: Sequence[Task], seeds: int) -> Table:
    """Percent that the best found lacks, by what the surrogate begins with and how many were trained."""
    fitter = SurrogateFitter(SPACE)
    found: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in ("prior", "none", "opposite")}
    for known, held_out in kinds(tasks):
        predictor = train_transfer(SPACE, known, TransferConfig())
        for task in held_out:
            told = predictor.on(task.images).belief()
            for name, belief in (("prior", told), ("none", None), ("opposite", opposite(told))):
                for seed in range(1 if belief else seeds):  # a belief leaves nothing to chance
                    best = np.maximum.accumulate(task.accuracies[replay(task, fitter, belief, seed)])
                    for count in SEARCHED:
                        found[name][count].append(float(task.accuracies.max() - best[count - 1]))
    return found


def opposite(told: AccuracyBelief) -> AccuracyBelief:
    """A prior that could not be more wrong."""
    return replace(told, mean=lambda slots: 100 - told.mean(slots))


def replay(task: Task, fitter: SurrogateFitter, belief: AccuracyBelief | None, seed: int) -> list[int]:
    """Which of the task's architectures are trained, in order."""
    order = np.random.default_rng(seed).permutation(len(task.slots)).tolist()
    if belief is not None:
        expected = belief.of(task.slots, SPACE)
        order.sort(key=lambda row: -expected[row])
    chosen: list[int] = order[:FIRST]
    relaxed = fitter.relaxed(task.slots)
    while len(chosen) < max(SEARCHED):
        values = task.accuracies[chosen]
        measured = Measured(task.slots[chosen], values, np.full(len(chosen), np.nan))
        floor = float(np.quantile(values, 0.25))
        surrogate = fitter.accuracy(measured, floor=floor, believed=belief)
        with torch.no_grad():
            mean, variance = surrogate.marginal(relaxed)
            best = undominated(torch.tensor([[values.max()]]), torch.tensor([floor], dtype=torch.float64))
            gain = log_expected_improvement(mean[:, None], variance.sqrt()[:, None], best).numpy()
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
    return chosen


def folds(tasks: Sequence[Task], seed: int) -> Iterator[Split]:
    """Tasks at random."""
    yield from _splits(tasks, (np.random.default_rng(seed).permutation(len(tasks)) % FOLDS).tolist())


def kinds(tasks: Sequence[Task]) -> Iterator[Split]:
    """All variants of a kind at once."""
    yield from _splits(tasks, [task.source for task in tasks])


def _splits(tasks: Sequence[Task], groups: Sequence[object]) -> Iterator[Split]:
    for group in sorted(set(groups), key=str):
        yield (
            [task for task, other in zip(tasks, groups, strict=True) if other != group],
            [task for task, other in zip(tasks, groups, strict=True) if other == group],
        )


def main() -> None:
    """Run one of the verbs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("collect", "ceiling", "rank", "search"))
    parser.add_argument("--tasks", type=Path, required=True, help="folder of the pictures and tasks")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--by-kind", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.verb in ("collect", "ceiling"):
        (collect if arguments.verb == "collect" else ceiling)(arguments.tasks)
        return
    # Variants of a kind are relatives: trained, too, to be predicted from other kinds.
    tasks = [
        replace(task, source=task.source.removesuffix(".npz").partition("-")[0])
        for task in read_tasks(arguments.tasks / "tasks", SPACE)
    ]
    ranked = arguments.verb == "rank"
    table = rank(tasks, arguments.seeds, by_kind=arguments.by_kind) if ranked else search(tasks, arguments.seeds)
    middle = np.mean if ranked else np.median
    counts = EVALUATED if ranked else SEARCHED
    figures = {name: {count: float(middle(row[count])) for count in counts} for name, row in table.items()}
    if arguments.json:
        print(json.dumps({"tasks": len(tasks), "seeds": arguments.seeds, arguments.verb: figures}, indent=2))
        return
    said = "mean rank correlation" if ranked else "median lack of accuracy in percent"
    print(f"{len(tasks)} tasks, {len({task.source for task in tasks})} kinds, seeds: {arguments.seeds}, {said}")
    print("| trained there | " + " | ".join(map(str, counts)) + " |")
    print("|---|" + "---|" * len(counts))
    for name, row in figures.items():
        print(f"| {name} | " + " | ".join(f"{row[count]:.{3 if ranked else 1}f}" for count in counts) + " |")


if __name__ == "__main__":
    main()
