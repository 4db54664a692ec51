"""CommandObjective: the user's own program gives the accuracy, one run per candidate."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.errors import ObjectiveFailed
from orchestrator.objective import supervisor
from orchestrator.objective.base import AccuracyJob, AccuracyResult
from orchestrator.objective.config import CommandConfig
from orchestrator.objective.failures import stopped, unwritable

JOB_VARIABLE = "DEVICENAG_JOB"

_POLL_S = 0.2  # how often a running command makes way for a latency block
_TAIL_BYTES = 65_536  # of the output that is read at all
_STDERR_LINES = 20  # of it in an error message
_OUTPUT_HINT = 'the last line that it prints must be e.g. {"accuracy": 91.5}'


class CommandObjective:
    """Runs a program with the architecture as JSON and reads the accuracy from the last line of its output.

    The program gets the job on standard input and as the file that the environment variable `DEVICENAG_JOB` names:
    `{"schema_version", "candidate", "space", "architecture", "slots", "seed", "folder", "network": {"input_shape",
    "classes", "options"}}`. The last line it prints must be `{"accuracy": PERCENT}`, with `"standard_error"` (in
    percent) and `"weights"` (a safetensors file, relative to `folder`) if it likes; anything else in it is kept as
    details. Its output stays in the candidate's folder as `command.stdout` and `command.stderr`.

    With `uses_host`, the program and its children are stopped (SIGSTOP) while a latency block runs on this machine;
    the time that takes does not count against `timeout_s`. They are killed with this process, however it ends.
    """

    name = "command"

    def __init__(self, config: CommandConfig) -> None:
        """Args:
        config: What to run.
        """
        self._config = config
        self._closed = threading.Event()

    @property
    def uses_host(self) -> bool:
        """As configured: false for a program that only waits for another machine."""
        return self._config.uses_host

    def evaluate(self, job: AccuracyJob) -> AccuracyResult:
        """Run the program once.

        Raises:
            ObjectiveFailed: No such program, it failed, took too long, or printed no accuracy in 0..100.
        """
        if self._closed.is_set():
            raise stopped()
        started = time.monotonic()
        folder = job.folder.absolute()
        status = self._run(job, folder)
        if status != 0:
            death = f"was killed by signal {status - 128}" if status > 128 else f"exited with status {status}"
            self._fail(death, folder, "run it by hand with its job.json as input", code="command_failed")
        output = self._parse(folder)
        return AccuracyResult(
            accuracy=output.pop("accuracy"),
            standard_error=output.pop("standard_error", None),
            seconds=time.monotonic() - started,
            weights=output.pop("weights", None),
            details=output,
        )

    def close(self) -> None:
        """Kill a running program and its children."""
        self._closed.set()

    def _run(self, job: AccuracyJob, folder: Path) -> int:
        """Exit status of the program; 128 + N if signal N killed it."""
        if shutil.which(self._config.argv[0]) is None:
            self._fail(
                "was not found, or may not be executed",
                None,
                "check accuracy.argv and the PATH",
                code="command_missing",
            )
        description = folder / "job.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            description.write_text(json.dumps(_describe(job, folder), indent=1))
        except OSError as error:
            raise unwritable(description, error) from error
        files = [str(description), str(folder / "command.stdout"), str(folder / "command.stderr")]
        if self._config.uses_host:
            job.yield_host()
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", supervisor.__file__, *files, *self._config.argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, JOB_VARIABLE: str(description)},
            start_new_session=True,  # Ctrl-C is for the campaign, which then closes its objectives
        )
        with process:
            try:
                return self._wait(process, job, folder)
            finally:
                _order(process, supervisor.KILL)  # the end of stdin would do, but a forked child may hold it open

    def _wait(self, process: subprocess.Popen[bytes], job: AccuracyJob, folder: Path) -> int:
        deadline = time.monotonic() + self._config.timeout_s
        while True:
            try:
                return process.wait(timeout=_POLL_S)
            except subprocess.TimeoutExpired:
                if self._closed.is_set():
                    raise stopped() from None
                if time.monotonic() > deadline:
                    self._fail(
                        f"took longer than {self._config.timeout_s:g} s",
                        folder,
                        "raise accuracy.timeout_s",
                        code="command_timeout",
                    )
            if self._config.uses_host:
                paused_at = time.monotonic()
                _order(process, supervisor.STOP)
                job.yield_host()
                _order(process, supervisor.CONTINUE)
                deadline += time.monotonic() - paused_at

    def _parse(self, folder: Path) -> dict[str, Any]:
        """The last line of the program's output, checked; `weights` as an absolute path."""
        lines = _tail(folder / "command.stdout").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        try:
            output = json.loads(last, parse_constant=str)  # NaN as text, which is no number
            json.dumps(output, allow_nan=False)  # 1e999 is infinite, and details must be JSON
        except (ValueError, RecursionError):
            output = None
        if not isinstance(output, dict) or "accuracy" not in output:
            self._fail(f"printed no accuracy: its last line is {last[:200]!r}", folder, code="command_output")
        accuracy, error = output["accuracy"], output.get("standard_error")
        if not _is_percent(accuracy):
            self._fail(f"printed accuracy {accuracy!r}; allowed: 0..100 (percent)", folder, code="command_output")
        if error is not None and not _is_percent(error):
            self._fail(f"printed standard_error {error!r}; allowed: 0..100 (percent)", folder, code="command_output")
        output["accuracy"] = float(accuracy)
        output["standard_error"] = None if error is None else float(error)
        if output.get("weights") is not None:
            weights = output["weights"]
            if not isinstance(weights, str) or not (folder / weights).is_file():
                self._fail(f"printed weights {weights!r}, which is no file", folder, code="command_output")
            output["weights"] = folder / weights
        return output

    def _fail(self, what: str, folder: Path | None, hint: str = _OUTPUT_HINT, *, code: str) -> NoReturn:
        """Raises ObjectiveFailed with the command and the end of what it printed as errors, if it has run."""
        message = f"command `{shlex.join(self._config.argv)}` {what}"
        if folder is not None:
            errors = _tail(folder / "command.stderr").rstrip().split("\n")[-_STDERR_LINES:]
            message += "".join(f"\n  | {line}" for line in errors if line)
            hint += f" (its files: {folder})"
        raise ObjectiveFailed(message, hint, code=code)


def _describe(job: AccuracyJob, folder: Path) -> Mapping[str, Any]:
    """What the program is told."""
    return {
        "schema_version": 1,
        "candidate": job.candidate,
        "space": job.architecture.space,
        "architecture": job.architecture.text,
        "slots": job.architecture.slots,
        "seed": job.seed,
        "folder": str(folder),
        "network": {
            "input_shape": job.network.input_shape,
            "classes": job.network.classes,
            "options": job.network.options,
        },
    }


def _order(process: subprocess.Popen[bytes], order: bytes) -> None:
    """Tell the supervisor, and wait until it has done so or has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(order)
    except BrokenPipeError:
        return
    process.stdout.read(1)


def _tail(path: Path) -> str:
    """The end of a text file; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _is_percent(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100
