"""Do the intervals hold on this machine? Short measurements against a long run.

    python benchmarks/measure.py --measurements 20 --json

One network is measured many times with the default plan. Between these measurements single blocks are run, whose
geometric mean is the reference: it sees the same hours of the machine. Beside them stands what is usually reported, the
mean of 300 consecutive runs of one process, +- 1.96 standard errors; it is judged by the mean of the reference's means.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace

from device_agent.device import Artifact
from device_agent.host import HostDevice
from device_agent.measure import measure
from orchestrator.space.base import NetworkOptions
from orchestrator.space.nasbench201 import NASBench201
from profiling.plan import MeasurementPlan
from profiling.records import Block, Measurement
from profiling.statistics import student_t_quantile
from profiling.tflite import emit
from profiling.weights import random_weights

NAIVE_RUNS = 300


@dataclass(frozen=True)
class Method:
    """How one way of measuring did.

    Attributes:
        coverage: Share of its 95 % intervals that contain the reference.
        half_width: Median relative half-width.
        error: Median relative distance of the estimate from the reference.
        seconds: Mean time for one measurement.
    """

    coverage: float
    half_width: float
    error: float
    seconds: float


@dataclass(frozen=True)
class Interval:
    """One estimate with its interval, in ms, and the time it took."""

    latency_ms: float
    low_ms: float
    high_ms: float
    seconds: float


def judge(intervals: list[Interval], reference_ms: float) -> Method:
    """Coverage, width, error and cost of these intervals."""
    return Method(
        coverage=statistics.fmean(i.low_ms <= reference_ms <= i.high_ms for i in intervals),
        half_width=statistics.median((i.high_ms - i.low_ms) / (2 * i.latency_ms) for i in intervals),
        error=statistics.median(abs(i.latency_ms / reference_ms - 1) for i in intervals),
        seconds=statistics.fmean(i.seconds for i in intervals),
    )


def of_measurement(measurement: Measurement, seconds: float) -> Interval:
    """The interval of a measurement."""
    return Interval(measurement.latency_ms, measurement.ci_low_ms, measurement.ci_high_ms, seconds)


def naive(block: Block) -> Interval:
    """Mean of consecutive runs with 1.96 standard errors, as if they were independent."""
    assert block.mean_ms is not None
    assert block.std_ms is not None
    error = 1.96 * block.std_ms / math.sqrt(block.runs)
    return Interval(block.mean_ms, block.mean_ms - error, block.mean_ms + error, block.duration_s)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=int, default=11000, help="of the architecture in NAS-Bench-201")
    parser.add_argument("--measurements", type=int, default=20)
    parser.add_argument("--reference-blocks", type=int, default=40)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()

    space = NASBench201()
    architecture = space.at(arguments.index)
    network = space.network(architecture, NetworkOptions((1, 32, 32, 3), 10))
    artifact = Artifact.of(emit(network, random_weights(network)), architecture.text)
    plan = MeasurementPlan()
    one_process = replace(plan, min_runs=NAIVE_RUNS, max_runs=NAIVE_RUNS)
    device = HostDevice()
    reference: list[Block] = []
    measured: list[Interval] = []
    consecutive: list[Interval] = []
    grades: list[str] = []
    blocks: list[int] = []
    try:
        for round_ in range(arguments.measurements):
            due = math.ceil(arguments.reference_blocks * (round_ + 1) / arguments.measurements)
            reference += [device.run_block(artifact, plan, i) for i in range(len(reference), due)]
            start = time.monotonic()
            measurement = measure(device, artifact, plan)
            measured.append(of_measurement(measurement, time.monotonic() - start))
            grades.append(measurement.grade)
            blocks.append(len(measurement.blocks))
            consecutive.append(naive(device.run_block(artifact, one_process, 0)))
            print(f"{round_ + 1} of {arguments.measurements}", file=sys.stderr)
        health, info = device.health(), device.info
    finally:
        device.close()

    logs = [math.log(block.value_ms) for block in reference if block.status == "ok"]
    means = [block.mean_ms for block in reference if block.status == "ok" and block.mean_ms is not None]
    spread = statistics.stdev(logs)
    result = {
        "architecture": architecture.text,
        "machine": info.model,
        "runtime": info.runtime,
        "health": health,
        "reference_ms": math.exp(statistics.fmean(logs)),
        "reference_half_width": student_t_quantile(0.975, len(logs) - 1) * spread / math.sqrt(len(logs)),
        "reference_blocks": len(logs),
        "spread_between_processes": spread,
        "measurements": len(measured),
        "grades": {grade: grades.count(grade) for grade in sorted(set(grades))},
        "blocks_per_measurement": statistics.fmean(blocks),
        "blocks": asdict(judge(measured, math.exp(statistics.fmean(logs)))),
        "consecutive_runs": asdict(judge(consecutive, statistics.fmean(means))),
    }
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{info.model}, {info.runtime}: {result['reference_ms']:.4f} ms +- {result['reference_half_width']:.2%}")
    print(f"from {len(logs)} processes, between which latency varies by {spread:.2%}")
    for sentence in health:
        print(f"note: {sentence}")
    print(f"{'':32}covers  half-width   error  seconds")
    for title, key in (("default plan", "blocks"), (f"{NAIVE_RUNS} runs of one process", "consecutive_runs")):
        method = result[key]
        assert isinstance(method, dict)
        print(
            f"{title:32}{method['coverage']:6.0%}  {method['half_width']:10.2%}"
            f"  {method['error']:6.2%}  {method['seconds']:7.1f}"
        )


if __name__ == "__main__":
    main()
