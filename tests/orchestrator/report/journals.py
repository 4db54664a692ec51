"""Journals for tests, written as a fleet writes them, with drifts where they are wanted."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from device_agent.journal import Journal, Reference
from device_agent.lease import Lease
from device_agent.reference import reference_artifact
from profiling.drift import ControlChart
from profiling.records import DeviceInfo, Measurement

BEGUN_S = 1_760_000_000.0
STEP_S = 600.0


def write_journal(
    path: Path,
    key: str,
    info: DeviceInfo,
    logs: Sequence[float],
    *,
    jobs_between: int = 2,
    epochs: Sequence[str] = (),
) -> None:
    """References of one device, with measurements between them; alarms mark measurements, as in a session.

    Args:
        path: The journal, which may hold other devices.
        key: The device's address.
        info: Who it is.
        logs: Log latencies of the reference model.
        jobs_between: Measurements after each reference.
        epochs: Of each reference; the device's own by default.
    """
    charts: dict[str, ControlChart] = {}
    with Journal(path) as journal:
        journal._database.execute("PRAGMA synchronous = OFF")
        lease = Lease(key, 1)
        for index, value in enumerate(logs):
            epoch = epochs[index] if epochs else info.epoch
            charts[epoch], reading = charts.get(epoch, ControlChart()).observe(value)
            artifact = reference_artifact().sha256
            journal.add_reference(lease, Reference(artifact, epoch, value, reading.log_ratio, reading.verdict))
            if reading.verdict == "shifted":
                journal.suspect_since_last_good(lease, "it had shifted")
            for number in range(jobs_between):
                result = Measurement(2.0, 0.01, 1.9, 2.1, (), "A", (), 0.02, "ab" * 32, info)
                journal.record(f"{info.serial_hash}/{index}/{number}", result, lease)


def spread_over_time(path: Path, begun_s: float = BEGUN_S, step_s: float = STEP_S) -> None:
    """Give the entries of a journal, which were all written now, the times of a slow collection."""
    with sqlite3.connect(path) as database:
        database.execute("DROP TRIGGER no_update")
        database.execute(
            "UPDATE entries SET at = ? + ? * (position - (SELECT min(position) FROM entries AS own"
            " WHERE own.device = entries.device)) / 3.0",
            (begun_s, step_s),
        )


def quiet(count: int, *, seed: int = 0, level: float = 2.0, sd: float = 0.01) -> list[float]:
    """Log latencies of a device that does not drift."""
    return list(level + sd * np.random.default_rng(seed).standard_normal(count))
