"""Closed-loop search on tables: hypervolume by evaluation, DeviceNAG's own loop beside its peers, in one run.

DeviceNAG's methods (`diffusion_nag`, or any other generator's kind) run the real campaign: space, guided generator,
surrogates, acquisition, `table` device and `table` accuracy, SQLite store. An evaluation is one look-up of one
architecture; every look-up counts. Latencies that methods see carry multiplicative noise; values are of the
noise-free table.

    python benchmarks/closed_loop.py --latency-column pixel3 --evaluations 200 --seeds 8
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from peers import PEERS, Evaluate
from yardstick import DATA, Yardstick

from orchestrator.campaign.config import parse_config
from orchestrator.campaign.loop import run_campaign
from orchestrator.space.base import IntArray
from orchestrator.space.registry import make_space

OURS = ("diffusion_nag",)
METHODS = (*OURS, "random", "regularized_evolution", "tpe")


@dataclass(frozen=True)
class Task:
    """One method, one seed, one latency column."""

    method: str
    seed: int
    column: str
    arguments: argparse.Namespace


@dataclass(frozen=True)
class Result:
    """Hypervolume fractions at the checkpoints."""

    method: str
    seed: int
    column: str
    curve: list[float]
    seconds: float


def run_task(task: Task) -> Result:
    """One search."""
    torch.set_num_threads(1)
    arguments = task.arguments
    space = make_space(arguments.space)
    yardstick = Yardstick.of(
        space, (arguments.accuracy_table, arguments.accuracy_column), (arguments.latency_table, task.column)
    )
    began = time.perf_counter()
    if task.method in PEERS:
        noisy = noisy_table(yardstick, arguments.noise, task.seed)
        slots = PEERS[task.method](space, noisy, arguments.evaluations, task.seed)
    else:
        slots = campaign(task)
    seconds = time.perf_counter() - began
    return Result(task.method, task.seed, task.column, yardstick.curve(slots, checkpoints(arguments)), seconds)


def noisy_table(yardstick: Yardstick, noise: float, seed: int) -> Evaluate:
    """What a peer sees: the table's accuracy, and its latency with fresh noise at each look-up."""
    rng = np.random.default_rng([seed, 1])

    def evaluate(slots: tuple[int, ...]) -> tuple[float, float]:
        accuracy, minus_log_latency = yardstick.points[yardstick.index[slots]]
        return float(accuracy), float(np.exp(-minus_log_latency) * np.exp(noise * rng.standard_normal()))

    return evaluate


def campaign(task: Task) -> IntArray:
    """The architectures that a real campaign looked up, in order."""
    arguments = task.arguments
    config = parse_config(
        {
            "name": "closed-loop",
            "seed": task.seed,
            "space": {"kind": arguments.space},
            "generator": {"kind": task.method},
            "accuracy": {"kind": "table", "path": str(arguments.accuracy_table), "column": arguments.accuracy_column},
            "devices": [
                {
                    "kind": "table",
                    "path": str(arguments.latency_table),
                    "column": task.column,
                    "noise": arguments.noise,
                }
            ],
            "budget": {
                "candidates": arguments.evaluations,
                "batch": arguments.batch,
                "initial": min(arguments.initial, arguments.evaluations),
            },
        },
        source="closed_loop.py",
    )
    with tempfile.TemporaryDirectory() as folder:
        state = run_campaign(config, Path(folder) / "run", lambda event: None)
    return np.array([candidate.row.slots for candidate in state.candidates], dtype=np.int64)


def checkpoints(arguments: argparse.Namespace) -> list[int]:
    """Where the curve is printed: 20, 50, 100, 200, ... up to the number of evaluations."""
    marks = [mark for mark in (20, 50, 100, 200, 500, 1000) if mark < arguments.evaluations]
    return [*marks, arguments.evaluations]


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--accuracy-table", type=Path, default=DATA / "nb201_accuracy.parquet")
    parser.add_argument("--accuracy-column", default="c100_valid_12ep")
    parser.add_argument("--latency-table", type=Path, default=DATA / "nb201_latency.parquet")
    parser.add_argument("--latency-column", nargs="+", default=["pixel3", "samsung_a50", "samsung_s7"])
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--initial", type=int, default=10)
    parser.add_argument("--noise", type=float, default=0.02, help="relative noise of the latencies that methods see")
    parser.add_argument("--method", nargs="+", default=list(METHODS))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


def main() -> None:
    """Run and print."""
    arguments = parse()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    tasks = [
        Task(method, seed, column, arguments)
        for column in arguments.latency_column
        for method in arguments.method
        for seed in seeds
    ]
    with ProcessPoolExecutor(arguments.workers) as pool:
        results = list(pool.map(run_task, tasks))
    marks = checkpoints(arguments)
    if arguments.json:
        print(json.dumps({"evaluations": marks, "results": [asdict(result) for result in results]}, indent=2))
        return
    print(f"hypervolume as a fraction of the true front's; medians of {arguments.seeds} seeds")
    print(
        f"{'device':>16} {'method':>22} " + " ".join(f"{f'@{mark}':>7}" for mark in marks) + "   s/run   ratio to tpe"
    )
    for column in arguments.latency_column:
        medians = {
            method: np.median([r.curve for r in results if (r.method, r.column) == (method, column)], axis=0)
            for method in arguments.method
        }
        for method, median in medians.items():
            seconds = np.median([r.seconds for r in results if (r.method, r.column) == (method, column)])
            ratio = median / medians["tpe"] if "tpe" in medians else None
            compared = " ".join(f"{value:.3f}" for value in ratio) if ratio is not None else "-"
            print(
                f"{column:>16} {method:>22} "
                + " ".join(f"{value:7.3f}" for value in median)
                + f" {seconds:7.1f}   {compared}"
            )


if __name__ == "__main__":
    main()
