"""How busy are the phones? Sixteen virtual ones whose runs take a fixed time, behind the real adb server.

    python benchmarks/fleet.py --phones 16 --run-seconds 2 --json

Nothing is computed on these phones, so the only thing that keeps one from running is this program: taking the next job,
preparing the phone, deploying, checking its condition before and after each run, estimating, writing down. The share of
the wall time in which phones run is taken between the moment when each has done its first run and the moment when the
first has no job left; what is missing, divided by the measurements, is the overhead of one.

The phones live in a process of their own on the same computer, so what they need themselves counts as overhead too.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from device_agent.adb import AdbClient
from device_agent.android import AndroidDevice
from device_agent.backend import MeasurementJob, MeasurementResult
from device_agent.device import Artifact
from device_agent.discovery import AdbDiscovery
from device_agent.fleet import FleetBackend
from device_agent.journal import Journal
from device_agent.lease import LeaseBook
from device_agent.phone_runner import bundled_runner
from device_agent.virtual.control import ask
from profiling.plan import MeasurementPlan
from profiling.records import Block, Measurement

TARGET = 0.95
MODEL_BYTES = 200_000


@dataclass(frozen=True)
class Figures:
    """The outcome.

    Attributes:
        phones, run_seconds, blocks: What was asked for.
        measurements: Jobs that ended with a measurement.
        failures: Jobs that did not.
        busy_share: Share of the wall time in which phones ran, while there was work for all.
        busy_share_whole: The same from start to end, with finding the phones and the last, uneven round.
        overhead_ms: Everything but the runs, for one measurement.
        overhead_ms_per_block: The same for one run.
        cpu_ms: Processor time of this program for one measurement.
        wall_seconds: From start to end.
        target, met: What `busy_share` should be at least, and whether it is.
    """

    phones: int
    run_seconds: float
    blocks: int
    measurements: int
    failures: int
    busy_share: float
    busy_share_whole: float
    overhead_ms: float
    overhead_ms_per_block: float
    cpu_ms: float
    wall_seconds: float
    target: float
    met: bool


@contextlib.contextmanager
def virtual_lab(phones: int, run_seconds: float) -> Iterator[dict[str, Any]]:
    """A lab in a process of its own: its adb port and its control socket."""
    command = [sys.executable, "-m", "device_agent.virtual", "--json", f"--count={phones}"]
    command += [f"--fixed-run-s={run_seconds}", "--profile=virtual8", "--profile=virtual6"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as lab:
        try:
            assert lab.stdout is not None
            yield json.loads(lab.stdout.readline())
        finally:
            lab.send_signal(signal.SIGTERM)


@dataclass(frozen=True)
class Snapshot:
    """Wall time, processor time of this program, and what the phones have done by then."""

    wall_s: float
    cpu_s: float
    busy_s: float
    runs: int

    @classmethod
    def now(cls, control: Path) -> Snapshot:
        """Ask the lab."""
        phones = ask(control, do="status")["phones"]
        busy_s, runs = (sum(phone[key] for phone in phones) for key in ("busy_s", "runs"))
        return cls(time.monotonic(), time.process_time(), busy_s, runs)

    def share_until(self, later: Snapshot, phones: int) -> float:
        """Share of the time in which phones ran."""
        return (later.busy_s - self.busy_s) / (phones * (later.wall_s - self.wall_s))


class Progress:
    """Hears of every block and result; wakes up when each phone has run once, and when the first has no job left."""

    def __init__(self, serials: list[str], jobs: int) -> None:
        self._jobs = jobs
        self._lock = threading.Lock()
        self._left = dict.fromkeys(serials, jobs)
        self._waiting = set(serials)
        self.all_run = threading.Event()
        self.one_idle = threading.Event()

    def block(self, serial: str, block: Block) -> None:
        """A phone has run a block."""
        with self._lock:
            self._waiting.discard(serial)
            if not self._waiting:
                self.all_run.set()

    def done(self, serial: str, future: Future[MeasurementResult]) -> None:
        """A phone has done a job."""
        with self._lock:
            self._left[serial] -= 1
            if not self._left[serial]:
                self.one_idle.set()


def benchmark(phones: int, run_seconds: float, blocks: int, jobs: int, home: Path) -> Figures:
    """Measure `jobs` models on each of so many phones."""
    plan = MeasurementPlan(min_blocks=blocks, max_blocks=blocks, min_runs=10, deadline_s=run_seconds + 30)
    with (
        virtual_lab(phones, run_seconds) as lab,
        LeaseBook(home / "leases") as leases,
        Journal(home / "journal.sqlite") as journal,
    ):
        control, serials, runner = Path(lab["control"]), lab["serials"], bundled_runner()
        client, progress = AdbClient(port=lab["adb_port"]), Progress(serials, jobs)
        begin = Snapshot.now(control)
        discovery = AdbDiscovery(client, lambda phone: AndroidDevice(phone, runner, home=home))
        with FleetBackend([discovery], leases=leases, journal=journal) as fleet:
            futures = []
            for number, serial in itertools.product(range(jobs), serials):
                model = Artifact.of(os.urandom(MODEL_BYTES), f"model {number} for {serial}")
                job = MeasurementJob(model.label, model, plan, serial)
                future = fleet.submit(job, on_block=functools.partial(progress.block, serial))
                future.add_done_callback(functools.partial(progress.done, serial))
                futures.append(future)
            progress.all_run.wait()
            started = Snapshot.now(control)
            progress.one_idle.wait()
            ended = Snapshot.now(control)
            results = [future.result() for future in futures]
            finish = Snapshot.now(control)
    for result in results:
        if not isinstance(result, Measurement):
            print(result, file=sys.stderr)
    measurements = sum(isinstance(result, Measurement) for result in results)
    share = started.share_until(ended, phones)
    idle_ms_per_run = 1000 * (1 - share) * phones * (ended.wall_s - started.wall_s) / (ended.runs - started.runs)
    return Figures(
        phones=phones,
        run_seconds=run_seconds,
        blocks=blocks,
        measurements=measurements,
        failures=len(results) - measurements,
        busy_share=share,
        busy_share_whole=begin.share_until(finish, phones),
        overhead_ms=idle_ms_per_run * blocks,
        overhead_ms_per_block=idle_ms_per_run,
        cpu_ms=1000 * (finish.cpu_s - begin.cpu_s) / len(results),
        wall_seconds=finish.wall_s - begin.wall_s,
        target=TARGET,
        met=share >= TARGET,
    )


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phones", type=int, default=16, help="how many virtual phones")
    parser.add_argument("--run-seconds", type=float, default=2.0, help="how long each run takes")
    parser.add_argument("--blocks", type=int, default=5, help="runs of one measurement")
    parser.add_argument("--jobs", type=int, default=4, help="measurements on each phone")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="devicenag-bench-") as home:
        figures = benchmark(options.phones, options.run_seconds, options.blocks, options.jobs, Path(home))
    if options.json:
        print(json.dumps(asdict(figures)))
    else:
        print(f"{figures.measurements} measurements of {figures.blocks} runs on {figures.phones} phones")
        print(f"phones ran {figures.busy_share:.1%} of the wall time, target {TARGET:.0%}")
        print(f"with finding them and the last, uneven round: {figures.busy_share_whole:.1%}")
        print(f"overhead: {figures.overhead_ms:.0f} ms a measurement, {figures.overhead_ms_per_block:.0f} ms a run")
        print(f"processor time of this program: {figures.cpu_ms:.0f} ms a measurement")
    return 0 if figures.met else 1


if __name__ == "__main__":
    raise SystemExit(main())
