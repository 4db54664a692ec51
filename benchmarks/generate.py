"""Generating on NAS-Bench-201: how fast, how good unguided, and whether guidance pays.

Guidance has to beat "draw at random and filter with the same predictor" at equal predictor calls. The predictor is
DeviceNAG's own surrogate, fitted on a small random sample of a table of accuracies and of latencies; the utility is
predicted accuracy (in its standard deviations) less a penalty for predicted latency beyond a budget. The table's other
rows tell what the proposals are truly worth. Medians over seeds; each seed fits its own predictor.

    python benchmarks/generate.py --seeds 8
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from yardstick import DATA

from orchestrator.generate.base import Request
from orchestrator.generate.budget import BudgetUtility, WeightedSum, spread
from orchestrator.generate.diffusion_nag.generator import DiffusionNAG
from orchestrator.generate.diffusion_nag.sampler import SAMPLERS
from orchestrator.generate.pool import score
from orchestrator.generate.registry import make_generator
from orchestrator.generate.table_guide import fit_latency, fit_score
from orchestrator.space.base import FloatArray, IntArray
from orchestrator.space.nasbench201 import NASBench201
from profiling.table import read_table

LIMIT_S = 2.0
REFERENCE_S = (
    566.0  # quoted, not run here: the reference implementation's 256 guided samples, on another 2-core machine
)
METHODS = ("random", "regularized_evolution", "diffusion_nag", "diffusion_evolution")
OVER_BUDGET = 50.0  # spreads; milder than the default, as a prediction of latency from 100 rows is a few percent off
BEST = 10
RETURNED = 32

SPACE = NASBench201()


@dataclass(frozen=True)
class Task:
    """A predictor, and what its proposals are truly worth.

    Attributes:
        guide: The predictor as a utility.
        predicted: (15625,) its value of every architecture, in the benchmark's order.
        true: (15625,) the same from the tables: accuracy in the same unit, the same penalty.
        accuracy: (15625,) percent.
        within: (15625,) whether the true latency keeps the budget.
    """

    guide: BudgetUtility
    predicted: FloatArray
    true: FloatArray
    accuracy: FloatArray
    within: FloatArray


def make_task(arguments: argparse.Namespace, seed: int) -> Task:
    """The predictor of one seed."""
    accuracy = _column(arguments.accuracy_table, arguments.accuracy_column)
    latency = _column(arguments.latency_table, arguments.latency_column)
    budget = float(np.quantile(latency, arguments.budget_quantile))
    sample: dict[str, int] = {"rows": arguments.fitted_on, "seed": seed}
    predictor = fit_score(SPACE, f"{arguments.accuracy_table}:{arguments.accuracy_column}", **sample)
    latency_ms = fit_latency(SPACE, f"{arguments.latency_table}:{arguments.latency_column}", **sample)
    unit = spread(SPACE, predictor)
    guide = BudgetUtility(WeightedSum([(predictor, unit)]), latency_ms, budget, OVER_BUDGET)
    predicted = np.concatenate([score(guide, part, SPACE) for part in np.array_split(SPACE.all(), 32)])
    true = accuracy / unit - OVER_BUDGET * np.maximum(latency / budget - 1, 0)
    return Task(guide, predicted, true, accuracy, (latency <= budget).astype(float))


def speed(tasks: Sequence[Task]) -> dict[str, float]:
    """Median seconds for 256 guided architectures at default settings, against the limit and the quoted reference."""
    generator = DiffusionNAG(SPACE)
    generator.propose(Request(8, tasks[0].guide))  # the first call of anything loads it
    proposals = [generator.propose(Request(256, task.guide, seed=seed)) for seed, task in enumerate(tasks)]
    seconds = float(np.median([proposal.seconds for proposal in proposals]))
    unguided = float(np.median([generator.propose(Request(256, seed=seed)).seconds for seed in range(len(tasks))]))
    return {
        "seconds_256_guided": seconds,
        "seconds_256_unguided": unguided,
        "share_of_limit_2_s": seconds / LIMIT_S,
        "times_faster_than_reference_quoted_566_s": REFERENCE_S / seconds,
        "utility_calls": float(np.median([proposal.utility_calls for proposal in proposals])),
        "validity_unprojected_guided": float(np.mean([proposal.validity_unprojected for proposal in proposals])),
    }


def quality(task: Task, steps: Sequence[int], seeds: int) -> list[dict[str, float | str]]:
    """Means over seeds: 1,000 unguided samples, and guided ones at 512 calls, by sampler and steps."""
    rows: list[dict[str, float | str]] = []
    for sampler in sorted(SAMPLERS):
        for count in steps:
            options = {"kind": "diffusion_nag", "sampler": sampler, "steps": count}
            plain = [make_generator(options, SPACE).propose(Request(1000, seed=seed)) for seed in range(seeds)]
            shares = np.stack([[(p.slots == value).mean(axis=0) for value in range(5)] for p in plain]).mean(axis=0)
            options["calls_per_architecture"] = 512 // RETURNED
            guided = [
                make_generator(options, SPACE).propose(Request(RETURNED, task.guide, seed=s)) for s in range(seeds)
            ]
            rows.append(
                {
                    "sampler": sampler,
                    "steps": count,
                    "validity_unprojected": float(np.mean([p.validity_unprojected for p in plain])),
                    "uniqueness": float(np.mean([p.uniqueness or 0.0 for p in plain])),
                    "novelty": float(np.mean([p.novelty or 0.0 for p in plain])),
                    "marginals_largest_deviation": float(np.abs(shares - 0.2).max()),
                    "seconds_1000": float(np.median([p.seconds for p in plain])),
                    "guided_validity": float(np.mean([p.validity_unprojected for p in guided])),
                    "guided_predicted_gap": float(np.mean([_worth(task, p.slots)["predicted_gap"] for p in guided])),
                }
            )
    return rows


def guidance(tasks: Sequence[Task], budgets: Sequence[int]) -> list[dict[str, float | str]]:
    """Medians over seeds of what each method's best ten are worth, at equal predictor calls."""
    rows: list[dict[str, float | str]] = []
    for calls in budgets:
        for method in METHODS:
            options = {"kind": method, "calls_per_architecture": max(calls // RETURNED, 1)}
            generator = make_generator(options, SPACE)
            proposals = [generator.propose(Request(RETURNED, task.guide, seed=s)) for s, task in enumerate(tasks)]
            worth = [_worth(task, p.slots) for task, p in zip(tasks, proposals, strict=True)]
            row: dict[str, float | str] = {"calls": calls, "method": method}
            row |= {name: float(np.median([each[name] for each in worth])) for name in worth[0]}
            row["calls_used"] = float(np.mean([p.utility_calls for p in proposals]))
            row["seconds"] = float(np.median([p.seconds for p in proposals]))
            rows.append(row)
    return rows


def _worth(task: Task, slots: IntArray) -> dict[str, float]:
    """The best ten of a proposal, best first by the predictor: predicted, and in truth."""
    rows = [SPACE.index(SPACE.architecture(row)) for row in slots]
    best = sorted(rows, key=lambda row: -task.predicted[row])[:BEST]
    ideal = np.sort(task.predicted)[-BEST:].mean()
    return {
        "predicted_gap": float(ideal - task.predicted[best].mean()),
        "true_utility": float(task.true[best].mean()),
        "true_accuracy": float(task.accuracy[best].mean()),
        "within_budget": float(task.within[best].mean()),
    }


def _column(path: Path, column: str) -> FloatArray:
    """(15625,) a table's column in the benchmark's order."""
    values = read_table(path).column(column)
    return np.array([values[SPACE.at(index).text] for index in range(SPACE.size or 0)])


def _print(rows: Sequence[Mapping[str, float | str]]) -> None:
    widths = {name: max(len(name), 10) for name in rows[0]}
    print("  ".join(f"{name:>{width}}" for name, width in widths.items()))
    for row in rows:
        cells = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values())
        print("  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths.values(), strict=True)))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accuracy-table", type=Path, default=DATA / "nb201_accuracy.parquet")
    parser.add_argument("--accuracy-column", default="c100_valid_12ep")
    parser.add_argument("--latency-table", type=Path, default=DATA / "nb201_latency.parquet")
    parser.add_argument("--latency-column", default="pixel3")
    parser.add_argument("--budget-quantile", type=float, default=0.3, help="latency budget: this quantile of the table")
    parser.add_argument("--fitted-on", type=int, default=100, help="rows that a predictor is fitted on")
    parser.add_argument("--calls", type=int, nargs="+", default=[64, 128, 256, 512, 1024, 2560])
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 10, 20, 40])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    tasks = [make_task(arguments, seed) for seed in range(arguments.seeds)]
    figures = {
        "speed": speed(tasks),
        "guidance": guidance(tasks, arguments.calls),
        "quality": quality(tasks[0], arguments.steps, min(arguments.seeds, 4)),
        "seconds": time.perf_counter() - started,
    }
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"256 architectures, medians of {arguments.seeds} runs")
    for name, value in figures["speed"].items():
        print(f"  {name:44} {value:.4g}")
    print("\nAt equal predictor calls, the best ten by the predictor (gap: to the ten best of the whole space)")
    _print(figures["guidance"])
    print("\nUnguided samples, and guided ones at 512 calls, by sampler and steps")
    _print(figures["quality"])


if __name__ == "__main__":
    main()
