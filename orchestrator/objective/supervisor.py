"""Runs one program for as long as somebody holds the other end of stdin; its own process, and nothing imported but
the standard library.

    python -I -S supervisor.py JOB STDOUT STDERR PROGRAM [ARGUMENT...]

The program gets the file JOB as its standard input, its output goes to files, and it leads a process group of its own.
Bytes on this process' stdin are orders about the whole group: `s` stop, `c` continue, each answered with the same byte
on stdout once it has been carried out, and `k` kill. The end of stdin, which also comes when the parent is killed, is
as good as `k`. The exit status is the program's; death by signal N is reported as 128 + N, as shells do.

A process between is better than `PR_SET_PDEATHSIG` set after a fork: it is safe in a threaded parent, takes the
program's children along, and is the program's parent, so no group number is signalled after it has been given away.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

STOP, CONTINUE, KILL = b"s", b"c", b"k"
NOT_STARTED = 127


def main(arguments: list[str]) -> None:
    """Start the program, obey stdin, and exit with the program's status."""
    job, stdout, stderr, *command = arguments
    with open(job, "rb") as source, open(stdout, "wb") as output, open(stderr, "wb") as errors:
        try:
            program = subprocess.Popen(command, stdin=source, stdout=output, stderr=errors, start_new_session=True)
        except OSError as error:
            errors.write(f"{error.strerror}: {command[0]}\n".encode())
            errors.flush()
            os._exit(NOT_STARTED)
    threading.Thread(target=_leave_with, args=(program,), daemon=True).start()
    while (order := os.read(sys.stdin.fileno(), 1)) in (STOP, CONTINUE):
        _signal_group(program.pid, signal.SIGSTOP if order == STOP else signal.SIGCONT)
        if order == STOP:
            _await_stop(program.pid)
        os.write(sys.stdout.fileno(), order)
    _signal_group(program.pid, signal.SIGKILL)
    threading.Event().wait()  # the other thread ends this process once the program is dead


def _leave_with(program: subprocess.Popen[bytes]) -> None:
    """Exit as the program did, taking along what it left behind in its group."""
    status = program.wait()
    _signal_group(program.pid, signal.SIGKILL)
    os._exit(status if status >= 0 else 128 - status)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _await_stop(process: int) -> None:
    """Wait until the group's leader has stopped or is gone; the kernel signals the whole group at once."""
    if hasattr(os, "waitid"):  # not on macOS before Python 3.13, where stopping is merely soon
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, process, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


if __name__ == "__main__":
    main(sys.argv[1:])
