"""Conditional generation over a grid of budgets and devices: how many samples keep the budget, and how good those are.

DiNAS is asked for architectures within a latency budget and above an accuracy quantile; a device is given to it as the
latencies of its reference architectures, nothing else. Tables tell the truth (NAS-Bench-201), or OFA's predictor and
block tables (MobileNetV3). Samples are counted as they come, repeats included. Beside it: uniform draws, and
draw-and-filter, which draws ten times as many, predicts their latency with the very cost model that DiNAS has inside,
from the same latencies of the references, keeps those within the budget less the same margin, and of them the best by
an accuracy predictor.

A looser budget must not be kept less often than a tighter one: the largest fall is printed with the standard error that
chance alone gives it. Means over seeds.

    python benchmarks/feasibility.py --space nasbench201 --seeds 5
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from yardstick import DATA

from orchestrator.generate.base import Request, Utility
from orchestrator.generate.dinas.asked import Asked
from orchestrator.generate.dinas.conditions import Conditions, DeviceBudget
from orchestrator.generate.dinas.devices import SyntheticDevices
from orchestrator.generate.dinas.generator import DiNAS
from orchestrator.generate.pool import enumerate_space, score, width
from orchestrator.generate.table_guide import fit_score
from orchestrator.predict.block_table import BlockTable
from orchestrator.predict.ofa_accuracy import OfaAccuracy
from orchestrator.space.base import FloatArray, IntArray, Space, canonical, one_hot
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from profiling.table import read_table

FIRST_SEED = 2000  # nothing was chosen on seeds from here on
ACCURACY = "c100_valid_12ep"
SHARES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)  # of the architectures, let through by NAS-Bench-201's budgets
BUDGETS_MS = (22.0, 25.0, 30.0, 35.0, 40.0, 50.0, 60.0)  # on the Note10; scaled to the speed of other devices
MADE_UP = 4  # devices of MobileNetV3 that no training has seen
DRAWN = 10  # architectures that filtering looks at, for each one it returns
FITTED_ON = 300  # rows that its accuracy predictor is fitted on

Truth = Callable[[IntArray], FloatArray]
Method = Callable[["Task", "Device", float, int, int], IntArray]


@dataclass(frozen=True)
class Device:
    """Where budgets are to be kept.

    Attributes:
        name: Of the table's column.
        seen: Whether the conditional model was trained on it.
        latency_ms: (`B`,) of (`B`, `S`) architectures.
        budgets_ms: The tightest first.
    """

    name: str
    seen: bool
    latency_ms: Truth
    budgets_ms: tuple[float, ...]


@dataclass(frozen=True)
class Task:
    """A space with its devices.

    Attributes:
        generator: The conditional model.
        devices: Seen and unseen ones.
        accuracy: (`B`,) true percent.
        predictor: What draw-and-filter ranks by.
        quantile: Of accuracy, that is asked for.
    """

    generator: DiNAS
    devices: Sequence[Device]
    accuracy: Truth
    predictor: Utility
    quantile: float

    @property
    def space(self) -> Space:
        """Of the generator."""
        return self.generator.space


def nasbench201(options: dict[str, Any], quantile: float, seed: int) -> Task:
    """All 13 devices of the table; which of them are seen, the checkpoint says."""
    space = NASBench201()
    generator = DiNAS(space, **options)
    seen = {name.rpartition(":")[2] for name in generator.checkpoint.labels["latency"]}
    table = read_table(DATA / "nb201_latency.parquet")
    everything = enumerate_space(space)
    assert everything is not None
    relaxed = torch.from_numpy(one_hot(everything, width(space)))
    computes = everything[(space.encoding().connected(relaxed) > 0.5).numpy()]
    devices = []
    for column in (name for name in table.columns if name != "arch_index"):
        latency = _column(space, table.column(column))
        budgets = np.quantile(latency(computes), SHARES)
        devices.append(Device(column, column in seen, latency, tuple(budgets.tolist())))
    accuracies = DATA / "nb201_accuracy.parquet"
    predictor = fit_score(space, f"{accuracies}:{ACCURACY}", rows=FITTED_ON, seed=seed)
    return Task(generator, devices, _column(space, read_table(accuracies).column(ACCURACY)), predictor, quantile)


def mobilenetv3(options: dict[str, Any], quantile: float, seed: int) -> Task:
    """The Note10, and devices around it that do not exist."""
    space = MobileNetV3()
    generator = DiNAS(space, **options)
    accuracy = OfaAccuracy(DATA / "ofa_acc_predictor_weights.npz", space)
    note10 = BlockTable.read(DATA / "ofa_note10_latency_lut.csv.gz", space, width=1.2)
    drawn = canonical(space, space.sample(2000, np.random.default_rng(0)))
    usual = note10.of(drawn)
    prices = SyntheticDevices(space, drawn, usual[:, None]).draw(MADE_UP, torch.Generator().manual_seed(FIRST_SEED))
    costs = space.encoding().costs

    def made_up(price: torch.Tensor) -> Truth:
        return lambda slots: np.asarray((costs(torch.from_numpy(one_hot(slots, width(space)))) @ price).numpy())

    devices = [Device("note10", True, note10.of, BUDGETS_MS)]
    for number, price in enumerate(prices):
        latency = made_up(price)
        speed = float(np.median(latency(drawn)) / np.median(usual))
        devices.append(Device(f"made_up_{number}", False, latency, tuple(speed * each for each in BUDGETS_MS)))
    return Task(generator, devices, accuracy.of, accuracy, quantile)


def conditional(task: Task, device: Device, budget_ms: float, count: int, seed: int) -> IntArray:
    """DiNAS, asked for the budget and the accuracy quantile at once."""
    budget = DeviceBudget.on(device.latency_ms, budget_ms, task.generator.references, device.name)
    return canonical(task.space, task.generator.sample(count, Conditions.of(task.quantile, [budget]), seed))


def uniform(task: Task, device: Device, budget_ms: float, count: int, seed: int) -> IntArray:
    """What the space has."""
    del device, budget_ms
    return canonical(task.space, task.space.sample(count, np.random.default_rng(seed)))


def draw_and_filter(task: Task, device: Device, budget_ms: float, count: int, seed: int) -> IntArray:
    """The best by a predictor of those that the cost model takes to be within the budget; the fastest where none is."""
    drawn = uniform(task, device, budget_ms, DRAWN * count, seed)
    network, margin = task.generator.checkpoint.network, task.generator.checkpoint.calibration.margin
    budget = DeviceBudget.on(device.latency_ms, budget_ms * math.exp(-margin), task.generator.references, device.name)
    asked = Asked.of(Conditions.of(None, [budget]).targets * len(drawn), len(task.generator.references))
    excess = network.excess(torch.from_numpy(drawn), asked).numpy()
    order = np.lexsort((-score(task.predictor, drawn, task.space), np.maximum(excess, 0.0)))
    return drawn[order[:count]]


METHODS: dict[str, Method] = {"dinas": conditional, "draw_and_filter": draw_and_filter, "uniform": uniform}


def grid(task: Task, count: int, seed: int) -> dict[str, dict[str, list[dict[str, float]]]]:
    """By method and device: for each budget the share within it, and the true accuracy of those that are."""
    rows: dict[str, dict[str, list[dict[str, float]]]] = {name: {} for name in METHODS}
    for name, method in METHODS.items():
        for device in task.devices:
            rows[name][device.name] = []
            for number, budget in enumerate(device.budgets_ms):
                slots = method(task, device, budget, count, seed * 100 + number)
                kept = device.latency_ms(slots) <= budget
                accuracy = task.accuracy(slots[kept])
                rows[name][device.name].append(
                    {
                        "within": float(kept.mean()),
                        "accuracy": float(accuracy.mean()) if len(accuracy) else math.nan,
                        "best": float(accuracy.max()) if len(accuracy) else math.nan,
                    }
                )
    return rows


def summarise(task: Task, runs: Sequence[dict[str, Any]], count: int) -> dict[str, Any]:
    """Means over seeds, and the largest fall from a budget to the next looser one."""
    figures: dict[str, Any] = {}
    for method in METHODS:
        figures[method] = {}
        for device in task.devices:
            cells = {
                key: np.array([[cell[key] for cell in run[method][device.name]] for run in runs])
                for key in ("within", "accuracy", "best")
            }
            within = cells["within"].mean(axis=0)
            variance = within * (1 - within) / (count * len(runs))
            falls = within[:-1] - within[1:]
            worst = int(falls.argmax())
            figures[method][device.name] = {
                "seen": device.seen,
                "budgets_ms": list(device.budgets_ms),
                **{key: _mean(values).tolist() for key, values in cells.items()},
                "largest_fall": float(max(falls[worst], 0.0)),
                "standard_error": float(np.sqrt(variance[worst] + variance[worst + 1])),
            }
    return figures


def speed(task: Task, checkpoint: Path | None, batch: int, repeats: int) -> dict[str, float]:
    """Median seconds of CPU time an architecture of one batch, at the learned conditions and insisting on both."""
    device = task.devices[0]
    budget = DeviceBudget.on(device.latency_ms, device.budgets_ms[3], task.generator.references, device.name)
    conditions = Conditions.of(task.quantile, [budget])
    insisting = DiNAS(task.space, checkpoint=checkpoint, accuracy_scale=1.5, latency_scale=1.5)
    seconds = {}
    for name, generator in (("scales_1", task.generator), ("scales_1.5", insisting)):
        times = []
        for seed in range(repeats + 1):  # the first call of anything loads it
            started = time.process_time()
            generator.propose(Request(batch, seed=FIRST_SEED + seed, conditions=conditions))
            times.append((time.process_time() - started) / batch)
        seconds[name] = float(np.median(times[1:]))
    return seconds


def _mean(values: FloatArray) -> FloatArray:
    """Over seeds, without those where nothing was within the budget."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def _column(space: Space, values: Any) -> Truth:
    """A column of a table as a function of slots."""
    by_slots = {space.parse(text).slots: value for text, value in values.items()}
    return lambda slots: np.array([by_slots[tuple(row)] for row in slots.tolist()])


