"""How often a campaign's surrogates are right about their doubt: coverage of their 50 % and 90 % intervals.

As many architectures as said are measured: an initial design of ten, then random ones; latencies with 2 % noise. Judged
are random others of the same truth, free of noise: a device's table, or the Note10's block table (MobileNetV3).
`work` expects prices in proportion to work; `others` knows other devices, never the one in question nor its siblings
(the Note10: made-up ones only). Accuracies are those of a table, or OFA's predictor; how bad a bad architecture is does
not count, as in a campaign. Medians over seeds of the share inside; then Spearman's rank correlation.

    python benchmarks/calibration.py --seeds 8
    python benchmarks/calibration.py --device note10 pixel3 --prior others --measurements 10 50
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from latency_prior import NOTE10, Case, of_note10, of_table
from scipy.stats import norm, spearmanr  # type: ignore[import-untyped]
from yardstick import DATA

from orchestrator.generate.pool import draw_distinct
from orchestrator.optimize.initial_design import initial_design
from orchestrator.predict.latency.structures import structures_of
from orchestrator.predict.latency.tables import device_columns
from orchestrator.predict.ofa_accuracy import OfaAccuracy
from orchestrator.predict.price_beliefs import beliefs_of
from orchestrator.predict.surrogates import Measured, Surrogate, SurrogateFitter
from orchestrator.space.base import FloatArray, IntArray, Space
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from profiling.table import read_table

NOISE = 0.02
INITIAL, JUDGED = 10, 1500
LEVELS = (0.5, 0.9)
ACCURACIES = ("c100_valid_12ep", "c10_valid_12ep", "c100_test_200ep")

Truth = Callable[[IntArray], FloatArray]
Fit = Callable[[IntArray, FloatArray], tuple[Surrogate, float]]  # measured -> surrogate, floor of the values


def measured(space: Space, count: int, seed: int) -> IntArray:
    """(`count`, `S`): an initial design, then random architectures."""
    rng = np.random.default_rng(seed)
    first = np.array(list(islice(initial_design(space, INITIAL, rng), min(count, INITIAL))))
    return np.concatenate([first, draw_distinct(space, count - len(first), rng)])


def judge(space: Space, fitter: SurrogateFitter, truth: Truth, fit: Fit, count: int, seed: int) -> list[float]:
    """Share of others inside each interval, and rank correlation, after `count` measurements."""
    slots = measured(space, count, seed)
    surrogate, floor = fit(slots, truth(slots))
    judged = draw_distinct(space, JUDGED, np.random.default_rng(seed + 10_000))
    known = set(map(tuple, slots.tolist()))
    judged = np.array([row for row in judged.tolist() if tuple(row) not in known])
    with torch.no_grad():
        mean, variance = (each.numpy() for each in surrogate.marginal(fitter.relaxed(judged)))
    values = np.maximum(truth(judged), floor)
    doubts = np.abs((np.log(values) if surrogate.logarithmic else values) - mean) / np.sqrt(variance)
    inside = [float(np.mean(doubts < norm.ppf(0.5 + level / 2))) for level in LEVELS]
    return [*inside, float(spearmanr(mean, values)[0])]


def of_latency(case: Case, fitter: SurrogateFitter, seed: int, others: bool) -> Fit:
    """Fits latencies with 2 % noise."""
    believed = beliefs_of(case.prior, structures_of(case.space), case.space) if others else ()

    def fit(slots: IntArray, values: FloatArray) -> tuple[Surrogate, float]:
        noisy = values * np.exp(NOISE * np.random.default_rng([seed, 1]).standard_normal(len(values)))
        return fitter.cost(Measured(slots, noisy, np.full(len(values), NOISE**2)), believed), 0.0

    return fit


def of_accuracy(fitter: SurrogateFitter) -> Fit:
    """Fits exact accuracies above a floor, as a campaign sets it."""

    def fit(slots: IntArray, values: FloatArray) -> tuple[Surrogate, float]:
        reference = np.quantile(values[:INITIAL], 0.25)
        floor = float(reference - 0.3 * (values.max() - reference))
        return fitter.accuracy(Measured(slots, values, np.zeros(len(values))), floor=floor), floor

    return fit


def table_truth(space: Space, path: Path, column: str) -> Truth:
    """Values of a table."""
    values = {space.parse(text).slots: value for text, value in read_table(path).column(column).items()}
    return lambda slots: np.array([values[each] for each in map(tuple, slots.tolist())])


def rows(given: argparse.Namespace) -> Iterator[tuple[str, int, list[float]]]:
    """What is judged, after how many measurements, and the medians."""
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    for device in given.device:
        case = of_note10() if device == NOTE10 else of_table(device)
        fitter = SurrogateFitter(case.space)
        for way in given.prior:
            for count in given.measurements:
                found = [
                    judge(
                        case.space,
                        fitter,
                        case.latency_ms,
                        of_latency(case, fitter, seed, way == "others"),
                        count,
                        seed,
                    )
                    for seed in seeds
                ]
                yield f"{device}, {way}", count, np.median(found, axis=0).tolist()
    ofa = MobileNetV3()
    truths: list[tuple[str, Space, Truth]] = [
        *(
            (name, NASBench201(), table_truth(NASBench201(), DATA / "nb201_accuracy.parquet", name))
            for name in ACCURACIES
        ),
        ("ofa_predictor", ofa, OfaAccuracy(DATA / "ofa_acc_predictor_weights.npz", ofa).of),
    ]
    for name, space, truth in truths:
        if name not in given.accuracy:
            continue
        fitter = SurrogateFitter(space)
        for count in given.measurements:
            found = [judge(space, fitter, truth, of_accuracy(fitter), count, seed) for seed in seeds]
            yield name, count, np.median(found, axis=0).tolist()


def main() -> None:
    """Run and print."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = device_columns(DATA / "nb201_latency.parquet")
    parser.add_argument("--device", nargs="*", default=[*tables, NOTE10])
    parser.add_argument("--accuracy", nargs="*", default=[*ACCURACIES, "ofa_predictor"])
    parser.add_argument("--prior", nargs="+", choices=["work", "others"], default=["work", "others"])
    parser.add_argument("--measurements", type=int, nargs="+", default=[5, 10, 20, 50])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    given = parser.parse_args()
    print(f"inside the 50 % / 90 % interval / Spearman after {', '.join(map(str, given.measurements))} measurements")
    line: list[str] = []
    for name, count, (half, most, rho) in rows(given):
        line.append(f"{half:.2f} / {most:.2f} / {rho:.3f}")
        if count == given.measurements[-1]:
            print(f"{name:>24}   " + "    ".join(line), flush=True)
            line = []


if __name__ == "__main__":
    main()
