"""What a larger depthwise kernel costs on this machine: blocks of MobileNetV3 through LiteRT, against their work.

Prints, for a block of the first and of the last stage (width 1, expansion 6, 224 x 224), processor time and
multiply-adds with kernels of 5 and 7 as ratios to those with a kernel of 3. Kernels take turns, and each time is the
least of many, so that other work on the machine weighs less.

    python benchmarks/kernels.py [--runs 50] [--json]
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from orchestrator.space.mobilenetv3_blocks import KERNELS, stage_block
from orchestrator.space.mobilenetv3_network import part_network
from profiling.tflite import emit
from profiling.weights import random_weights

STAGES = (0, 4)


def runner(stage: int, kernel: int) -> tuple[Interpreter, int]:
    """The second block of a stage, ready to run, and its multiply-adds."""
    network = part_network(stage_block(stage, 1, kernel, 6, 1.0, 224).key)
    interpreter = Interpreter(model_content=emit(network, random_weights(network)), num_threads=1)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    interpreter.set_tensor(source["index"], np.random.default_rng(0).random(source["shape"], dtype=np.float32))
    return interpreter, network.multiply_adds


def compare(stage: int, runs: int) -> list[dict[str, float]]:
    """One row for each kernel."""
    made = [runner(stage, kernel) for kernel in KERNELS]
    times: list[list[float]] = [[] for _ in made]
    for _ in range(runs):
        for seen, (interpreter, _) in zip(times, made, strict=True):
            start = time.process_time()
            interpreter.invoke()
            seen.append((time.process_time() - start) * 1e3)
    least = [min(seen) for seen in times]
    return [
        {
            "stage": stage + 1,
            "kernel": kernel,
            "processor_ms": ms,
            "ratio": ms / least[0],
            "multiply_adds_ratio": work / made[0][1],
        }
        for kernel, ms, (_, work) in zip(KERNELS, least, made, strict=True)
    ]


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description="Time blocks of MobileNetV3 by their kernel.")
    parser.add_argument("--runs", type=int, default=50, help="of each block (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    rows = [row for stage in STAGES for row in compare(stage, arguments.runs)]
    if arguments.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(
            "stage {stage:.0f}  kernel {kernel:.0f}  {processor_ms:7.2f} ms  ratio {ratio:5.2f}  "
            "multiply-adds {multiply_adds_ratio:.2f}".format(**row)
        )


if __name__ == "__main__":
    main()
