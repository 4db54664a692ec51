"""Closed-loop search: hypervolume by evaluation, DeviceNAG's own loop beside its peers, in one run.

DeviceNAG's methods (`diffusion_nag`, or any other generator's kind) run the real campaign: space, guided generator,
surrogates, acquisition, SQLite store; the truth is looked up, in tables or (`--space mobilenetv3`) in OFA's accuracy
predictor and a table of block latencies. An evaluation is one look-up of one architecture; every look-up counts.
Latencies that methods see carry multiplicative noise; values are of the noise-free truth. `smooth_oracle` shows where a
table's own noise sets the limit.

    python benchmarks/closed_loop.py --latency-column pixel3 --evaluations 200 --seeds 8
    python benchmarks/closed_loop.py --space mobilenetv3 --evaluations 200 --seeds 5 --method diffusion_nag nsga2 tpe
    python benchmarks/closed_loop.py --space mobilenetv3 --method diffusion_nag --latency-prior others
    python benchmarks/closed_loop.py --latency-column pixel3 --budget 5 8 15

With `--budget` (milliseconds) the search is for the highest accuracy within it: what is missing to the best there is,
in percent, by evaluation, and after how many evaluations at most `--tolerance` is missing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import PEERS, Evaluate
from smooth_oracle import oracle_search
from yardstick import DATA, Yardstick

from orchestrator.campaign.config import parse_config
from orchestrator.campaign.loop import run_campaign
from orchestrator.generate.pool import width
from orchestrator.predict.latency.checkpoint import save_prior
from orchestrator.predict.latency.prior import LatencyPrior, family_of, fit_prior
from orchestrator.predict.latency.sources import gather_sources
from orchestrator.predict.latency.structures import relaxed, structures_of
from orchestrator.predict.latency.tables import device_columns, read_latencies
from orchestrator.space.base import IntArray
from orchestrator.space.registry import make_space

ORACLE = "smooth_oracle"
METHODS = ("diffusion_nag", "random", "regularized_evolution", "nsga2", "tpe")
WIDTH = 1.2  # of the networks that the Note10's table was measured on
MADE_UP = 16  # devices


@dataclass(frozen=True)
class Task:
    """One method, one seed, one device, perhaps one budget."""

    method: str
    seed: int
    column: str
    budget_ms: float | None
    arguments: argparse.Namespace


@dataclass(frozen=True)
class Result:
    """What a search found.

    Attributes:
        method: Its name.
        seed: Of its randomness.
        column: The device.
        budget_ms: None where the search was for the front.
        curve: At the checkpoints: fraction of the hypervolume; with a budget, percent missing to the best accuracy.
        found_after: Evaluations until at most the tolerance was missing; None where it never was, or without a budget.
        seconds: Wall time.
    """

    method: str
    seed: int
    column: str
    budget_ms: float | None
    curve: list[float]
    found_after: int | None
    seconds: float


def run_task(task: Task) -> Result:
    """One search."""
    torch.set_num_threads(1)
    arguments = task.arguments
    yardstick = make_yardstick(task)
    began = time.perf_counter()
    if task.method == ORACLE:
        slots = oracle_search(
            yardstick, arguments.evaluations, task.seed, budget_ms=task.budget_ms, batch=arguments.batch
        )
    elif task.method in PEERS and task.method not in arguments.ours:
        noisy = noisy_truth(yardstick, arguments.noise, task.seed)
        slots = PEERS[task.method](yardstick.space, noisy, arguments.evaluations, task.seed, task.budget_ms)
    else:
        slots = campaign(task)
    seconds = time.perf_counter() - began
    marks, found_after = checkpoints(arguments), None
    if task.budget_ms is None:
        curve = yardstick.curve(slots, marks)
    else:
        missing = yardstick.best_within(task.budget_ms) - yardstick.best_so_far(slots, task.budget_ms)
        curve = [float(missing[mark - 1]) for mark in marks]
        close = np.flatnonzero(missing <= arguments.tolerance)
        found_after = int(close[0]) + 1 if len(close) else None
    return Result(task.method, task.seed, task.column, task.budget_ms, curve, found_after, seconds)


def make_yardstick(task: Task) -> Yardstick:
    """The truth that a task is measured by."""
    given = task.arguments
    if given.space == "mobilenetv3":
        return _mobilenetv3(given.weights, given.block_table, given.resolution)
    return _tables(given.space, given.accuracy_table, given.accuracy_column, given.latency_table, task.column)


@lru_cache(maxsize=1)
def _mobilenetv3(weights: Path, block_table: Path, resolution: int) -> Yardstick:
    return Yardstick.of_mobilenetv3(weights, block_table, width=WIDTH, resolution=resolution)


@lru_cache(maxsize=1)
def _tables(space: str, accuracy: Path, accuracy_column: str, latency: Path, column: str) -> Yardstick:
    return Yardstick.of_tables(make_space(space), (accuracy, accuracy_column), (latency, column))


def noisy_truth(yardstick: Yardstick, noise: float, seed: int) -> Evaluate:
    """What a peer sees: the true accuracy, and the true latency with fresh noise at each look-up."""
    rng = np.random.default_rng([seed, 1])

    def evaluate(slots: tuple[int, ...]) -> tuple[float, float]:
        ((accuracy, minus_log_latency),) = yardstick.points(np.array([slots], dtype=np.int64))
        return float(accuracy), float(np.exp(-minus_log_latency) * np.exp(noise * rng.standard_normal()))

    return evaluate


def campaign(task: Task) -> IntArray:
    """The architectures that a real campaign looked up, in order."""
    arguments = task.arguments
    metric = f"latency_ms[{task.column}]"
    goal: dict[str, Any] = {"maximize": "accuracy"}
    if task.budget_ms is None:
        goal["minimize"] = metric
    else:
        goal["subject_to"] = [f"{metric} <= {task.budget_ms}"]
    values = {
        "name": "closed-loop",
        "seed": task.seed,
        "generator": {"kind": task.method, "pool": arguments.pool},
        "goal": goal,
        "budget": {
            "candidates": arguments.evaluations,
            "batch": arguments.batch,
            "initial": min(arguments.initial, arguments.evaluations),
        },
        "latency_prior": "none",
        **_looked_up(task),
    }
    with tempfile.TemporaryDirectory() as folder:
        if arguments.latency_prior == "others":
            values["latency_prior"] = str(Path(folder) / "others.safetensors")
            save_prior(Path(folder) / "others.safetensors", make_space(arguments.space), _others(task))
        config = parse_config(values, source="closed_loop.py")
        state = run_campaign(config, Path(folder) / "run", lambda event: None)
    return np.array([candidate.row.slots for candidate in state.candidates], dtype=np.int64)


def _others(task: Task) -> LatencyPrior:
    """What devices charge, the searched one and its siblings left out."""
    given = task.arguments
    if given.space == "mobilenetv3":
        return _made_up_devices(given.space)
    return _other_devices(given.space, given.latency_table, task.column)


@lru_cache(maxsize=1)
def _made_up_devices(space_name: str) -> LatencyPrior:
    """What devices have in common that do not exist."""
    space = make_space(space_name)
    return fit_prior(structures_of(space), gather_sources(space, None, None, [], synthetic=MADE_UP))


@lru_cache(maxsize=16)
def _other_devices(space_name: str, table: Path, column: str) -> LatencyPrior:
    """What the table's other devices have in common; batch sizes of the same device are no others."""
    space, columns = make_space(space_name), device_columns(table)
    family = family_of(column, columns)
    others = [each for each in columns if family_of(each, columns) != family]
    read = read_latencies(table, others, space)
    inputs = relaxed(read.slots, width(space))
    return fit_prior(structures_of(space), {name: (inputs, values) for name, values in read.latency_ms.items()})


