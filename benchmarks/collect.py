"""Does a collection stay as fast as it begins? Costs at 1,000, 10,000 and 100,000 results, as ratios to the first.

    python benchmarks/collect.py [--results 100000] [--seed 0]
    python benchmarks/collect.py --fleet 4000
    python benchmarks/collect.py --phones 10000 [--minutes 60]

One collection of four devices is filled by the real collector, whose devices answer at once with measurements of five
blocks; the disk is not waited for while it fills, since waiting would hide what the program itself costs. Printed are
medians of the last 500 results before each mark (hand-out, commit and bookkeeping together), of reading the status
from another connection, of reading the first 500 results back, and of a journal's record among as many entries.

With `--fleet N`, N architectures are looked up in four tables through everything that a collection on phones goes
through: fleet, journal, store, and the disk. Printed is the mean time of a result in each tenth of the run, as ratios
to the first.

With `--phones N`, N architectures are compiled, deployed and measured on four virtual phones of four kinds behind the
real adb server: gates, deployment, two processes on the phone, journal, store, disk. The phones compute nothing, so
that what is timed is the program. After `--minutes` it is stopped as by Ctrl-C. Printed are results in an hour and, by
tenths of the run as ratios to the first, the time of a result and the processor time of this process for it, on which
other load of the machine has little influence.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from device_agent.backend import Enough, MeasurementJob, MeasurementResult, OnBlock
from device_agent.gate import HostGate
from device_agent.journal import Journal
from device_agent.lease import Lease
from device_agent.virtual import PROFILES, VirtualLab
from orchestrator.collect.collector import Collector, collect
from orchestrator.collect.config import CollectConfig, parse_collection
from orchestrator.collect.events import Arrived, Event
from orchestrator.collect.plan import all_settings, make_jobs
from orchestrator.collect.records import CollectModel
from orchestrator.collect.status import status_of
from orchestrator.collect.store import STORE, CollectStore
from orchestrator.rig import Rig
from orchestrator.space.nasbench201 import NASBench201
from profiling.records import Block, DeviceInfo, Measurement

DEVICES = tuple(f"phone{number}" for number in range(4))
_WINDOW = 500  # results that a median is over
_READS = 20


class Instant:
    """Four devices that answer every job at once."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._infos = {name: DeviceInfo(name, "virtual", model=name, serial_hash=name) for name in DEVICES}

    def submit(self, job: MeasurementJob, on_block: OnBlock | None = None) -> Future[MeasurementResult]:
        """See `MeasurementBackend.submit`."""
        future: Future[MeasurementResult] = Future()
        future.set_result(measurement(self._infos[job.device], self._rng))
        return future

    def inventory(self) -> tuple[DeviceInfo, ...]:
        """See `MeasurementBackend.inventory`."""
        return tuple(self._infos.values())

    def await_devices(self, enough: Enough, timeout_s: float) -> tuple[DeviceInfo, ...]:
        """See `MeasurementBackend.await_devices`."""
        return self.inventory()

    def close(self) -> None:
        """See `MeasurementBackend.close`."""


def measurement(info: DeviceInfo, rng: np.random.Generator) -> Measurement:
    """Like those of a phone: five blocks with their conditions."""
    values = np.exp(rng.normal(1.0, 0.02, 5))
    conditions = {"threads": 1, "affinity": [4], "frequency_khz": [2_400_000], "temp_c": 31.5, "load": 0.1}
    spread = dict.fromkeys(("min_ms", "p5_ms", "mean_ms", "p95_ms", "max_ms", "std_ms", "init_ms", "first_ms"), 1.0)
    blocks = tuple(
        Block(index, 30, "median", float(value), **spread, duration_s=0.7, conditions=conditions)
        for index, value in enumerate(values)
    )
    return Measurement(float(values.mean()), 0.01, 2.6, 2.8, blocks, "A", (), 0.02, "ab" * 32, info)


