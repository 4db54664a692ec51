"""Devices unlike any known one: does the latency predictor notice, and do more measurements help?

Made-up roofline devices run NAS-Bench-201's networks as DeviceNAG builds them. The prior is the one that ships, which
knows thirteen real devices under PyTorch and TFLite. Prints Markdown, means over devices:

    python benchmarks/latency_unlike.py --devices 4
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from orchestrator.generate.pool import draw_distinct, width
from orchestrator.predict.latency.adapt import adapt
from orchestrator.predict.latency.checkpoint import shipped_prior
from orchestrator.predict.latency.layers import layer_costs
from orchestrator.predict.latency.quality import assess, predict
from orchestrator.predict.latency.references import telling_rows
from orchestrator.predict.latency.structures import relaxed, structures_of
from orchestrator.predict.latency.synthetic import SyntheticDevice, draw_devices
from orchestrator.space.nasbench201 import NASBench201

FIRST_SEED = 1000  # whatever was chosen was chosen on seeds below it
NETWORKS = 500
NOISE = 0.01  # relative, of each latency


def _slow_memory(device: SyntheticDevice) -> SyntheticDevice:
    return replace(device, gigabytes=device.gigabytes / 30)


KINDS: dict[str, Callable[[int, int], Sequence[SyntheticDevice]]] = {
    "one layer after the other": draw_devices,
    "shapes matter much": lambda count, seed: draw_devices(count, seed, quirk=1.0),
    "bound by memory": lambda count, seed: [_slow_memory(each) for each in draw_devices(count, seed)],
    "branches overlap by 70 %": lambda count, seed: draw_devices(count, seed, overlap=0.7),
    "branches overlap": lambda count, seed: draw_devices(count, seed, overlap=1.0),
}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=4, help="of each kind")
    parser.add_argument("--samples", type=int, nargs="+", default=[5, 10, 20])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    space = NASBench201()
    prior, structures = shipped_prior(space), structures_of(space)
    slots = draw_distinct(space, 2 * NETWORKS, np.random.default_rng(FIRST_SEED))
    slots = slots[space.encoding().connected(relaxed(slots, width(space))).numpy() > 0][:NETWORKS]
    inputs = relaxed(slots, width(space))
    layers = [layer_costs(space.network(space.architecture(row), space.usual_network)) for row in slots]
    chosen = telling_rows(structures, prior, inputs, inputs, max(arguments.samples))
    print("| devices | measured | Spearman | within 10 % | 90 % hold | median sd of the logarithm |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind, draw in KINDS.items():
        for samples in arguments.samples:
            rows, found = chosen[:samples], []
            others = np.setdiff1d(np.arange(len(slots)), rows)
            for device in draw(arguments.devices, FIRST_SEED):
                noise = np.random.default_rng(device.seed).normal(0, NOISE, len(slots))
                latency_ms = np.array([device.latency_ms(each) for each in layers]) * np.exp(noise)
                prediction = predict(adapt(prior, structures, inputs[rows], latency_ms[rows]), inputs[others])
                quality = assess(prediction, latency_ms[others])
                sd = float(np.median(prediction.sd))
                found.append((quality.spearman, quality.within_10_percent, quality.coverage_90, sd))
            cells = " | ".join(f"{value:.3f}" for value in np.mean(found, axis=0))
            print(f"| {kind} | {samples} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
