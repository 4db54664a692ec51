"""Latency of a whole space on a device never seen, from a few measurements on it.

Each device is held out in turn, with its batch sizes or the other runs on the same phone; the prior is fitted on the
others. Prints Markdown: rank correlations, predictions within 5 and 10 % and what the 90 % intervals hold, over
devices and seeds, beside multiply-adds, the nearest known device, a Gaussian process without prior knowledge, and what
5,000 measurements give. Ranks are of all networks that were not measured, the rest is of at most `--evaluated` of them.

    python benchmarks/latency.py --data ../shared/data --notes notes.jsonl

The tables are those of HELP (NAS-Bench-201 and FBNet on 13 devices) and of iitm-sysdl's phones.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from generators import Notes, Row
from latency_sets import SETS, TableSet
from scipy.stats import kendalltau, spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from orchestrator.predict.latency.adapt import adapt
from orchestrator.predict.latency.prices import fit_prices
from orchestrator.predict.latency.prior import LatencyPrior, family_of
from orchestrator.predict.latency.quality import Quality, assess, predict
from orchestrator.predict.latency.references import telling_rows
from orchestrator.space.base import FloatArray, IntArray

FIRST_SEED = 1000  # whatever was chosen was chosen on seeds below it
MANY = 5000  # measurements of the ceiling
CANDIDATES, TARGETS, PART = 400, 600, 2048
Z_90 = 1.6449
MEASURES = ("spearman", "kendall", "within_5_percent", "within_10_percent", "coverage_90")


@dataclass(frozen=True)
class Held:
    """A device that is held out.

    Attributes:
        tables: All devices.
        device: This one.
        prior: What the others have in common.
        samples, seed: Of what is measured.
        evaluated: Most networks that intervals are made for.
    """

    tables: TableSet
    device: str
    prior: LatencyPrior
    samples: int
    seed: int
    evaluated: int

    @property
    def latency_ms(self) -> FloatArray:
        """(`N`,) of the device."""
        return self.tables.latency_ms[self.device]

    def rows(self) -> IntArray:
        """(`n`,) measured, the same for every method."""
        rng = np.random.default_rng(self.seed)
        mixed = rng.permutation(self.tables.measurable)
        candidates, targets = mixed[:CANDIDATES], rng.permutation(self.tables.measurable)[:TARGETS]
        inputs = self.tables.inputs
        chosen = telling_rows(self.tables.structures, self.prior, inputs[candidates], inputs[targets], self.samples)
        return np.asarray(candidates[chosen])

    def others(self, rows: IntArray) -> IntArray:
        """All but the measured ones."""
        return np.setdiff1d(np.arange(len(self.latency_ms)), rows)

    def some(self, others: IntArray) -> IntArray:
        """Positions among the others that intervals are made for."""
        return np.random.default_rng(self.seed).permutation(len(others))[: self.evaluated]


def adapted(held: Held) -> Row:
    """The predictor."""
    rows = held.rows()
    model = adapt(held.prior, held.tables.structures, held.tables.inputs[rows], held.latency_ms[rows])
    others = held.others(rows)
    with torch.no_grad():
        means = torch.cat([model.marginal(part)[0] for part in held.tables.inputs[others].split(PART)]).numpy()
    few = others[held.some(others)]
    prediction = predict(model, held.tables.inputs[few])
    quality = assess(prediction, held.latency_ms[few])
    spearman, kendall = _ranks(means, held.latency_ms[others])
    return {**asdict(replace(quality, spearman=spearman, kendall=kendall)), "sd": float(np.median(prediction.sd))}


def multiply_adds(held: Held) -> Row:
    """Ranks of the amount of work; nothing is measured."""
    spearman, kendall = _ranks(held.tables.work, held.latency_ms)
    return asdict(Quality(spearman, kendall, np.nan, np.nan, np.nan))


def nearest_device(held: Held) -> Row:
    """The known device whose ratios to the measurements vary least, scaled by their median."""
    rows, known = held.rows(), held.tables.latency_ms
    ratios = {name: held.latency_ms[rows] / known[name][rows] for name in held.prior.devices}
    nearest = min(ratios, key=lambda name: float(np.std(np.log(ratios[name]))))
    return _compared(held, rows, known[nearest] * np.median(ratios[nearest]))


def process_alone(held: Held) -> Row:
    """A Gaussian process on what was measured and nothing else, of the logarithm."""
    rows = held.rows()
    features, others = held.tables.features, held.others(rows)
    kernel = ConstantKernel() * RBF(3.0, (0.3, 100)) + WhiteKernel(0.1)
    process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=held.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(features[rows], np.log(held.latency_ms[rows]))
    mean, sd = process.predict(features[others], return_std=True)
    latency_ms = held.latency_ms[others]
    inside = np.abs(np.log(latency_ms) - mean) <= Z_90 * sd
    return asdict(_quality(np.exp(mean), latency_ms, float(inside.mean())))


def ceiling(held: Held) -> Row:
    """Prices fitted on 5,000 measurements (or, where there are fewer networks, on nine tenths of them)."""
    count = min(MANY, 9 * len(held.latency_ms) // 10)
    rows = np.sort(np.random.default_rng(held.seed).permutation(len(held.latency_ms))[:count])
    latency_ms = held.latency_ms
    relative = latency_ms[rows] / np.median(latency_ms[rows])
    fits = []
    for amounts in held.tables.structures.amounts(held.tables.inputs).numpy():
        expected = np.maximum(amounts @ fit_prices(amounts[rows], relative).values, 1e-3) * np.median(latency_ms[rows])
        fits.append((float(np.mean(np.abs(np.log(expected[rows] / latency_ms[rows])))), expected))
    return _compared(held, rows, min(fits, key=lambda fit: fit[0])[1])


def _compared(held: Held, rows: IntArray, expected_ms: FloatArray) -> Row:
    others = held.others(rows)
    return asdict(_quality(expected_ms[others], held.latency_ms[others], np.nan))


def _quality(expected_ms: FloatArray, latency_ms: FloatArray, coverage: float) -> Quality:
    error = np.abs(expected_ms / latency_ms - 1)
    return Quality(
        *_ranks(expected_ms, latency_ms), float(np.mean(error <= 0.05)), float(np.mean(error <= 0.1)), coverage
    )


def _ranks(expected: FloatArray, latency_ms: FloatArray) -> tuple[float, float]:
    """Spearman's and Kendall's; 0 of what does not tell networks apart."""
    if np.ptp(expected) <= 1e-12 * np.abs(expected).max():
        return 0.0, 0.0
    return float(spearmanr(expected, latency_ms)[0]), float(kendalltau(expected, latency_ms)[0])


ALWAYS: dict[str, Callable[[Held], Row]] = {"multiply-adds": multiply_adds, "5,000 measurements": ceiling}
BY_SAMPLES: dict[str, Callable[[Held], Row]] = {
    "adapted": adapted,
    "adapted, kind of device unseen": adapted,
    "nearest device": nearest_device,
    "process without prior": process_alone,
}
FEWEST = {"nearest device": 1, "process without prior": 3, "adapted, kind of device unseen": 10}
MOST = {"adapted, kind of device unseen": 10}


class Benchmark:
    """One set of tables, all devices, all seeds."""

    def __init__(self, tables: TableSet, notes: Notes, evaluated: int) -> None:
        """Args:
        tables: Devices and networks.
        notes: What was found before.
        evaluated: Most networks that intervals are made for.
        """
        self._tables, self._notes, self._evaluated = tables, notes, evaluated

    @cache  # noqa: B019 - one benchmark lives as long as the program
    def _prior(self) -> LatencyPrior:
        return self._tables.prior()

    def _known(self, device: str, method: str) -> LatencyPrior:
        """The prior without what is held out with a device."""
        phone, kind, names = self._tables.phone_of, self._tables.kind_of, tuple(self._tables.latency_ms)

        def together(other: str) -> bool:
            if method.endswith("unseen") and kind[other] == kind[device]:
                return True
            if phone:
                return phone[other] == phone[device]
            return family_of(other, names) == family_of(device, names)

        return self._prior().without([name for name in names if together(name)])

    def row(self, method: str, device: str, samples: int, seed: int) -> Row:
        """What one method makes of one device with one seed."""

        def measure() -> Row:
            prior = self._known(device, method)
            return (ALWAYS | BY_SAMPLES)[method](Held(self._tables, device, prior, samples, seed, self._evaluated))

        found = self._notes.row(measure, self._tables.name, method, device, samples, seed, self._evaluated)
        assert found is not None
        return found

    def rows(self, samples: Sequence[int], seeds: int, methods: Sequence[str]) -> Iterator[tuple[str, int, str, Row]]:
        """(method, samples, device, row), method by method."""
        for method in methods:
            counts = [0] if method in ALWAYS else [
                n for n in samples if FEWEST.get(method, 0) <= n <= MOST.get(method, n)
            ]  # fmt: skip
            for count in counts:
                some = range(FIRST_SEED, FIRST_SEED + (1 if method == "multiply-adds" else seeds))
                for device in self._tables.targets:
                    yield from ((method, count, device, self.row(method, device, count, seed)) for seed in some)
                print(f"{self._tables.name}: {method}, {count} measurements: done", file=sys.stderr, flush=True)


Found = Mapping[tuple[str, int], Mapping[str, list[Row]]]


def gathered(rows: Iterator[tuple[str, int, str, Row]]) -> Found:
    """(method, samples) -> device -> one row a seed."""
    found: dict[tuple[str, int], dict[str, list[Row]]] = {}
    for method, samples, device, row in rows:
        found.setdefault((method, samples), {}).setdefault(device, []).append(row)
    return found


def summary_table(found: Found) -> str:
    """Markdown: means over devices and seeds, with the worst device and the spread from seed to seed."""
    lines = []
    for (method, samples), devices in found.items():
        table = np.array([[[row[name] for name in MEASURES] for row in rows] for rows in devices.values()])  # (D, R, 5)
        by_device = table.mean(1)
        worst = int(by_device[:, 0].argmin())
        cells = [f"{value:.3f}" if np.isfinite(value) else "–" for value in by_device.mean(0)]
        low, high = by_device[:, 4].min(), by_device[:, 4].max()
        lines.append([
            method, "" if method in ALWAYS else str(samples), cells[0],
            f"{table[:, :, 0].mean(0).std():.3f}", f"{by_device[worst, 0]:.3f} ({list(devices)[worst]})", *cells[1:],
            f"{low:.2f} to {high:.2f}" if np.isfinite(low) else "–",
        ])  # fmt: skip
    names = ("", "measured", "Spearman", "sd over seeds", "worst device", "Kendall", "within 5 %", "within 10 %")
    return _markdown([*names, "90 % hold", "by device"], lines)


def device_table(found: Found, samples: int) -> str:
    """Markdown: the predictor on each device, mean and spread over seeds, and the ceiling."""
    lines = []
    top = found.get(("5,000 measurements", 0), {})
    for device, rows in found[("adapted", samples)].items():
        table = np.array([[row[name] for name in MEASURES] for row in rows])
        best = np.mean([row["spearman"] for row in top[device]]) if device in top else np.nan
        ranks = f"{table[:, 0].mean():.3f} ± {table[:, 0].std():.3f}"
        cells = [f"{value:.3f}" for value in (table[:, 0].min(), best, *table[:, 1:].mean(0))]
        lines.append([device, ranks, *cells])
    names = ("device", "Spearman", "worst seed", "with 5,000", "Kendall", "within 5 %", "within 10 %", "90 % hold")
    return _markdown(names, lines)


def _markdown(names: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, ["---"] * len(names), *lines))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--set", nargs="+", choices=SETS, default=[*SETS], help="default: all")
    parser.add_argument("--methods", nargs="+", choices=[*ALWAYS, *BY_SAMPLES], default=[*ALWAYS, *BY_SAMPLES])
    parser.add_argument("--samples", type=int, nargs="+", default=[0, 3, 5, 10, 20, 50])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--evaluated", type=int, default=2000, help="networks that intervals are made for, at most")
    parser.add_argument("--notes", type=Path, metavar="FILE", help="keep results there, and find none twice")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    printed = {}
    for name in arguments.set:
        benchmark = Benchmark(SETS[name](arguments.data), Notes(arguments.notes), arguments.evaluated)
        found = gathered(benchmark.rows(arguments.samples, arguments.seeds, arguments.methods))
        if arguments.json:
            printed[name] = {f"{method}, {samples}": rows for (method, samples), rows in found.items()}
            continue
        print(f"\n### {name}: {arguments.seeds} seeds\n\n{summary_table(found)}", flush=True)
        samples = 10 if 10 in arguments.samples else max(arguments.samples)
        if ("adapted", samples) in found and len(found["adapted", samples]) < 20:
            print(f"\n{samples} measurements, by device:\n\n{device_table(found, samples)}", flush=True)
    if arguments.json:
        print(json.dumps(printed, indent=2))


if __name__ == "__main__":
    main()
