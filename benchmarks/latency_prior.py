"""What prices of other devices do for a campaign's latency surrogate: its quality after a few measurements.

`work` expects prices in proportion to work; `others` knows other devices, never the one in question nor its siblings.
The first ten architectures are an initial design, the others random; measured with 2 % noise, judged on random ones.
NAS-Bench-201: leave one device family of the table out. MobileNetV3: the Note10's block table, made-up devices alone as
sources. Means over seeds: Spearman's rank correlation, median error of the log, share of the truth inside the 90 %
interval, mean log density (larger is better).

    python benchmarks/latency_prior.py --device pixel3 samsung_a50 samsung_s7 essential_ph_1
    python benchmarks/latency_prior.py --device note10
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from scipy.stats import spearmanr  # type: ignore[import-untyped]
from yardstick import DATA

from orchestrator.generate.pool import draw_distinct, width
from orchestrator.optimize.initial_design import initial_design
from orchestrator.predict.block_table import BlockTable
from orchestrator.predict.latency.prior import LatencyPrior, family_of, fit_prior
from orchestrator.predict.latency.sources import gather_sources
from orchestrator.predict.latency.structures import relaxed, structures_of
from orchestrator.predict.latency.tables import device_columns, read_latencies
from orchestrator.predict.price_beliefs import PriceBelief, beliefs_of
from orchestrator.predict.surrogates import Measured, SurrogateFitter
from orchestrator.space.base import FloatArray, IntArray, Space
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201

NOTE10 = "note10"
NOISE = 0.02
INITIAL, JUDGED, MADE_UP = 10, 1500, 16


@dataclass(frozen=True)
class Case:
    """A device, and what others are like."""

    space: Space
    latency_ms: Callable[[IntArray], FloatArray]
    prior: LatencyPrior


def of_table(device: str) -> Case:
    """A column of the table; the prior from other families."""
    space, path = NASBench201(), DATA / "nb201_latency.parquet"
    columns = device_columns(path)
    others = [each for each in columns if family_of(each, columns) != family_of(device, columns)]
    read = read_latencies(path, [device, *others], space)
    inputs = relaxed(read.slots, width(space))
    prior = fit_prior(structures_of(space), {name: (inputs, read.latency_ms[name]) for name in others})
    found = dict(zip(map(tuple, read.slots.tolist()), read.latency_ms[device], strict=True))
    return Case(space, lambda slots: np.array([found[each] for each in map(tuple, slots.tolist())]), prior)


def of_note10() -> Case:
    """The block table; the prior from devices that do not exist."""
    space = MobileNetV3()
    table = BlockTable.read(DATA / "ofa_note10_latency_lut.csv.gz", space, width=1.2, resolution=224)
    sources = gather_sources(space, None, None, [], synthetic=MADE_UP)
    return Case(space, table.of, fit_prior(structures_of(space), sources))


def judge(case: Case, fitter: SurrogateFitter, believed: tuple[PriceBelief, ...], count: int, seed: int) -> list[float]:
    """Quality after `count` measurements."""
    rng = np.random.default_rng(seed)
    slots = np.array(list(islice(initial_design(case.space, INITIAL, rng), min(count, INITIAL))))
    slots = np.concatenate([slots, draw_distinct(case.space, count - len(slots), rng)])
    seen = case.latency_ms(slots) * np.exp(NOISE * rng.standard_normal(count))
    surrogate = fitter.cost(Measured(slots, seen, np.full(count, NOISE**2)), believed)
    judged = draw_distinct(case.space, JUDGED, np.random.default_rng(seed + 10_000))
    with torch.no_grad():
        mean, variance = (each.numpy() for each in surrogate.marginal(fitter.relaxed(judged)))
    error = np.log(case.latency_ms(judged)) - mean
    density = -0.5 * (np.log(2 * np.pi * variance) + error**2 / variance)
    return [
        float(spearmanr(mean, mean + error)[0]),
        float(np.median(np.abs(error))),
        float(np.mean(np.abs(error) < 1.645 * np.sqrt(variance))),
        float(np.mean(np.maximum(density, -20.0))),
    ]


def main() -> None:
    """Run and print."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", nargs="+", default=["pixel3", "samsung_a50", "samsung_s7", "essential_ph_1"])
    parser.add_argument("--measurements", type=int, nargs="+", default=[10, 25, 60])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    given = parser.parse_args()
    print(f"{'device':>16} {'measured':>8} {'prior':>7} {'spearman':>9} {'error':>7} {'inside':>7} {'density':>8}")
    for device in given.device:
        case = of_note10() if device == NOTE10 else of_table(device)
        fitter = SurrogateFitter(case.space)
        ways = {"work": (), "others": beliefs_of(case.prior, structures_of(case.space), case.space)}
        for count in given.measurements:
            for way, believed in ways.items():
                seeds = range(given.first_seed, given.first_seed + given.seeds)
                rho, error, inside, density = np.mean([judge(case, fitter, believed, count, s) for s in seeds], axis=0)
                print(
                    f"{device:>16} {count:8d} {way:>7} {rho:9.3f} {error:7.3f} {inside:7.2f} {density:8.2f}", flush=True
                )


if __name__ == "__main__":
    main()
