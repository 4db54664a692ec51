"""Where the errors of a fitted latency predictor come from: the architectures, or the hour at which they were measured.

Prices are fitted on all of NAS-Bench-201 for each device of HELP's tables. What they leave of the logarithm is
correlated between neighbours in the table, whose order says nothing of the architectures but when they were measured,
and, for comparison, between architectures that differ by one choice. What the hour explains, no predictor can know.

    python benchmarks/latency_residuals.py --data ../shared/data
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from latency_sets import SETS, TableSet

from orchestrator.predict.latency.prices import fit_prices
from orchestrator.space.base import FloatArray

LAGS = (1, 10, 100)


def residuals(tables: TableSet, device: str) -> FloatArray:
    """(`N`,) of the logarithm, by the structure that leaves least."""
    relative = tables.latency_ms[device] / np.median(tables.latency_ms[device])
    found = []
    for amounts in tables.structures.amounts(tables.inputs).numpy():
        left = np.log(relative / np.maximum(amounts @ fit_prices(amounts, relative).values, 1e-3))
        found.append(left - np.median(left))
    return min(found, key=lambda left: float(np.mean(np.abs(left))))


def correlation(first: FloatArray, second: FloatArray) -> float:
    """Of ranks, so that a few absurd rows count as such."""
    ranks = [np.argsort(np.argsort(each)) for each in (first, second)]
    return float(np.corrcoef(ranks)[0, 1])


def one_apart(tables: TableSet, left: FloatArray, pairs: int = 20_000) -> float:
    """Correlation between residuals of architectures that differ in one choice."""
    choices = tables.inputs.argmax(-1).numpy()  # (N, S)
    place = {tuple(row): index for index, row in enumerate(choices.tolist())}
    rng = np.random.default_rng(0)
    rows = rng.integers(len(choices), size=pairs)
    slots = rng.integers(choices.shape[1], size=pairs)
    others = []
    for row, slot in zip(rows, slots, strict=True):
        changed = choices[row].copy()
        changed[slot] = (changed[slot] + rng.integers(1, choices.max() + 1)) % (choices.max() + 1)
        others.append(place[tuple(changed.tolist())])
    return correlation(left[rows], left[np.array(others)])


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tables = SETS["nasbench201"](arguments.data)
    print(f"| device | spread | {' | '.join(f'{lag} rows apart' for lag in LAGS)} | one choice apart |")
    print("|---|---|" + "---|" * (len(LAGS) + 1))
    for device in tables.latency_ms:
        left = residuals(tables, device)
        spread = float(np.median(np.abs(left))) * 1.4826
        found = [correlation(left[:-lag], left[lag:]) for lag in LAGS]
        cells = [f"{value:.2f}" for value in (*found, one_apart(tables, left))]
        print(f"| {device} | {100 * spread:.1f} % | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
