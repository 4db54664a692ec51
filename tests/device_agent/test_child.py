"""A child process ends with its deadline, with its slot, and with this program."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from device_agent.child import ChildClosed, ChildProcess
from tests.device_agent.conftest import LONG_S


def wait_for_line(fifo: Path) -> str:
    """The first line that somebody writes there."""
    with fifo.open() as file:
        return file.readline().strip()


def gone(pid: int, within_s: float = LONG_S) -> bool:
    """Whether the process ends within this time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], within_s)[0])
    finally:
        os.close(handle)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_status_and_errors_come_back() -> None:
    ended = ChildProcess().run(["sh", "-c", "echo lost; echo kept >&2; exit 3"], LONG_S)
    assert (ended.status, ended.stderr_tail, ended.timed_out) == (3, "kept", False)


def test_only_the_end_of_long_errors_is_kept() -> None:
    ended = ChildProcess().run(["sh", "-c", "seq 100000 >&2"], LONG_S)
    assert ended.stderr_tail.endswith("100000")
    assert len(ended.stderr_tail) <= 4000


def test_a_signal_is_a_negative_status() -> None:
    assert ChildProcess().run(["sh", "-c", "kill -SEGV $$"], LONG_S).status == -signal.SIGSEGV


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        ChildProcess().run(["/nowhere/python"], LONG_S)


def test_the_deadline_kills_the_whole_group(fifo: Path) -> None:
    pids: list[str] = []
    reader = threading.Thread(target=lambda: pids.append(wait_for_line(fifo)))
    reader.start()
    ended = ChildProcess().run(["sh", "-c", f"sleep 600 & echo $! > '{fifo}'; wait"], 2.0)
    reader.join()
    assert ended.timed_out
    assert ended.status == -signal.SIGKILL
    assert gone(int(pids[0]))


def test_what_a_program_leaves_behind_is_killed(fifo: Path) -> None:
    pids: list[str] = []
    reader = threading.Thread(target=lambda: pids.append(wait_for_line(fifo)))
    reader.start()
    ended = ChildProcess().run(["sh", "-c", f"sleep 600 & echo $! > '{fifo}'"], LONG_S)
    reader.join()
    assert (ended.status, ended.timed_out) == (0, False)
    assert gone(int(pids[0]))


def test_closing_kills_what_runs_and_refuses_the_rest(fifo: Path) -> None:
    child = ChildProcess()
    closer = threading.Thread(target=lambda: (wait_for_line(fifo), child.close()))
    closer.start()
    ended = child.run(["sh", "-c", f"echo ready > '{fifo}'; sleep 600"], 60)
    closer.join()
    assert ended.status == -signal.SIGKILL
    assert not ended.timed_out
    child.close()
    with pytest.raises(ChildClosed):
        child.run(["true"], LONG_S)


def test_the_runner_dies_with_this_program(fifo: Path, tmp_path: Path) -> None:
    """kill -9 of whoever measures leaves nothing running."""
    from tests.device_agent.models import misbehaving_python, small_artifact

    (tmp_path / "model.tflite").write_bytes(small_artifact().data)
    python = misbehaving_python(tmp_path, f"open({str(fifo)!r}, 'w').write(f'{{os.getpid()}}\\n'); signal.pause()")
    script = f"""
import pathlib
from device_agent.device import Artifact
from device_agent.host import HostDevice
from profiling.plan import MeasurementPlan
artifact = Artifact.of(pathlib.Path({str(tmp_path / "model.tflite")!r}).read_bytes(), "small")
HostDevice(python={str(python)!r}).run_block(artifact, MeasurementPlan(), 0)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(tmp_path)})
    runner = int(wait_for_line(fifo))
    assert not gone(runner, within_s=0)
    parent.kill()
    parent.wait()
    assert gone(runner)
