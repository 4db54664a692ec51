"""How long it takes to emit a network as `.tflite`.

Prints the median over random architectures of the size that a space is known for (NAS-Bench-201: 16 channels, 5 cells
in each stage, 32x32x3; MobileNetV3: width 1.2, 224x224x3, 1000 classes) as a ratio to a limit, 50 and 150 ms, and,
measured in turns with it, to the plain way of writing the same model: the schema's object API (`ModelT.Pack`), which
only serialises: choosing operators and checking weights is not charged to it. Each time is the least of three, so that
other work on the machine weighs less.

    python benchmarks/emit.py [--space mobilenetv3] [--architectures 50] [--seed 0] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from orchestrator.space.registry import make_space
from profiling.tflite import emit
from profiling.weights import random_weights

LIMITS_MS = {"nasbench201": 50.0, "mobilenetv3": 150.0}
SIZES: dict[str, dict[str, Any]] = {"nasbench201": {"channels": 16, "cells": 5}, "mobilenetv3": {"width": 1.2}}
REPEATS = 3


def best_ms(*calls: Callable[[], object]) -> list[float]:
    """Least wall time of each call, the calls taking turns."""
    rounds = []
    for _ in range(REPEATS):
        times = []
        for call in calls:
            start = time.perf_counter()
            call()
            times.append((time.perf_counter() - start) * 1e3)
        rounds.append(times)
    return [min(times) for times in zip(*rounds, strict=True)]


def pack(model: schema.ModelT) -> bytes:
    """The object API's serialisation."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def compare(kind: str, architectures: int, seed: int) -> dict[str, float]:
    """Median times and their ratios."""
    space = make_space(kind)
    options = replace(space.usual_network, options=SIZES[kind])
    ours, peers, sizes = [], [], []
    for slots in space.sample(architectures, np.random.default_rng(seed)):
        network = space.network(space.architecture(slots), options)
        weights = random_weights(network, seed)
        artifact = emit(network, weights)
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(artifact, 0))
        our_ms, peer_ms = best_ms(partial(emit, network, weights), partial(pack, model))
        ours.append(our_ms)
        peers.append(peer_ms)
        sizes.append(len(artifact) / 1e6)
    median_ms, median_peer_ms = statistics.median(ours), statistics.median(peers)
    return {
        "architectures": architectures,
        "median_artifact_mb": statistics.median(sizes),
        "median_ms": median_ms,
        "slowest_ms": max(ours),
        "limit_ms": LIMITS_MS[kind],
        "ratio_to_limit": median_ms / LIMITS_MS[kind],
        "object_api_ms": median_peer_ms,
        "ratio_to_object_api": median_ms / median_peer_ms,
    }


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description="Time the emission of networks as .tflite.")
    parser.add_argument("--space", choices=LIMITS_MS, default="nasbench201", help="default %(default)s")
    parser.add_argument("--architectures", type=int, default=50, help="how many random ones (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    figures = compare(arguments.space, arguments.architectures, arguments.seed)
    if arguments.json:
        print(json.dumps(figures))
        return
    print("{architectures} architectures, median artifact {median_artifact_mb:.2f} MB".format(**figures))
    print("emit          {median_ms:8.1f} ms median, {slowest_ms:.1f} ms slowest".format(**figures))
    print("limit         {limit_ms:8.1f} ms   ratio {ratio_to_limit:.3f}".format(**figures))
    print("ModelT.Pack   {object_api_ms:8.1f} ms   ratio {ratio_to_object_api:.3f}".format(**figures))


if __name__ == "__main__":
    main()
