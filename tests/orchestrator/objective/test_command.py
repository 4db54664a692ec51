from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import ObjectiveFailed
from orchestrator.objective.command import CommandObjective
from orchestrator.objective.config import CommandConfig
from orchestrator.space.base import Architecture
from orchestrator.space.nasbench201 import NASBench201
from tests.contracts.objective_contract import JobMaker, ObjectiveContract

SPACE = NASBench201()

ECHO_JOB = """
import json, os, sys
job = json.load(sys.stdin)
assert job == json.load(open(os.environ["DEVICENAG_JOB"]))
open(os.path.join(job["folder"], "w.safetensors"), "w").close()
print("epoch 1 of 1")
print(json.dumps({"accuracy": sum(job["slots"]), "standard_error": 0.5, "weights": "w.safetensors", "job": job}))
"""


# A program with a child; both numbers go to the file `pids` beside the job.
FAMILY = """
cd "$(dirname "$DEVICENAG_JOB")"; echo about to wait >&2
sleep 300 & echo "$$ $!" > pids.part; mv pids.part pids; sleep 300
"""


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", code)


def pids(folder: Path) -> list[int]:
    """What a program of these tests wrote about itself."""
    path = folder / "pids"
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def state(process: int) -> str:
    """Linux' letter for it: R, S, T (stopped), Z (dead, its parent does not know yet); Z as well when it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def is_alive(process: int) -> bool:
    """Whether it runs or could go on."""
    return state(process) != "Z"


LONG_S = 120.0  # only a hang takes so long, however busy the computer is


def wait_until(condition: Callable[[], bool], timeout_s: float = LONG_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        threading.Event().wait(0.01)


class TestCommandObjective(ObjectiveContract):
    @pytest.fixture
    def architectures(self) -> list[Architecture]:
        return [SPACE.at(0), SPACE.at(15624)]

    @pytest.fixture
    def objective(self) -> CommandObjective:
        return CommandObjective(CommandConfig(argv=python(ECHO_JOB)))

    def test_the_program_is_told_everything(self, objective: CommandObjective, make_job: JobMaker) -> None:
        job = make_job(SPACE.at(7), candidate=4, seed=11)
        result = objective.evaluate(job)
        assert result.accuracy == sum(SPACE.at(7).slots)
        assert result.standard_error == 0.5
        assert result.weights == job.folder / "w.safetensors"
        assert result.details["job"] == {
            "schema_version": 1,
            "candidate": 4,
            "space": "nasbench201",
            "architecture": SPACE.at(7).text,
            "slots": list(SPACE.at(7).slots),
            "seed": 11,
            "folder": str(job.folder),
            "network": {"input_shape": [1, 8, 8, 1], "classes": 10, "options": {"channels": 4, "cells": 1}},
        }
        assert (job.folder / "command.stdout").read_text().startswith("epoch 1 of 1\n")

    @pytest.mark.parametrize(
        ("argv", "code", "message"),
        [
            (("no-such-program-here",), "command_missing", "was not found"),
            (("sh", "-c", "echo first >&2; echo last words >&2; exit 3"), "command_failed", "status 3.*last words"),
            (("sh", "-c", "kill -9 $$"), "command_failed", "killed by signal 9"),
            (("true",), "command_output", "printed no accuracy: its last line is ''"),
            (("echo", "accuracy: 91"), "command_output", "last line is 'accuracy: 91'"),
            (("echo", "[91]"), "command_output", "printed no accuracy"),
            (("echo", '{"score": 91}'), "command_output", "printed no accuracy"),
            (("echo", '{"accuracy": NaN}'), "command_output", "accuracy 'NaN'; allowed: 0..100"),
            (("echo", '{"accuracy": 100.5}'), "command_output", "accuracy 100.5; allowed: 0..100"),
            (("echo", '{"accuracy": 1e999}'), "command_output", "printed no accuracy"),
            (("echo", '{"accuracy": 1' + "0" * 400 + "}"), "command_output", "allowed: 0..100"),
            (("sh", "-c", "yes [ | head -20000 | tr -d '\\n'"), "command_output", "printed no accuracy"),
            (("echo", '{"accuracy": true}'), "command_output", "accuracy True; allowed"),
            (("echo", '{"accuracy": "91"}'), "command_output", "accuracy '91'; allowed"),
            (("echo", '{"accuracy": 91, "standard_error": -1}'), "command_output", "standard_error -1; allowed"),
            (("echo", '{"accuracy": 91, "weights": "absent"}'), "command_output", "'absent', which is no file"),
            (("sh", "-c", "head -c 100000 /dev/urandom"), "command_output", "printed no accuracy"),
        ],
    )
    def test_failures_say_what_happened(
        self, argv: tuple[str, ...], code: str, message: str, make_job: JobMaker
    ) -> None:
        with pytest.raises(ObjectiveFailed, match=f"(?s){re.escape(argv[0])}.*{message}") as failure:
            CommandObjective(CommandConfig(argv=argv)).evaluate(make_job(SPACE.at(0)))
        assert failure.value.code == code
        assert failure.value.hint
        assert not failure.value.retry

    def test_a_program_that_cannot_start(self, tmp_path: Path, make_job: JobMaker) -> None:
        program = tmp_path / "program"
        program.write_bytes(b"\x7fELF, but not really")
        program.chmod(0o755)
        with pytest.raises(ObjectiveFailed, match=r"(?s)status 127.*Exec format error"):
            CommandObjective(CommandConfig(argv=(str(program),))).evaluate(make_job(SPACE.at(0)))

    def test_the_last_line_counts(self, make_job: JobMaker) -> None:
        code = "yes noise | head -200000; echo '{\"accuracy\": 90}'; echo '{\"accuracy\": 50}'; echo"
        objective = CommandObjective(CommandConfig(argv=("sh", "-c", code)))
        assert objective.evaluate(make_job(SPACE.at(0))).accuracy == 50

    def test_no_shell_sees_the_arguments(self, make_job: JobMaker) -> None:
        objective = CommandObjective(CommandConfig(argv=("echo", '{"accuracy": 1, "a": "$HOME `id` $(id) ;|*"}')))
        assert objective.evaluate(make_job(SPACE.at(0))).details["a"] == "$HOME `id` $(id) ;|*"

    def test_a_full_disk_may_be_tried_again(self, objective: CommandObjective, make_job: JobMaker) -> None:
        job = make_job(SPACE.at(0))
        (job.folder / "job.json").symlink_to("/dev/full")
        with pytest.raises(ObjectiveFailed, match=r"job\.json: the disk is full") as failure:
            objective.evaluate(job)
        assert failure.value.retry

    def test_timeout_kills_the_whole_group(self, make_job: JobMaker) -> None:
        job = make_job(SPACE.at(0))
        for timeout_s in (0.5, 2.0, 8.0, 32.0):  # on a busy computer it may take a moment until the program says it
            objective = CommandObjective(CommandConfig(argv=("sh", "-c", FAMILY), timeout_s=timeout_s))
            with pytest.raises(ObjectiveFailed, match=f"took longer than {timeout_s:g} s") as failure:
                objective.evaluate(job)
            assert failure.value.code == "command_timeout"
            if pids(job.folder):
                break
        assert "about to wait" in str(failure.value)
        for process in pids(job.folder):
            wait_until(lambda process=process: not is_alive(process))  # type: ignore[misc]

    def test_close_stops_a_running_command(self, make_job: JobMaker) -> None:
        objective = CommandObjective(CommandConfig(argv=("sh", "-c", FAMILY)))
        job = make_job(SPACE.at(0))
        closer = threading.Thread(target=lambda: (wait_until(lambda: bool(pids(job.folder))), objective.close()))
        closer.start()
        started = time.monotonic()
        with pytest.raises(ObjectiveFailed) as failure:
            objective.evaluate(job)
        closer.join()
        assert failure.value.code == "stopped"
        assert failure.value.retry
        assert time.monotonic() - started < LONG_S
        for process in pids(job.folder):
            wait_until(lambda process=process: not is_alive(process))  # type: ignore[misc]

    def test_what_a_program_leaves_behind_is_killed(self, make_job: JobMaker) -> None:
        code = "sleep 300 & echo $! > pids; echo '{\"accuracy\": 3}'"
        job = make_job(SPACE.at(0))
        objective = CommandObjective(CommandConfig(argv=("sh", "-c", f'cd "$(dirname "$DEVICENAG_JOB")"; {code}')))
        assert objective.evaluate(job).accuracy == 3
        wait_until(lambda: not is_alive(pids(job.folder)[0]))

    def test_the_command_dies_with_the_campaign(self, tmp_path: Path) -> None:
        campaign = f"""
