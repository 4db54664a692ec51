"""Why a runner's process did not measure anything: exit code and output to a typed `Failure`, and to an error.

The exit code comes first: a process that fails may still print timings. Whose fault it is decides what happens next:
`model` failures become knowledge of the campaign and are never retried, so nothing that may be the phone's, the
link's or the runner's fault is put down to the model. A process that dies before it says that it started, in
particular, has not met the model yet.

codes of kind model           unsupported_operator, model_refused, delegate_refused, delegate_fallback,
                              out_of_memory, crash
codes of kind infrastructure  wrong_abi, not_executable, runner_missing, runner_broken, model_missing,
                              delegate_library_missing, delegate_unverified, affinity_refused, terminated,
                              truncated_output, garbled_output
codes of kind user            unsupported_flags, bad_flags, runner_too_old
"""

from __future__ import annotations

import dataclasses
import re
import signal
from collections.abc import Mapping
from typing import NamedTuple

from device_agent.errors import (
    DeviceError,
    InfrastructureError,
    ModelCrashed,
    ModelOutOfMemory,
    ModelRefused,
    RunnerBroken,
    WrongRequest,
)
from profiling.records import Failure, FailureKind

STDERR_TAIL = 2000

_LAST_SIGNAL = 64
_SIGNAL_NAMES: Mapping[int, str] = {item.value: item.name for item in signal.Signals}
_CRASHES = {signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV}
_STARTED = re.compile(r"STARTING!|Loaded model |Running benchmark for at least ")
_LOADED = re.compile(r"Loaded model ")
_OUT_OF_MEMORY = re.compile(r"bad_alloc|[Oo]ut of memory|OOM|[Cc]annot allocate memory|Failed to allocate memory")
_SUMMARY = re.compile(r"[Ii]nference timings in us: ")
_UNCONSUMED = re.compile(r"Unconsumed cmdline flags: *(?P<flags>.*)")


class _Rule(NamedTuple):
    """The first pattern that is found decides; `sentence` is completed with the line that it was found in."""

    pattern: re.Pattern[str]
    kind: FailureKind
    code: str
    sentence: str


def _rule(pattern: str, kind: FailureKind, code: str, sentence: str) -> _Rule:
    return _Rule(re.compile(pattern, re.MULTILINE), kind, code, sentence)


# The shell, the loader or taskset had the last word.
_LAUNCH_RULES = (
    _rule(
        r"not executable: \d+-bit ELF|[Ee]xec format error|wrong ELF class|unexpected e_machine"
        r"|is \d+-bit instead of \d+-bit|position independent executables",
        "infrastructure",
        "wrong_abi",
        "the runner is built for another kind of processor",
    ),
    _rule(r"CANNOT LINK EXECUTABLE", "infrastructure", "runner_broken", "the runner's libraries are not on the device"),
    _rule(r"taskset: .*(?:affinity|mask)", "infrastructure", "affinity_refused", "the processors cannot be chosen"),
    _rule(r"[Pp]ermission denied|Text file busy", "infrastructure", "not_executable", "the runner may not be executed"),
    _rule(
        r"not found\s*$|No such file or directory\s*$",
        "infrastructure",
        "runner_missing",
        "the runner is not on the device",
    ),
)
# The tool itself gave up.
_TOOL_RULES = (
    _rule(r"Could not open '|Mmap of '.*' failed", "infrastructure", "model_missing", "the model cannot be read"),
    _rule(
        r"Didn't find op for builtin opcode|unresolved custom op|Select TensorFlow op\(s\)"
        r"|builtin_code out of range|Op type not registered",
        "model",
        "unsupported_operator",
        "the runtime lacks an operator of the model",
    ),
    _rule(r"Disallowed CPU fallback", "model", "delegate_fallback", "the delegate does not take the whole graph"),
    _rule(
        r"Failed to apply \w+ delegate|after delegate application failure|Failed to build program executable"
        r"|\(TfLite\w*Delegate\w*\) failed to prepare",
        "model",
        "delegate_refused",
        "the delegate refuses the model",
    ),
    _rule(_OUT_OF_MEMORY.pattern, "model", "out_of_memory", "the model does not fit into the device's memory"),
    _rule(
        r"Failed to (?:load model|initialize the interpreter|construct interpreter|allocate tensors)"
        r"|not a valid [Ff]latbuffer|has model identifier",
        "model",
        "model_refused",
        "the runtime refuses the model",
    ),
    _rule(
        r"Failed to parse flag|Please specify the name of your TF Lite input file|^usage: ",
        "user",
        "bad_flags",
        "the runner does not accept the command line",
    ),
)


