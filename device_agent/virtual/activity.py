"""How much a virtual phone worked."""

from __future__ import annotations

import threading
import time


class Activity:
    """Counts runs of the benchmark and the time that at least one was running; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._since_s = 0.0
        self._busy_s = 0.0
        self._started = 0

    def start(self) -> None:
        """A run starts."""
        with self._lock:
            if not self._running:
                self._since_s = time.monotonic()
            self._running += 1
            self._started += 1

    def stop(self) -> None:
        """A run has ended."""
        with self._lock:
            self._running -= 1
            if not self._running:
                self._busy_s += time.monotonic() - self._since_s

    @property
    def runs(self) -> int:
        """Runs started so far."""
        with self._lock:
            return self._started

    @property
    def busy_s(self) -> float:
        """Time during which at least one run was running."""
        with self._lock:
            return self._busy_s + (time.monotonic() - self._since_s if self._running else 0.0)
