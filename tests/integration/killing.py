"""Killing a program at random moments of its work, however fast or slow the computer is."""

from __future__ import annotations

import multiprocessing.process
import os
import random
import signal
import sqlite3
from pathlib import Path


def count(store: Path, table: str) -> int:
    """Committed rows of a table; 0 while there is none."""
    if not store.exists():
        return 0
    with sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True) as connection:
        try:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        except sqlite3.OperationalError:  # the store is being made
            return 0


def kill_within(
    worker: multiprocessing.process.BaseProcess, store: Path, table: str, rng: random.Random, most: int
) -> bool:
    """Let a program commit up to so many rows, and kill it at some moment before the next ones; often at its start.

    Returns:
        Whether it was killed; False: it had ended.
    """
    enough = count(store, table) + rng.randint(-most // 2, most)
    while worker.is_alive() and count(store, table) < enough:
        worker.join(0.005)
    worker.join(rng.uniform(0.0, 0.02))
    if not worker.is_alive():
        return False
    os.kill(worker.pid or 0, signal.SIGKILL)
    worker.join()
    return True
