"""Processes of a virtual phone: threads and real child processes behind one table of numbers."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable


class Killed(Exception):
    """Raised in the thread that acts for a process when a signal has ended it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


class VirtualProcess:
    """One process.

    Attributes:
        pid, group, parent: Numbers; `group` changes with setsid.
        words: Its command line.
        cpus: Affinity.
        started_s: On the monotonic clock.
    """

    def __init__(self, pid: int, group: int, parent: int, words: tuple[str, ...], cpus: frozenset[int]) -> None:
        self.pid = pid
        self.group = group
        self.parent = parent
        self.words = words
        self.cpus = cpus
        self.started_s = time.monotonic()
        self._signal: int | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def check(self) -> None:
        """Raise `Killed` if a signal has ended this process."""
        if self._signal is not None:
            raise Killed(self._signal)

    def pause(self, duration_s: float) -> None:
        """Let time pass, unless a signal ends it."""
        self._ended.wait(duration_s)
        self.check()

    def adopt(self, child: subprocess.Popen[bytes]) -> None:
        """Let signals to this process go to a real child (which leads a group of its own) as well."""
        with self._lock:
            self._child = child
            if self._signal is not None:
                _kill_group(child)

    def kill(self, number: int) -> None:
        """End it by a signal; the first one counts."""
        with self._lock:
            if self._signal is None:
                self._signal = number
            if self._child is not None:
                _kill_group(self._child)
        self._ended.set()


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:  # it ended by itself just now
            return


class ProcessTable:
    """All processes of one phone; thread-safe.

    Args:
        cpus: What a new process may run on.
    """

    def __init__(self, cpus: tuple[int, ...]) -> None:
        self._cpus = frozenset(cpus)
        self._lock = threading.Lock()
        self._numbers = itertools.count(4000)
        self._processes: dict[int, VirtualProcess] = {}

    def spawn(
        self, words: tuple[str, ...], parent: VirtualProcess | None, *, new_group: bool = False
    ) -> VirtualProcess:
        """A new process, listed until `reap`."""
        with self._lock:
            pid = next(self._numbers)
            group = pid if parent is None or new_group else parent.group
            process = VirtualProcess(
                pid, group, parent.pid if parent else 1, words, parent.cpus if parent else self._cpus
            )
            self._processes[pid] = process
            return process

    def reap(self, process: VirtualProcess) -> None:
        """It has ended."""
        with self._lock:
            self._processes.pop(process.pid, None)

    def listing(self) -> tuple[VirtualProcess, ...]:
        """Those that live, by number."""
        with self._lock:
            return tuple(self._processes[pid] for pid in sorted(self._processes))

    def find(self, pid: int) -> VirtualProcess | None:
        """The process with this number."""
        with self._lock:
            return self._processes.get(pid)

    def signal(self, target: int, number: int) -> bool:
        """What `kill(2)` does: to one process, or to the group -target; signal 0 only asks. Whether there was any."""
        chosen: Callable[[VirtualProcess], bool] = (
            (lambda process: process.pid == target) if target > 0 else (lambda process: process.group == -target)
        )
        hit = [process for process in self.listing() if chosen(process)]
        for process in hit:
            if number:
                process.kill(number)
        return bool(hit)

    def kill_all(self) -> None:
        """End everything, as when the power goes."""
        for process in self.listing():
            process.kill(signal.SIGKILL)
