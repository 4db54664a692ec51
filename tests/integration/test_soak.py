"""Nothing is lost: phones fail in every way they know, the measuring program is killed, and still every job ends once.

The normal run is short. `DEVICENAG_SOAK=1` runs the long one: 8 phones, at least 200 jobs and 100 faults, 6 kills.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from device_agent.journal import Journal
from device_agent.lease import LeaseBook
from device_agent.virtual import FAULT_KINDS, VirtualLab
from profiling.records import Failure, Measurement
from tests.integration.soak import LATENCY_MS, PHONES, Trouble, hash_of, is_refused, orchestrate

LONG = bool(os.environ.get("DEVICENAG_SOAK"))
processes = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Size:
    """How much has to happen at least."""

    phones: int
    jobs: int
    faults: int
    kills: int
    fault_every_s: float


SIZE = Size(8, 200, 100, 6, 0.8) if LONG else Size(4, 20, 6, 2, 1.5)


def run_until_done(lab: VirtualLab, trouble: Trouble, folder: Path) -> int:
    """Run the program, kill it again and again, and let it end when enough has happened; how often it was killed."""
    rng = random.Random(1)
    killed, stopped = 0, 0
    frozen = None
    with Journal(folder / "journal.sqlite") as journal:
        while True:
            worker = processes.Process(target=orchestrate, args=(lab.port, str(folder), list(lab.serials)))
            worker.start()
            known = len(journal.results())
            limit = known + rng.randint(1, max(2, SIZE.jobs // SIZE.kills))
            while worker.is_alive():
                worker.join(0.1)
                done = len(journal.results())
                if frozen is not None and done > known + 2:
                    # It wakes up beside its successor, which has its phones and knows nothing of it.
                    os.kill(frozen.pid or 0, signal.SIGCONT)
                    frozen.join(1.0)
                    frozen.kill()
                    frozen.join()
                    frozen = None
                if killed < SIZE.kills and done >= limit:
                    break
                if done >= SIZE.jobs and trouble.happened.total() >= SIZE.faults and killed >= SIZE.kills:
                    (folder / "stop").touch()
            if not worker.is_alive():
                assert worker.exitcode == 0, (folder / "log").read_text()[-3000:]
                return killed
            killed += 1
            if frozen is None and stopped < max(1, SIZE.kills // 3):
                freeze(worker.pid or 0, journal.path)
                frozen, stopped = worker, stopped + 1
            else:
                worker.kill()
                worker.join()


def freeze(pid: int, journal: Path) -> None:
    """Stop a program, but not in the middle of a transaction: one journal is one program's."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        with closing(sqlite3.connect(journal, timeout=0.1, isolation_level=None)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
                database.execute("ROLLBACK")
            except sqlite3.OperationalError:
                os.kill(pid, signal.SIGCONT)
            else:
                return


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_job_ends_once_whatever_happens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with VirtualLab(SIZE.phones, PHONES) as lab:
        trouble = Trouble(lab, SIZE.fault_every_s, seed=0)
        trouble.start()
        try:
            killed = run_until_done(lab, trouble, tmp_path)
        finally:
            trouble.stop()
        faults = trouble.happened
        last = processes.Process(target=orchestrate, args=(lab.port, str(tmp_path), list(lab.serials), True))
        last.start()
        last.join()
        assert last.exitcode == 0, (tmp_path / "log").read_text()[-3000:]
        left_changed = {phone.name: phone.changes() for phone in lab.phones if phone.changes()}
        left_running = [process.words for phone in lab.phones for process in phone.processes.listing()]

    with Journal(tmp_path / "journal.sqlite") as journal:
        results = {name: result for name, result in journal.results().items() if name.startswith("job")}
        suspects = journal.suspects()
    measurements = {name: result for name, result in results.items() if isinstance(result, Measurement)}
    failures = {name: result for name, result in results.items() if isinstance(result, Failure)}
    with capsys.disabled():
        print(
            f"\n{len(results)} jobs: {len(measurements)} measured, "
            f"failed {json.dumps(Counter(f'{failure.kind} {failure.code}' for failure in failures.values()))}; "
            f"{faults.total()} faults {json.dumps(faults)}; program killed {killed} times"
        )

    numbers = sorted(int(name.split()[1]) for name in results)
    assert numbers == list(range(len(numbers))), "every job has ended"
    assert len(numbers) >= SIZE.jobs
    assert faults.total() >= SIZE.faults
    assert killed >= SIZE.kills
    if LONG:
        assert faults.keys() == {*FAULT_KINDS, "adb server killed"}

    heard = {tuple(line.split("\t")) for line in (tmp_path / "heard").read_text().splitlines()}
    assert Counter(name for name, _ in heard) == Counter(results.keys()), "whoever asked was told the same"
    assert heard == {(name, hash_of(result.to_json())) for name, result in results.items()}

    for name, measurement in measurements.items():
        assert measurement.latency_ms == pytest.approx(LATENCY_MS, rel=1e-3), name
        assert not is_refused(int(name.split()[1]))
    blamed = {name for name, failure in failures.items() if failure.kind == "model"}
    refused = {name for name in results if is_refused(int(name.split()[1]))}
    assert blamed <= refused, "a fault became knowledge of a model"
    assert {failures[name].code for name in blamed} <= {"delegate_refused"}
    assert suspects == {}, "no phone drifted"

    assert left_changed == {}
    assert left_running == []
    with LeaseBook(tmp_path / "leases") as leases:
        assert leases.held() == ()