def of_exit(exit_code: int, text: str) -> Failure | None:
    """The failure that an exit code other than 0 means; None for 0.

    Args:
        exit_code: As a shell reports it (128 + signal), or negative for a signal.
        text: Standard output and standard error.
    """
    if exit_code == 0:
        return None
    if exit_code < 0:
        exit_code = 128 - exit_code
    if found := re.search(r".*Unable to load external delegate.*", text):  # it goes on, and crashes
        return Failure(
            "infrastructure", "delegate_library_missing", f"the delegate's library: {found[0].strip()[:200]}"
        )
    started = _STARTED.search(text) is not None
    if 128 < exit_code <= 128 + _LAST_SIGNAL:
        return _of_signal(exit_code, text, started)
    for rule in _TOOL_RULES if started else _LAUNCH_RULES + _TOOL_RULES:
        if found := rule.pattern.search(text):
            return Failure(rule.kind, rule.code, f"{rule.sentence}: {_line_of(text, found)}")
    if not started:
        code, sentence = {
            126: ("not_executable", "could not be executed"),
            127: ("runner_missing", "was not found"),
        }.get(exit_code, ("runner_broken", "ended before it started"))
        return Failure("infrastructure", code, f"the runner {sentence} (exit code {exit_code})")
    if _SUMMARY.search(text):
        return Failure("model", "model_refused", f"an inference failed while it was timed (exit code {exit_code})")
    if _LOADED.search(text) and "Benchmarking failed." in text:
        return Failure("model", "model_refused", "the runtime loaded the model but could not run it")
    return Failure("infrastructure", "runner_broken", f"the runner ended with exit code {exit_code} and gave no reason")


def _of_signal(exit_code: int, text: str, started: bool) -> Failure:
    number = exit_code - 128
    name = _SIGNAL_NAMES.get(number, f"signal {number}")
    if not started and (number in _CRASHES or number == signal.SIGKILL):
        return Failure("infrastructure", "runner_broken", f"the runner died of {name} before it started")
    if number == signal.SIGKILL:
        return Failure("model", "out_of_memory", f"the system killed the process ({name}), as it does for memory")
    if number in _CRASHES:
        if found := _OUT_OF_MEMORY.search(text):
            return Failure("model", "out_of_memory", f"an allocation failed: {_line_of(text, found)}")
        return Failure("model", "crash", f"the process died of {name}")
    return Failure("infrastructure", "terminated", f"the process was stopped from outside ({name})")


def of_flags(text: str) -> Failure | None:
    """The failure of a run whose flags were not all understood.

    The tool goes on without them, so what it then measures is not what was asked for.
    """
    if found := _UNCONSUMED.search(text):
        return Failure("user", "unsupported_flags", f"the runner does not know {found['flags'].strip()[:200]}")
    return None


def with_tail(failure: Failure, output: str) -> Failure:
    """The failure with the end of the output."""
    return dataclasses.replace(failure, stderr_tail=output[-STDERR_TAIL:])


def _line_of(text: str, found: re.Match[str]) -> str:
    """The line in which a match begins, cut to a readable length."""
    start = text.rfind("\n", 0, found.start() + 1) + 1
    return text[start:].lstrip().split("\n", 1)[0].strip()[:200]


_ERRORS: Mapping[str, type[DeviceError]] = {
    "out_of_memory": ModelOutOfMemory,
    "crash": ModelCrashed,
    "model_missing": InfrastructureError,
    "delegate_library_missing": InfrastructureError,
    "affinity_refused": InfrastructureError,
    "terminated": InfrastructureError,
}
_HINTS: Mapping[str, str] = {
    "wrong_abi": "`nag devices` shows the phone's ABI; add the runner for it: `nag runner add FILE|URL --abi ABI`",
    "not_executable": "put it where the shell user may execute (/data/local/tmp), with mode 755",
    "runner_missing": "deploy the runner again",
    "runner_broken": "try another build of the runner: docs/runners.md",
    "delegate_library_missing": "push the library, and what it links to, to the path in the plan's delegate",
    "delegate_refused": "measure this model with --delegate cpu, or change the model",
    "delegate_fallback": "measure this model with --delegate cpu, or change the operators that the delegate lacks",
    "affinity_refused": "choose processors that are online",
    "unsupported_flags": "add a newer runner: docs/runners.md",
    "runner_too_old": "add a newer runner: docs/runners.md",
    "unsupported_operator": "add a newer runner, or one with TensorFlow operators: docs/runners.md",
}


def error_of(failure: Failure, *, device: str = "", command: str = "") -> DeviceError:
    """The error to raise for a failure; its own `failure()` is the same again."""
    default = {"model": ModelRefused, "user": WrongRequest}.get(failure.kind, RunnerBroken)
    return _ERRORS.get(failure.code, default)(
        failure.detail,
        device=device,
        command=command,
        hint=_HINTS.get(failure.code, ""),
        stderr_tail=failure.stderr_tail,
        code=failure.code,
    )
