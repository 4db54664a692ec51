"""How well zero-cost proxies rank NAS-Bench-201: the project's, some that it left out, and counting multiply-adds.

    python benchmarks/proxies.py --sample 200 --seed 1
    python benchmarks/proxies.py --sample 50 --input 32 --channels 16 --cells 5     # the benchmark's own size, slow

Prints Spearman's and Kendall's correlation with the accuracies of the table on a uniform random sample, and seconds per
network on one core. The table is a CSV or Parquet with `arch_str` and accuracy columns.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from pandas import DataFrame
from torch import nn
from torch.nn.functional import cross_entropy

from orchestrator.objective.config import RANDOM_IMAGES, ProxyConfig
from orchestrator.objective.dataset import Split
from orchestrator.objective.initialise import initialised
from orchestrator.objective.proxy import PROXIES, Proxy, jacobian, make_sample
from orchestrator.objective.torch_network import TorchNetwork
from orchestrator.space.base import NetworkOptions
from orchestrator.space.nasbench201 import NASBench201
from profiling.table import read_table

TABLE = Path(__file__).parents[2] / "shared" / "data" / "nb201_accuracy.parquet"
COLUMNS = ("c10_test_200ep", "c100_test_200ep", "c100_valid_12ep")


def multiply_adds(module: TorchNetwork, sample: Split) -> float:
    """The baseline that needs no network at all."""
    return math.log(module.network.multiply_adds)


def naswot(module: TorchNetwork, sample: Split) -> float:
    """Log-determinant of the Hamming kernel of ReLU patterns (Mellor et al., ICML 2021)."""
    kernel = torch.zeros(len(sample), len(sample), dtype=torch.float64)

    def hook(_module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        active = (output.flatten(1) > 0).float()
        kernel.add_(active @ active.T + (1 - active) @ (1 - active).T)

    for layer in module.modules():
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(hook)
    with torch.no_grad():
        module.train()(sample.images)
    return torch.linalg.slogdet(kernel)[1].item()


def synflow(module: TorchNetwork, sample: Split) -> float:
    """Log of the sum of weight times gradient, all weights positive and no batch-norm (Tanaka et al., NeurIPS 2020)."""
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.abs_()
    module(torch.ones_like(sample.images[:1], dtype=torch.float64)).sum().backward()
    return math.log(sum((weight * weight.grad).sum().item() for weight in kernels(module)) + 1e-30)


def snip(module: TorchNetwork, sample: Split) -> float:
    """Log of the sum of |weight times gradient| (Lee et al., ICLR 2019)."""
    cross_entropy(module.train()(sample.images), sample.labels).backward()
    return math.log(sum((weight * weight.grad).abs().sum().item() for weight in kernels(module)) + 1e-30)


def kernels(module: nn.Module) -> list[nn.Parameter]:
    """Weights of convolutions and of the classifier."""
    return [layer.weight for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


LEFT_OUT: Mapping[str, Proxy] = {"jacobian": jacobian, "naswot": naswot, "synflow": synflow, "snip": snip}


def correlations(scores: list[float], accuracies: Mapping[str, list[float]]) -> dict[str, float]:
    """Spearman and Kendall with every column."""
    frame = DataFrame({"score": scores, **accuracies})
    return {
        f"{column}_{method}": float(frame["score"].corr(frame[column], method=method))
        for column in accuracies
        for method in ("spearman", "kendall")
    }


def compare(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Correlations and seconds of every proxy."""
    torch.set_num_threads(1)
    space = NASBench201()
    sizes = {"channels": arguments.channels, "cells": arguments.cells}
    options = NetworkOptions((1, arguments.input, arguments.input, 3), 10, sizes)
    sample = make_sample(ProxyConfig(dataset=arguments.dataset, batch=arguments.batch), options)
    rows = space.sample(arguments.sample, np.random.default_rng(arguments.seed))
    architectures = [space.architecture(row) for row in rows]
    table = read_table(arguments.table)
    columns = {column: table.column(column) for column in COLUMNS}
    accuracies = {name: [column[a.text] for a in architectures] for name, column in columns.items()}
    proxies: dict[str, Callable[[TorchNetwork, Split], float]] = {
        "multiply_adds": multiply_adds,
        **LEFT_OUT,
        **PROXIES,
    }
    results = {}
    for name, proxy in proxies.items():
        scores, seconds = [], 0.0
        for number, architecture in enumerate(architectures):
            module = initialised(space.network(architecture, options), arguments.seed + number)
            start = time.perf_counter()
            scores.append(proxy(module, sample))
            seconds += time.perf_counter() - start
        results[name] = correlations(scores, accuracies) | {"seconds": seconds / len(architectures)}
    return results


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--sample", type=int, default=200, help="architectures")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--input", type=int, default=16, help="height and width")
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--cells", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--dataset", default=RANDOM_IMAGES)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = compare(arguments)
    if arguments.json:
        print(json.dumps(results, indent=1))
    else:
        frame = DataFrame(results).T
        frame.columns = frame.columns.str.replace("_spearman", " ρ").str.replace("_kendall", " τ")
        print(frame.round(3).to_string())


if __name__ == "__main__":
    main()