from pathlib import Path
from orchestrator.objective.base import AccuracyJob
from orchestrator.objective.command import CommandObjective
from orchestrator.objective.config import CommandConfig
from orchestrator.space.base import NetworkOptions
from orchestrator.space.nasbench201 import NASBench201
objective = CommandObjective(CommandConfig(argv=("sh", "-c", {FAMILY!r})))
objective.evaluate(AccuracyJob(0, NASBench201().at(0), NetworkOptions((1, 8, 8, 1), 10), 0, Path({str(tmp_path)!r})))
"""
        process = subprocess.Popen([sys.executable, "-c", campaign])
        try:
            wait_until(lambda: len(pids(tmp_path)) == 2)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        for child in pids(tmp_path):
            wait_until(lambda child=child: not is_alive(child))  # type: ignore[misc]

    def test_it_is_stopped_while_a_latency_block_runs(self, make_job: JobMaker) -> None:
        """The block outlasts the time limit, which does not count while the program is stopped."""
        states: list[str] = []

        def latency_block() -> None:
            if not states and (family := pids(job.folder)):
                # A process that waits for a processor is stopped when it gets one.
                wait_until(lambda: all(state(process) == "T" for process in family))
                threading.Event().wait(3.5)
                states.extend(state(process) for process in family)

        job = make_job(SPACE.at(0), yield_host=latency_block)
        code = """cd "$(dirname "$DEVICENAG_JOB")"; sleep 1 & echo "$$ $!" > pids; wait; echo '{"accuracy": 3}'"""
        objective = CommandObjective(CommandConfig(argv=("sh", "-c", code), timeout_s=3))
        result = objective.evaluate(job)
        assert result.accuracy == 3
        assert result.seconds > 3
        assert states == ["T"] * 2

    def test_a_command_elsewhere_is_never_stopped(self, make_job: JobMaker) -> None:
        calls: list[int] = []
        objective = CommandObjective(
            CommandConfig(argv=("sh", "-c", "sleep 0.5; echo '{\"accuracy\": 3}'"), uses_host=False)
        )
        objective.evaluate(make_job(SPACE.at(0), yield_host=lambda: calls.append(1)))
        assert not objective.uses_host
        assert calls == []
