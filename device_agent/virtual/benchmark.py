"""Running deployed files on a virtual phone.

Whatever executable was pushed (it is never executed itself, except for shell scripts, which the phone's own shell
interprets), `device_agent/runner.py` runs in its place: a real process that really runs the model on this computer.
The times it prints are then those of the phone: scaled by the cores it was pinned to, the heat, the delegate, and a
noise per process. One thread is timed by the processor's clock, so that a phone does not slow down because this
computer has other work. How long the process itself takes is not scaled.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import device_agent
from device_agent.virtual.command import NOT_EXECUTABLE, NOT_FOUND, Call, Writer
from device_agent.virtual.faults import Fault
from device_agent.virtual.protocol import LinkClosed
from device_agent.virtual.rescale import OutputFilter, coverage_line, fixed_output
from device_agent.virtual.shell import Shell

RUNNER = Path(device_agent.__file__).with_name("runner.py")
_ELF_MACHINES = {"arm64-v8a": 183, "armeabi-v7a": 40, "x86_64": 62, "x86": 3}
_DELEGATES = {"--use_gpu=true": ("gpu", "GPU"), "--use_nnapi=true": ("nnapi", "NNAPI")}
_XNNPACK = "--use_xnnpack=true"
_ONE_THREAD = "--num_threads=1"
_REQUIRED = "--require_full_delegation=true"
_DAMAGES = frozenset({"garbage", "truncated"})
_ENDINGS = {"killed": signal.SIGKILL, "segfault": signal.SIGSEGV}


def execute_file(call: Call) -> int:
    """Execute a file of the phone, as its kernel and shell would; the exit code."""
    path, files = call.path(call.words[0]), call.phone.files
    if not files.exists(path):
        return _shell_says(call, "inaccessible or not found", NOT_FOUND)
    if not files.is_executable(path):
        return _shell_says(call, "can't execute: Permission denied", NOT_EXECUTABLE)
    data = files.read(path)
    first = data.partition(b"\n")[0]
    if first.startswith(b"#!") and first.endswith(b"sh"):
        shell = Shell(call.phone, call.process, call.streams, cwd=call.cwd, env=call.env, arguments=call.words)
        return shell.run(data.decode(errors="replace"))
    if data.startswith(b"\x7fELF"):
        (machine,) = struct.unpack_from("<H", data.ljust(20, b"\0"), 18)
        if machine != _ELF_MACHINES[call.phone.profile.abi]:
            bits = 64 if data[4] == 2 else 32
            return _shell_says(call, f"not executable: {bits}-bit ELF file", NOT_EXECUTABLE)
    fault = call.phone.faults.take_for_run()
    with _disturbed(call, fault):
        return _run(call, fault.kind if fault is not None else "")


def _shell_says(call: Call, text: str, code: int) -> int:
    call.streams.stderr(f"/system/bin/sh: {call.words[0]}: {text}\n".encode())
    return code


@contextlib.contextmanager
def _disturbed(call: Call, fault: Fault | None) -> Iterator[None]:
    """The phone is busy and heats up; the fault comes after its time, or waits for the next run if this one is over."""
    happened = threading.Event()

    def happen(fault: Fault) -> None:
        happened.set()
        if fault.kind in _ENDINGS:
            call.process.kill(_ENDINGS[fault.kind])
        else:
            call.phone.suffer(fault)

    timer = None
    if fault is not None and fault.kind not in _DAMAGES and fault.kind != "fallback":
        timer = threading.Timer(fault.after, happen, [fault])
        timer.daemon = True
        timer.start()
    call.phone.thermal.start()
    call.phone.activity.start()
    try:
        yield
    finally:
        call.phone.thermal.stop()
        call.phone.activity.stop()
        if timer is not None and fault is not None:
            timer.cancel()
            if not happened.is_set():
                call.phone.faults.put_back(fault)


def _run(call: Call, fault: str) -> int:
    """One run of the benchmark; its exit code."""
    profile = call.phone.profile
    asked = next((flag for flag in _DELEGATES if flag in call.arguments), None)
    regression = _regression(call)
    factor, coverage = call.phone.slowdown(call.process.cpus) * regression, ""
    if asked is not None:
        name, title = _DELEGATES[asked]
        if name not in profile.accelerators:
            return _fail(call, f"Failed to apply {title} delegate.")
        factor = factor if fault == "fallback" else factor / profile.delegate_speedup
        coverage = coverage_line(title, fault != "fallback")
    elif fault == "fallback" and _XNNPACK in call.arguments:
        coverage = coverage_line("XNNPACK", False)
    if fault == "fallback" and _REQUIRED in call.arguments:
        return _fail(call, "Disallowed CPU fallback detected.")
    output = OutputFilter(factor, str(call.phone.files.root), coverage, fault if fault in _DAMAGES else "")
    if profile.fixed_run_s is not None:
        latency_ms = profile.fixed_latency_ms * regression * call.phone.fixed_variation()
        return _pretend(call, output, profile.fixed_run_s, latency_ms / factor)
    # The accelerator is simulated on the CPU, where nothing knows its flags.
    dropped = {*_DELEGATES, _REQUIRED} if asked is not None else set()
    return _really_run(call, output, [word for word in call.arguments if word not in dropped])


def _regression(call: Call) -> float:
    """How much longer than it should the model takes; models are deployed under their sha256."""
    graph = next((word for word in call.arguments if word.startswith("--graph=")), "")
    return next((factor for sha256, factor in call.phone.slow_models.items() if sha256 in graph), 1.0)


def _fail(call: Call, message: str) -> int:
    call.streams.stdout(b"INFO: STARTING!\n")
    call.streams.stderr(f"ERROR: {message}\nERROR: Benchmarking failed.\n".encode())
    return 1


def _pretend(call: Call, output: OutputFilter, run_s: float, latency_ms: float) -> int:
    flags = dict(word[2:].split("=", 1) for word in call.arguments if re.match(r"--\w+=", word))
    call.process.pause(run_s)
    for line in fixed_output(flags.get("graph", ""), latency_ms, int(flags.get("num_runs", 50))).splitlines():
        call.streams.stdout(output.line(line.encode()))
    call.streams.stdout(output.end())
    return 0


def _really_run(call: Call, output: OutputFilter, arguments: list[str]) -> int:
    files = call.phone.files
    translated = [_translate(word, files.root) for word in arguments]
    clock = ["--cpu_clock=true"] if _ONE_THREAD in arguments else []
    with subprocess.Popen(
        [sys.executable, "-I", str(RUNNER), *translated, *clock, "--die_with_parent=true"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=files.real(call.cwd),
        env={"PATH": os.environ.get("PATH", ""), "HOME": str(files.root)}, start_new_session=True,
    ) as child:  # fmt: skip
        call.process.adopt(child)
        try:
            errors = threading.Thread(target=_relay_errors, args=(child.stderr, call.streams.stderr, output))
            errors.start()
            for line in child.stdout or ():
                call.streams.stdout(output.line(line))
            errors.join()
            code = child.wait()
        except LinkClosed:
            call.process.kill(signal.SIGPIPE)
            raise
    call.process.check()
    call.streams.stdout(output.end())
    return code if code >= 0 else 128 - code


def _relay_errors(source: IO[bytes] | None, target: Writer, output: OutputFilter) -> None:
    with contextlib.suppress(LinkClosed):
        for line in source or ():
            target(output.paths(line.decode(errors="replace")).encode())


def _translate(word: str, root: Path) -> str:
    """A flag or operand with the phone's absolute path as this computer's."""
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{flag}{equals}{root}{value}" if value.startswith("/") else word
