"""What helps a short training: residual blocks that start as their shortcuts, batch-norm statistics taken anew.

Trains random MobileNetV3 networks (width 0.35, 32 x 32) on scikit-learn's digits, as `accuracy: {kind: training}` does,
with neither, with the first, and with both, and prints the median validation accuracy over networks and seeds.

    python benchmarks/short_training.py [--epochs 1 3] [--networks 3] [--seeds 2] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence

import numpy as np
import torch

from orchestrator.objective.config import TrainingConfig
from orchestrator.objective.dataset import Dataset, load_dataset
from orchestrator.objective.initialise import initialised, start_residuals_at_zero
from orchestrator.objective.training import evaluate, fit, settle_batch_norms
from orchestrator.space.base import NetworkOptions
from orchestrator.space.mobilenetv3 import MobileNetV3
from profiling.network import Network

OPTIONS = NetworkOptions((1, 32, 32, 1), 10, {"width": 0.35})
DRAW = 7  # seed of the networks


def accuracies(network: Network, dataset: Dataset, epochs: int, seed: int) -> tuple[float, float, float]:
    """Percent with neither, with the first, with both."""
    config = TrainingConfig(epochs=epochs)
    found = []
    for zero in (False, True):
        module = initialised(network, seed)
        if zero:
            start_residuals_at_zero(module)
        fit(module, dataset.train, config, seed, _nothing)
        found.append(evaluate(module, dataset.validation, _nothing).accuracy)
    settle_batch_norms(module, dataset.train, seed, _nothing)
    return found[0], found[1], evaluate(module, dataset.validation, _nothing).accuracy


def _nothing() -> None:
    """No latency block waits."""


def compare(epochs: Sequence[int], networks: int, seeds: int) -> list[dict[str, float]]:
    """One row for each number of epochs."""
    torch.set_num_threads(1)
    space = MobileNetV3()
    dataset = load_dataset("digits", OPTIONS.input_shape, OPTIONS.classes, validation=0.25, test=0.15)
    drawn = [
        space.network(space.architecture(row), OPTIONS) for row in space.sample(networks, np.random.default_rng(DRAW))
    ]
    rows = []
    for count in epochs:
        runs = [accuracies(network, dataset, count, seed) for network in drawn for seed in range(seeds)]
        neither, first, both = (statistics.median(column) for column in zip(*runs, strict=True))
        rows.append({"epochs": count, "neither": neither, "shortcuts": first, "both": both})
    return rows


def main() -> None:
    """Parse the command line, train, print."""
    parser = argparse.ArgumentParser(description="What helps a short training of MobileNetV3.")
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    rows = compare(arguments.epochs, arguments.networks, arguments.seeds)
    if arguments.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(
            "{epochs} epochs: {neither:.1f} %; blocks start as shortcuts {shortcuts:.1f} %; "
            "and batch-norms settled {both:.1f} %".format(**row)
        )


if __name__ == "__main__":
    main()
