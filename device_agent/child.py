"""ChildProcess: one program at a time, with a hard deadline, and nothing left of it afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

_TAIL_BYTES = 4000


class ChildClosed(RuntimeError):
    """The slot was closed: nothing starts in it any more."""


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Attributes:
        status: Its exit status; minus the signal's number when a signal ended it.
        timed_out: The deadline passed and it was killed.
        seconds: From start to end.
        stderr_tail: The end of its standard error.
    """

    status: int
    timed_out: bool
    seconds: float
    stderr_tail: str


class ChildProcess:
    """A slot for one program at a time.

    The program leads a process group of its own, so that a Ctrl-C in the terminal does not reach it and whatever it
    starts can be killed with it. Its standard input is a pipe of which this process holds the other end: a program
    that looks there can tell when this process has gone. Standard output is dropped.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def run(self, command: Sequence[str], deadline_s: float) -> Ended:
        """Run a program to its end, or to the deadline; afterwards its group is empty.

        Raises:
            OSError: It cannot be started.
            ChildClosed: The slot was closed before.
        """
        start = time.monotonic()
        with tempfile.TemporaryFile() as errors:
            with _held_pipe() as stdin:
                process = self._start(command, stdin, errors.fileno())
                # Waits without reaping: as long as nobody has reaped it, its number cannot be given to another process.
                waiter = threading.Thread(target=os.waitid, args=(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT))
                waiter.start()
                try:
                    waiter.join(deadline_s)
                    timed_out = waiter.is_alive()
                finally:
                    self._end(process, waiter)
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - _TAIL_BYTES))
            tail = errors.read().decode(errors="replace").strip()
        return Ended(process.returncode, timed_out, time.monotonic() - start, tail)

    def close(self) -> None:
        """Kill what runs; idempotent, and meant to be called from other threads."""
        with self._lock:
            self._closed = True
            if self._running is not None:
                os.killpg(self._running.pid, signal.SIGKILL)

    def _start(self, command: Sequence[str], stdin: int, stderr: int) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise ChildClosed(f"closed, cannot start {command[0]}")
            self._running = subprocess.Popen(
                command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True
            )
            return self._running

    def _end(self, process: subprocess.Popen[bytes], waiter: threading.Thread) -> None:
        """Kill what is left of the group, then reap."""
        with self._lock:
            os.killpg(process.pid, signal.SIGKILL)
            self._running = None
        waiter.join()
        process.wait()


@contextmanager
def _held_pipe() -> Iterator[int]:
    """The reading end of a pipe whose writing end stays open, here alone, for as long as the block lasts."""
    read_end, write_end = os.pipe()
    try:
        yield read_end
    finally:
        os.close(read_end)
        os.close(write_end)