def _looked_up(task: Task) -> dict[str, Any]:
    """Space, accuracy and devices of the campaign's configuration."""
    given = task.arguments
    if given.space == "mobilenetv3":
        lut = {"kind": "lut", "path": str(given.block_table), "name": task.column, "noise": given.noise}
        side = given.resolution
        return {
            "space": {"kind": given.space, "input": [1, side, side, 3], "classes": 1000, "width": WIDTH},
            "accuracy": {"kind": "ofa_predictor", "weights": str(given.weights)},
            "devices": [lut],
        }
    table = {"kind": "table", "path": str(given.latency_table), "column": task.column, "noise": given.noise}
    return {
        "space": {"kind": given.space},
        "accuracy": {"kind": "table", "path": str(given.accuracy_table), "column": given.accuracy_column},
        "devices": [table],
    }


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
    parser.add_argument("--weights", type=Path, default=DATA / "ofa_acc_predictor_weights.npz")
    parser.add_argument("--block-table", type=Path, default=DATA / "ofa_note10_latency_lut.csv.gz")
    parser.add_argument("--resolution", type=int, default=224, help="of mobilenetv3")
    parser.add_argument("--budget", type=float, nargs="+", default=[None], metavar="MS", help="search within it")
    parser.add_argument("--tolerance", type=float, default=0.0, help="percent that may be missing to the best")
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--initial", type=int, default=10)
    parser.add_argument("--pool", type=int, default=256, help="architectures that the generator proposes for a batch")
    parser.add_argument("--noise", type=float, default=0.02, help="relative noise of the latencies that methods see")
    parser.add_argument(
        "--latency-prior",
        choices=["none", "others"],
        default="none",
        help="others: what the latency table's other devices charge, the searched one left out; of mobilenetv3: what "
        f"{MADE_UP} made-up devices do",
    )
    parser.add_argument("--method", nargs="+", default=list(METHODS), help=f"also {ORACLE}, for tables")
    parser.add_argument(
        "--ours", nargs="+", default=[], help="methods to run as generators of the campaign though a peer has that name"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.space == "mobilenetv3":
        arguments.latency_column = ["note10"]
    if ORACLE in arguments.method and arguments.space == "mobilenetv3":
        parser.error(f"{ORACLE} needs a table")
    return arguments


def main() -> None:
    """Run and print."""
    arguments = parse()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    tasks = [
        Task(method, seed, column, budget_ms, arguments)
        for column in arguments.latency_column
        for budget_ms in arguments.budget
        for method in arguments.method
        for seed in seeds
    ]
    with ProcessPoolExecutor(arguments.workers) as pool:
        results = list(pool.map(run_task, tasks))
    marks = checkpoints(arguments)
    if arguments.json:
        print(json.dumps({"evaluations": marks, "results": [asdict(result) for result in results]}, indent=2))
        return
    for column in arguments.latency_column:
        for budget_ms in arguments.budget:
            show([r for r in results if (r.column, r.budget_ms) == (column, budget_ms)], marks, arguments)


def show(results: Sequence[Result], marks: Sequence[int], arguments: argparse.Namespace) -> None:
    """One device's table: medians over seeds."""
    column, budget_ms = results[0].column, results[0].budget_ms
    heading = "hypervolume as a fraction of the true front's"
    if budget_ms is not None:
        heading = f"percent missing to the best accuracy within {budget_ms:g} ms"
    print(f"{column}: {heading}; medians of {arguments.seeds} seeds")
    last = "ratio to tpe" if budget_ms is None else f"evaluations until {arguments.tolerance:g} % are missing"
    print(f"{'method':>22} " + " ".join(f"{f'@{mark}':>7}" for mark in marks) + f"   s/run   {last}")
    medians = {
        method: np.median([r.curve for r in results if r.method == method], axis=0) for method in arguments.method
    }
    for method, median in medians.items():
        of_method = [r for r in results if r.method == method]
        seconds = np.median([r.seconds for r in of_method])
        if budget_ms is None:
            compared = " ".join(f"{value:.3f}" for value in median / medians["tpe"]) if "tpe" in medians else "-"
        else:
            needed = float(np.median([np.inf if r.found_after is None else r.found_after for r in of_method]))
            compared = f"{needed:g}" if np.isfinite(needed) else f"more than {arguments.evaluations}"
        print(f"{method:>22} " + " ".join(f"{value:7.3f}" for value in median) + f" {seconds:7.1f}   {compared}")


if __name__ == "__main__":
    main()
