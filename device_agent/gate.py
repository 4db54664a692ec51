"""HostGate: while a latency block runs on this machine, no training does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class GateClosed(RuntimeError):
    """The campaign is stopping: nothing is to be measured any more."""


class HostGate:
    """Lets trainers share the machine with measuring, which always goes first. Thread-safe.

    A trainer wraps its work in `training()` and calls `checkpoint()` between batches. A worker wraps each block in
    `measuring()`: it enters once every trainer is parked at a checkpoint or gone, and no other block runs.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._training: dict[int, int] = {}  # thread -> depth of training() blocks; parked threads are not in it
        self._wanting = 0  # measuring() blocks that run or wait
        self._measuring = False
        self._closed = False

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """The machine for oneself.

        Raises:
            GateClosed: On entering, or while waiting to, after `close`.
        """
        thread = threading.get_ident()
        entered = False
        with self._changed:
            self._wanting += 1
        try:
            with self._changed:
                # A thread that measures in the middle of its own training does not wait for itself.
                self._changed.wait_for(
                    lambda: self._closed or not (self._measuring or self._training.keys() - {thread})
                )
                if self._closed:
                    raise GateClosed("nothing is measured after the gate was closed")
                self._measuring = entered = True
            yield
        finally:
            with self._changed:
                self._wanting -= 1
                if entered:
                    self._measuring = False
                self._changed.notify_all()

    @contextmanager
    def training(self) -> Iterator[None]:
        """The machine together with other trainers; waits while measuring is wanted."""
        thread = threading.get_ident()
        with self._changed:
            if thread not in self._training:
                self._wait_until_free()
            self._training[thread] = self._training.get(thread, 0) + 1
        try:
            yield
        finally:
            with self._changed:
                self._training[thread] -= 1
                if not self._training[thread]:
                    del self._training[thread]
                self._changed.notify_all()

    def checkpoint(self) -> None:
        """Called by a trainer between batches: waits while measuring is wanted, otherwise costs next to nothing."""
        if not self._wanting:  # a stale read only delays parking to the next batch
            return
        thread = threading.get_ident()
        with self._changed:
            depth = self._training.pop(thread, 0)
            self._changed.notify_all()
            try:
                self._wait_until_free()
            finally:
                if depth:
                    self._training[thread] = depth

    def close(self) -> None:
        """Wake everybody: no block starts any more, trainers go on as if alone. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wait_until_free(self) -> None:
        self._changed.wait_for(lambda: self._closed or not self._wanting)
