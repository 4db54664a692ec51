"""Does writing, checking and merging a data set need memory for its rows? Peak memory and time at growing sizes.

    python benchmarks/dataset.py [--rows 2000,10000,40000] [--seed 0]

Rows are of four devices, with five blocks each and as many conditions as a phone's blocks have. Every step runs in a
process of its own, so that the peak is its own; printed are its peak memory above that of a process that only imports
what the step needs, and the CPU time it takes per 1,000 rows, both as ratios to the first size, too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from profiling.dataset.files import writing
from profiling.dataset.manifest import Source
from profiling.dataset.merge import merge
from profiling.dataset.row import DatasetRow, Subject
from profiling.dataset.validate import Validator
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo
from profiling.statistics import estimate

DEVICES = 4
BLOCKS = 5
SOURCE = Source("0" * 16, "benchmark", "collection", "devicenag")
_READING = {
    "thermal_status": 0, "temp_c": 31.0, "battery_c": 29.0, "battery_percent": 80.0, "charging": True, "awake": True,
    "sensors_c": {"SKIN": 31.0, "CPU": 36.0, "GPU": 33.0}, "frequency_khz": [1803000, 2850000],
    "limit_khz": [1803000, 2850000],
}  # fmt: skip


def rows(count: int, seed: int) -> Iterator[DatasetRow]:
    """Believable rows, one after the other."""
    rng = np.random.default_rng(seed)
    plan = MeasurementPlan()
    for number in range(count):
        info = DeviceInfo(f"Phone {number % DEVICES}", "adb", "Phone", f"{number % 8:016x}", "build 1", "arm64-v8a")
        values = (1 + number % 100) * np.exp(rng.normal(0, 0.01, BLOCKS))
        conditions = {"before": _READING, "after": {**_READING, "temp_c": float(rng.uniform(28, 36))}, "threads": 1}
        blocks = [
            Block(index, 200, "median", float(value), duration_s=0.5, conditions=conditions)
            for index, value in enumerate(values)
        ]
        subject = Subject(SOURCE.id, "nasbench201", f"|architecture~{number // DEVICES}|", purpose="collect")
        yield DatasetRow.of(subject, info, plan, estimate(blocks, plan, "", info), at=1.7e9 + number, blocks=blocks)


def write(folder: Path, count: int, seed: int) -> None:
    """`nag export --dataset`, but for the store."""
    with writing(folder / "set", name="benchmark") as writer:
        writer.add_source(SOURCE)
        for row in rows(count, seed):
            writer.add(row)


def validate(folder: Path, count: int, seed: int) -> None:
    """`nag dataset validate`."""
    report = Validator(folder / "set").run()
    assert (report.rows, report.counts["error"]) == (count, 0)


def merge_twice(folder: Path, count: int, seed: int) -> None:
    """`nag dataset merge` of the set with itself: every row is looked at twice."""
    merge(folder / "merged", [folder / "set", folder / "set"])


STEPS: dict[str, Callable[[Path, int, int], None]] = {"write": write, "validate": validate, "merge": merge_twice}


def _measured(step: str, folder: Path, count: int, seed: int, answer: Any) -> None:
    before_mb, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time()
    STEPS[step](folder, count, seed)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer.put({"peak_mb": peak_mb - before_mb, "seconds": time.process_time() - begun})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="2000,10000,40000")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    first: dict[str, dict[str, float]] = {}
    print(f"{'rows':>7} {'step':<9} {'peak MB':>8} {'ratio':>6} {'CPU s / 1,000':>13} {'ratio':>6} {'MB on disk':>11}")
    for count in map(int, arguments.rows.split(",")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for step in STEPS:
                answer = context.Queue()
                process = context.Process(target=_measured, args=(step, folder, count, arguments.seed, answer))
                process.start()
                found = answer.get()
                process.join()
                found["pace"] = 1000 * found["seconds"] / count
                base = first.setdefault(step, found)
                disk_mb = sum(file.stat().st_size for file in folder.rglob("*.parquet")) / 2**20
                print(
                    f"{count:>7} {step:<9} {found['peak_mb']:>8.0f} {found['peak_mb'] / base['peak_mb']:>6.2f}"
                    f" {found['pace']:>13.2f} {found['pace'] / base['pace']:>6.2f} {disk_mb:>11.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