def planned(folder: Path, results: int, seed: int) -> tuple[CollectConfig, CollectStore]:
    """A store with so many jobs."""
    config = parse_collection(
        {
            "name": "benchmark",
            "seed": seed,
            "models": {"kind": "space", "space": {"kind": "mobilenetv3"}, "count": results // len(DEVICES)},
            "devices": [{"kind": "host", "name": name} for name in DEVICES],
        },
        source="benchmark",
    )
    models = [CollectModel(i, f"model{i}", "mobilenetv3", f"model{i}") for i in range(results // len(DEVICES))]
    store = CollectStore.create(folder / STORE, {"config": config.model_dump(mode="json")})
    store.add_plan(models, all_settings(config), make_jobs(config, models, {}), DEVICES)
    store._connection.execute("PRAGMA synchronous = OFF")
    return config, store


def median_ms(action: Callable[[], object], times: int = _READS) -> float:
    """Of how long something takes."""
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        action()
        took.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(took)


def first_results(folder: Path) -> None:
    """Read the first results back."""
    with CollectStore.read(folder / STORE) as store:
        assert len(list(islice(store.results(), _WINDOW))) == _WINDOW


def journal_ms(folder: Path, entries: int, rng: np.random.Generator) -> float:
    """Recording a result in a journal of so many."""
    info = DeviceInfo(DEVICES[0], "virtual", serial_hash=DEVICES[0])
    with Journal(folder / f"journal{entries}.sqlite") as journal:
        journal._database.execute("PRAGMA synchronous = OFF")
        lease = Lease(DEVICES[0], 1)
        journal.begin_session(lease)
        for number in range(entries):
            journal.record(str(number), replace(measurement(info, rng), blocks=()), lease)
        numbers = iter(range(entries, entries + _WINDOW))
        return median_ms(lambda: journal.record(str(next(numbers)), measurement(info, rng), lease), _WINDOW)


def through_the_fleet(folder: Path, architectures: int, seed: int) -> None:
    """Print how the time of a result changes in a collection on tables."""
    rng = np.random.default_rng(seed)
    texts = [architecture.text for architecture in map(NASBench201().at, range(architectures))]
    rows = "".join(f"{text},{value:.4f}\n" for text, value in zip(texts, rng.uniform(1, 9, len(texts)), strict=True))
    (folder / "table.csv").write_text(f"arch,phone\n{rows}")
    config = parse_collection(
        {
            "name": "fleet",
            "seed": seed,
            "models": {"kind": "file", "space": {"kind": "nasbench201"}, "path": str(folder / "table.csv")},
            "devices": [
                {"kind": "table", "path": str(folder / "table.csv"), "column": "phone", "name": name}
                for name in DEVICES
            ],
        },
        source="benchmark",
    )
    times: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, Arrived):
            times.append(time.perf_counter())

    collect(config, folder / "run", listen)
    tenths = [float(part.mean()) for part in np.array_split(np.diff(times), 10)]
    print(f"{len(times):,} results; milliseconds for each in the first tenth: {1e3 * tenths[0]:.1f}")
    print("ratios of the tenths to it: " + " ".join(f"{tenth / tenths[0]:.2f}" for tenth in tenths))


def on_phones(folder: Path, architectures: int, minutes: float, seed: int) -> None:
    """Print how the processor time of a result changes in a collection on virtual phones."""
    instant = PROFILES["virtual8"].with_fixed_runs(0.0, noise=0.01)
    kinds = [replace(instant, model=f"Virtual 8{letter}") for letter in "abcd"]
    times: list[tuple[float, float]] = []

    def listen(event: Event) -> None:
        if isinstance(event, Arrived):
            times.append((time.perf_counter(), time.process_time()))
            if times[-1][0] - begun > 60 * minutes:
                raise KeyboardInterrupt

    with VirtualLab(len(kinds), kinds, seed=seed) as lab:
        config = parse_collection(
            {
                "name": "phones",
                "seed": seed,
                "models": {
                    "kind": "space",
                    "space": {"kind": "nasbench201", "input": [1, 8, 8, 1], "channels": 4, "cells": 1},
                    "count": architectures,
                    "distinct": "architecture",
                },
                "devices": [{"kind": "adb", "port": lab.port, "model": kind.model} for kind in kinds],
                "measure": {"blocks": [2, 2], "min_runs": 5, "block_seconds": 0.01, "warmup_seconds": 0.0},
                "references": {"every": 50, "every_s": 3600},
            },
            source="benchmark",
        )
        begun = time.perf_counter()
        try:
            collect(config, folder / "run", listen)
        except KeyboardInterrupt:
            print(f"stopped after {minutes:g} minutes")
    status = status_of(folder / "run")
    print(f"{status.state}: {status.measured:,} of {status.planned:,} results, {status.failed} failed")
    stamps = np.array(times)
    each_s, cpu_s = np.diff(stamps, axis=0).T
    print(f"{3600 / each_s.mean():,.0f} results an hour; {1e3 * cpu_s.mean():.0f} ms of processor time for each")
    for name, values in (("time", each_s), ("processor time", cpu_s)):
        tenths = [float(part.mean()) for part in np.array_split(values, 10)]
        ratios = " ".join(f"{tenth / tenths[0]:.2f}" for tenth in tenths)
        print(f"{name} of a result, tenths of the run as ratios to the first: {ratios}")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fleet", type=int, metavar="N", help="instead, N architectures through a whole fleet")
    parser.add_argument("--phones", type=int, metavar="N", help="instead, N architectures on four virtual phones")
    parser.add_argument("--minutes", type=float, default=60.0, help="of --phones: no longer than this")
    arguments = parser.parse_args()
    if arguments.fleet or arguments.phones:
        with tempfile.TemporaryDirectory() as name:
            os.environ["DEVICENAG_HOME"] = name  # leases of this run only
            if arguments.fleet:
                through_the_fleet(Path(name), arguments.fleet, arguments.seed)
            else:
                on_phones(Path(name), arguments.phones, arguments.minutes, arguments.seed)
        return
    marks = [mark for mark in (1_000, 10_000, 100_000) if mark <= arguments.results]
    rows: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, store = planned(folder, arguments.results, arguments.seed)
        times: list[float] = []

        def listen(event: Event) -> None:
            if not isinstance(event, Arrived):
                return
            times.append(time.perf_counter())
            if len(times) in marks:
                rows[len(times)] = {
                    "per result": 1e3 * statistics.median(np.diff(times[-_WINDOW:]).tolist()),
                    "status": median_ms(lambda: status_of(folder)),
                    "500 read": median_ms(lambda: first_results(folder), 3),
                    "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                }

        with store:
            # As on tables nothing is compiled: what a network costs to compile depends on nothing that was before it.
            Collector(config, store, Rig(Instant(arguments.seed), frozenset(DEVICES), HostGate()), listen).run()
        for mark in marks:
            rows[mark]["journal"] = journal_ms(folder, mark, np.random.default_rng(arguments.seed))
        size = (folder / STORE).stat().st_size / arguments.results
    columns = list(rows[marks[0]])
    print("results  " + "".join(f"{column:>16}" for column in columns))
    for mark in marks:
        cells = (f"{rows[mark][c]:8.2f} ({rows[mark][c] / rows[marks[0]][c]:4.2f})" for c in columns)
        print(f"{mark:7,}  " + "".join(f"{cell:>16}" for cell in cells))
    print(f"milliseconds and megabytes (ratio to {marks[0]:,}); {size:,.0f} bytes on the disk for each result")


if __name__ == "__main__":
    main()