def _show(figures: dict[str, Any]) -> None:
    for method, devices in figures.items():
        print(f"\n{method}: share within the budget / mean accuracy of those; budgets from tight to loose")
        for name, row in devices.items():
            cells = "  ".join(f"{w:4.2f}/{a:5.2f}" for w, a in zip(row["within"], row["accuracy"], strict=True))
            fall = f"largest fall {row['largest_fall']:.3f} (standard error {row['standard_error']:.3f})"
            print(f"  {name:15} {'seen  ' if row['seen'] else 'unseen'}  {cells}  {fall}")
        for seen in (True, False):
            rows = [row for row in devices.values() if row["seen"] == seen]
            if rows:
                within = np.mean([row["within"] for row in rows], axis=0)
                cells = "  ".join(f"{share:10.2f}" for share in within)
                print(f"  mean {'seen' if seen else 'unseen':6}            {cells}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=("nasbench201", "mobilenetv3"), default="nasbench201")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--quantile", type=float, default=0.95, help="accuracy asked for, within each budget")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    options = {"checkpoint": arguments.checkpoint}
    make = {"nasbench201": nasbench201, "mobilenetv3": mobilenetv3}[arguments.space]
    seeds = range(FIRST_SEED, FIRST_SEED + arguments.seeds)
    tasks = [make(options, arguments.quantile, seed) for seed in seeds]
    runs = [grid(task, arguments.samples, seed) for task, seed in zip(tasks, seeds, strict=True)]
    figures = summarise(tasks[0], runs, arguments.samples)
    seconds = speed(tasks[0], arguments.checkpoint, 64, 5)
    if arguments.json:
        print(json.dumps({"grid": figures, "seconds_per_architecture_at_64": seconds}, indent=2))
        return
    _show(figures)
    print(f"\nseconds an architecture at batch 64, processor time of one thread: {seconds} (limit 0.02)")


if __name__ == "__main__":
    main()
