#!/usr/bin/env python3
"""Runs a `.tflite` as TensorFlow Lite's `benchmark_model` does: same flags, same output, same exit codes.

    python runner.py --graph=model.tflite --num_threads=1 --num_runs=50 --min_secs=1.0

A script for any Linux host whose interpreter (Python 3.9 or newer) has numpy and either `ai_edge_litert` or
`tflite_runtime`; it imports nothing else and nothing of ours. As in the original, `num_runs` is a minimum, only the
invocation is timed, flags that are not known are a warning, and `--help` exits with 1. Delegates for GPUs and NNAPI
do not exist here: asked for one, it prints what the original prints when a delegate takes nothing, and runs on the CPU.

Flags that the original does not have:
    --affinity=0,1               pin the process to these CPUs
    --max_runs=N                 at most N timed runs
    --cpu_clock=true             time what the thread has of a CPU, for one thread on a machine with other work
    --report_json=PATH           every run in nanoseconds, and the conditions they ran under
    --die_with_parent=true       be killed when the process that started this one ends, however it ends
    --describe_runtime=true      write the runtime's name and version to the report, and run nothing
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import platform
import resource
import select
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

# Name -> default, and the words with which the original logs it.
_FLAGS: dict[str, tuple[Any, str]] = {
    "num_runs": (50, "Min num runs"),
    "min_secs": (1.0, "Min runs duration (seconds)"),
    "max_secs": (150.0, "Max runs duration (seconds)"),
    "run_delay": (-1.0, "Inter-run delay (seconds)"),
    "num_threads": (-1, "Num threads"),
    "warmup_runs": (1, "Min warmup runs"),
    "warmup_min_secs": (0.5, "Min warmup runs duration (seconds)"),
    "verbose": (False, "Log parameter values verbosely"),
    "dry_run": (False, "Run w/o invoking kernels"),
    "report_peak_memory_footprint": (False, "Report the peak memory footprint"),
    "graph": ("", "Graph"),
    "require_full_delegation": (False, "Require full delegation"),
    "gpu_precision_loss_allowed": (True, "Allow lower precision in gpu"),
    "gpu_backend": ("", "GPU backend"),
    "nnapi_accelerator_name": ("", "NNAPI accelerator name"),
    "disable_nnapi_cpu": (True, "Disable NNAPI cpu"),
    "use_gpu": (False, "Use gpu"),
    "use_nnapi": (False, "Use NNAPI"),
    "use_xnnpack": (False, "Use xnnpack"),
    "help": (False, "Help"),
    "affinity": ("", "CPU affinity"),
    "max_runs": (0, "Max num runs"),
    "cpu_clock": (False, "Time on the CPU"),
    "report_json": ("", "Report"),
    "die_with_parent": (False, "Die with parent"),
    "describe_runtime": (False, "Describe runtime"),
}
_USAGE = "\n".join(["Flags:", *(f"\t--{name}={default}\t{words}" for name, (default, words) in _FLAGS.items())])
_DELEGATES = {"use_gpu": "GPU", "use_nnapi": "NNAPI", "use_xnnpack": "XNNPACK"}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_LACKING_OPERATOR = ("Registration failed", "unresolved custom op", "Select TensorFlow op")
_PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """The benchmark cannot go on: what the original says, and the reason the runtime gave."""

    def __init__(self, code: str, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.reason = code, message, reason


def main(arguments: list[str]) -> int:
    """Run; the exit status."""
    say("STARTING!")
    report: dict[str, Any] = {"stage": "start", "error": None}
    path = ""
    try:
        flags, given = parse_flags(arguments)
        path = flags["report_json"]
        run(flags, given, report)
    except (Failed, MemoryError) as caught:
        error = caught if isinstance(caught, Failed) else Failed("memory", "Failed to allocate memory.")
        report["error"] = {"code": error.code, "message": error.message, "reason": error.reason}
        for line in filter(None, (error.reason, error.message)):
            say(line, "ERROR")
        say("Benchmarking failed.", "ERROR")
    write_report(path, report)
    return 0 if report["error"] is None else 1


def run(flags: dict[str, Any], given: list[str], report: dict[str, Any]) -> None:
    """Everything between the flags and the exit status. Raises Failed; fills `report` as it goes.

    The stage is on disk before the model is touched, so that whoever finds this process dead knows whether the model
    can be to blame.
    """
    if flags["die_with_parent"]:
        die_with_parent()
    if flags["affinity"]:
        pin(flags["affinity"])
    interpreter_module = load_runtime(report)
    if flags["describe_runtime"]:
        return
    if not flags["graph"]:
        raise Failed("usage", "Please specify the name of your TF Lite input file with --graph")
    log_parameters(flags, given)
    report["stage"] = "model"
    write_report(flags["report_json"], report)
    start_kb, start_ns = peak_memory_kb(), time.perf_counter_ns()
    interpreter = make_interpreter(interpreter_module, flags, given)
    report["init_ns"] = init_ns = time.perf_counter_ns() - start_ns
    init_kb = peak_memory_kb() - start_kb
    say(f"The input model file size (MB): {os.path.getsize(flags['graph']) / 1e6:.6g}")
    say(f"Initialized session in {init_ns // 1000 / 1e3:.6g}ms.")
    inputs = random_inputs(interpreter)
    if flags["dry_run"]:
        flags.update(warmup_runs=0, warmup_min_secs=-1.0, num_runs=0, min_secs=-1.0)
    warmup = invoke_repeatedly(
        interpreter, inputs, {**flags, "max_runs": 0}, flags["warmup_runs"], flags["warmup_min_secs"]
    )
    report["warmup_ns"] = warmup.durations_ns
    if warmup.failure:
        raise Failed("invoke", warmup.failure)
    measured = invoke_repeatedly(interpreter, inputs, flags, flags["num_runs"], flags["min_secs"])
    report.update(vars(measured), threads=flags["num_threads"], threads_seen=len(os.listdir("/proc/self/task")))
    report["affinity"] = sorted(os.sched_getaffinity(0))  # read back: what it really was
    log_results(init_ns, warmup, measured, init_kb, peak_memory_kb() - start_kb)
    if flags["report_peak_memory_footprint"]:
        say(f"Overall peak memory footprint (MB) via periodic monitoring: {peak_memory_kb() / 1024:.6g}")
    if measured.failure:
        raise Failed("invoke", measured.failure)
    report["stage"] = "done"


def parse_flags(arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """All flags with defaults filled in, and the names given, in order. Raises Failed for a bad value or `--help`."""
    flags = {name: default for name, (default, _) in _FLAGS.items()}
    given: list[str] = []
    unconsumed = []
    for argument in arguments:
        name, separator, text = argument[2:].partition("=")
        if argument in ("--help", "-h"):
            name, separator, text = "help", "=", "true"
        elif not argument.startswith("--") or not separator or name not in flags:
            unconsumed.append(argument)
            continue
        try:
            default = _FLAGS[name][0]
            flags[name] = _BOOLEANS[text] if isinstance(default, bool) else type(default)(text)
        except (ValueError, KeyError):
            raise Failed("usage", _USAGE, f"Failed to parse flag '{name}' against '{argument}'.") from None
        if name in given:
            say(f"Duplicate flags: {name}", "WARN")
        given.append(name)
    if flags["help"]:
        raise Failed("usage", _USAGE)
    if unconsumed:
        say("Unconsumed cmdline flags: " + " ".join(unconsumed), "WARN")
    return flags, given


def log_parameters(flags: dict[str, Any], given: list[str]) -> None:
    """The parameters that were given; all of them when verbose."""
    say(f"Log parameter values verbosely: [{int(flags['verbose'])}]")
    for name, (_, words) in _FLAGS.items():
        if name != "verbose" and (name in given or flags["verbose"] or name == "graph"):
            value = flags[name]
            say(f"{words}: [{value if isinstance(value, str) else format(value, 'g')}]")
    if "num_threads" in given:
        say(f"#threads used for CPU inference: [{flags['num_threads']}]")


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends; exit at once when that has happened already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if stat.S_ISFIFO(os.fstat(0).st_mode):  # the parent holds the other end of stdin for this
        poll = select.poll()
        poll.register(0, 0)
        if any(event & select.POLLHUP for _, event in poll.poll(0)):
            os._exit(1)


def pin(text: str) -> None:
    """Restrict this process to CPUs such as `0,1`."""
    try:
        os.sched_setaffinity(0, {int(cpu) for cpu in text.split(",")})
    except (ValueError, OSError) as error:
        raise Failed("affinity", f"Failed to set the CPU affinity to {text}.", str(error)) from None


def load_runtime(report: dict[str, Any]) -> Any:
    """The module that has `Interpreter`, from whichever package is there."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's own pool would only disturb
    from importlib import import_module, metadata

    problems = []
    for module, package in (("ai_edge_litert", "ai-edge-litert"), ("tflite_runtime", "tflite-runtime")):
        try:
            import numpy

            interpreter_module = import_module(module + ".interpreter")
        except (ImportError, AttributeError) as error:  # a wheel for another numpy fails with either
            problems.append(f"{module}: {error}")
            continue
        report["runtime"] = f"{package} {metadata.version(package)}"
        report["python"], report["numpy"] = platform.python_version(), numpy.__version__
        return interpreter_module
    raise Failed("runtime", "Failed to load a TensorFlow Lite runtime.", "; ".join(problems))


def make_interpreter(module: Any, flags: dict[str, Any], given: list[str]) -> Any:
    """An interpreter with its tensors allocated and delegates applied."""
    graph, threads = flags["graph"], flags["num_threads"]
    resolvers = module.OpResolverType
    plain = "use_xnnpack" in given and not flags["use_xnnpack"]
    with refusals("load", f"Failed to load model {graph}"):
        interpreter = module.Interpreter(
            model_path=graph,
            num_threads=threads if threads > 0 else None,
            experimental_op_resolver_type=resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else resolvers.AUTO,
        )
    say(f"Loaded model {graph}")
    with refusals("allocate", "Failed to allocate tensors!"):
        interpreter.allocate_tensors()
    for flag in given:
        if flag in _DELEGATES and flags[flag]:
            report_delegate(_DELEGATES[flag], interpreter, flags["require_full_delegation"])
    return interpreter


@contextmanager
def refusals(code: str, message: str) -> Iterator[None]:
    """What the runtime raises, as Failed: an operator it lacks, or the code given."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        reason = str(error)
        if "Registration failed" in reason:  # of an operator; the model itself was loaded
            message = "Failed to initialize the interpreter"
        lacking = any(sign in reason for sign in _LACKING_OPERATOR)
        raise Failed("operator" if lacking else code, message, reason) from None


def report_delegate(name: str, interpreter: Any, required: bool) -> None:
    """Say how much of the graph a delegate took; only XNNPACK exists here.

    The interpreter lists the operators of the file, then the delegate's kernels. A single kernel is all of the graph
    when no operator outside feeds it (none of its inputs is computed by one) or follows it (it computes the outputs).
    """
    operators = interpreter._get_ops_details() if name == "XNNPACK" else []  # nothing public tells
    kernels = [operator for operator in operators if operator["op_name"] == "DELEGATE"]
    complete = False
    if len(kernels) == 1:
        computed = {int(t) for operator in operators if operator is not kernels[0] for t in operator["outputs"]}
        outputs = {int(detail["index"]) for detail in interpreter.get_output_details()}
        read, written = ({int(t) for t in kernels[0][side]} for side in ("inputs", "outputs"))
        complete = not read & computed and outputs <= written
    if required and not complete:
        raise Failed("delegate", "Disallowed CPU fallback detected.")
    if kernels:
        how, rest = ("completely", "") if complete else ("partially", f" w/ {len(kernels)} delegate kernels")
        say(f"Explicitly applied {name} delegate, and the model graph will be {how} executed by the delegate{rest}.")
    else:
        say(f"Though {name} delegate is explicitly applied, the model graph will not be executed by the delegate.")


def random_inputs(interpreter: Any) -> list[tuple[int, Any]]:
    """Tensor index and random content of every input: floats in [-0.5, 0.5), integers as in the original."""
    import numpy as np

    generator = np.random.default_rng()
    inputs = []
    for detail in interpreter.get_input_details():
        shape, dtype = tuple(detail["shape"]), np.dtype(detail["dtype"])
        if dtype.kind == "f":
            values = (generator.random(shape) - 0.5).astype(dtype)
        elif dtype.kind in "iub":
            low, high = {"int8": (-127, 127), "uint8": (0, 254), "bool": (0, 1)}.get(dtype.name, (0, 99))
            values = generator.integers(low, high + 1, shape).astype(dtype)
        else:
            raise Failed("input", f"Don't know how to populate tensor {detail['name']} of type {dtype.name}")
        inputs.append((detail["index"], values))
    return inputs


@dataclass
class Runs:
    """Durations of consecutive invocations, what the process got of its CPU meanwhile, and the last failure."""

    durations_ns: list[int] = field(default_factory=list)
    cpu_ns: int = 0
    wall_ns: int = 0
    involuntary_switches: int = 0
    failure: str = ""

    @property
    def microseconds(self) -> list[int]:
        """Whole microseconds, which is what the original counts in."""
        return [duration // 1000 for duration in self.durations_ns]


def invoke_repeatedly(
    interpreter: Any, inputs: list[tuple[int, Any]], flags: dict[str, Any], min_runs: int, min_secs: float
) -> Runs:
    """Invoke at least `min_runs` times and `min_secs` long; start none after `max_secs`, or beyond a `max_runs` > 0."""
    max_secs, delay_secs, max_runs = flags["max_secs"], flags["run_delay"], flags["max_runs"]
    least = f"at least {min_runs} iterations and at least {min_secs:.6g} seconds"
    say(f"Running benchmark for {least} but terminate if exceeding {max_secs:.6g} seconds.")
    runs = Runs()
    done, clock = runs.durations_ns, time.perf_counter_ns
    stopwatch = time.thread_time_ns if flags["cpu_clock"] else clock
    invoke, set_tensor = interpreter.invoke, interpreter.set_tensor
    gc.collect()
    gc.disable()
    switches, cpu_ns = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw, time.process_time_ns()
    begin = now = clock()
    min_finish, max_finish = begin + int(min_secs * 1e9), begin + int(max_secs * 1e9)
    while (len(done) < min_runs or now < min_finish) and now <= max_finish and not 0 < max_runs <= len(done):
        for index, values in inputs:
            set_tensor(index, values)
        start = stopwatch()
        try:
            invoke()
        except (RuntimeError, ValueError) as error:  # goes on, and fails in the end, as the original does
            runs.failure = str(error)
        done.append(stopwatch() - start)
        if delay_secs > 0:
            time.sleep(delay_secs)
        now = clock()
    runs.wall_ns, runs.cpu_ns = now - begin, time.process_time_ns() - cpu_ns
    runs.involuntary_switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches
    gc.enable()
    say(statistics_line(runs.microseconds) + "\n")
    return runs


def statistics_line(values: list[int]) -> str:
    """`count=.. first=..` of whole microseconds: the standard deviation truncated, percentiles not interpolated."""
    count = len(values)
    if not count:
        return "count=0 p5=0 median=0 p95=0"
    ordered = sorted(values)
    p5, median, p95 = (ordered[count * percent // 100] for percent in (5, 50, 95))
    tail = f" p5={p5} median={median} p95={p95}"
    if ordered[0] == ordered[-1]:
        return f"count={count} curr={values[-1]}" + ("(all same)" if count > 1 else "") + tail
    average = mean(values)
    deviation = int(max(sum(value**2 for value in values) / count - average**2, 0.0) ** 0.5)
    extremes = f"first={values[0]} curr={values[-1]} min={ordered[0]} max={ordered[-1]}"
    return f"count={count} {extremes} avg={average:.6g} std={deviation}" + tail


def log_results(init_ns: int, warmup: Runs, measured: Runs, init_kb: int, overall_kb: int) -> None:
    """The line of timings that most tools read, and the growth of the resident set since the tool started."""
    first = warmup.microseconds[0] if warmup.microseconds else 0
    averages = f"Warmup (avg): {mean(warmup.microseconds):.6g}, Inference (avg): {mean(measured.microseconds):.6g}"
    say(f"Inference timings in us: Init: {init_ns // 1000}, First inference: {first}, {averages}")
    say(
        "Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual"
        " memory footprint of the model at runtime. Take the information at your discretion."
    )
    growth = f"init={init_kb / 1024:.6g} overall={overall_kb / 1024:.6g}"
    say(f"Memory footprint delta from the start of the tool (MB): {growth}")


def mean(values: list[int]) -> float:
    """NaN of nothing, as in the original."""
    return sum(values) / len(values) if values else float("nan")


def peak_memory_kb() -> int:
    """Largest resident set so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def write_report(path: str, report: dict[str, Any]) -> None:
    """Write the report whole or not at all; nothing without a path."""
    if path:
        with open(path + ".part", "w", encoding="utf-8") as file:
            json.dump(report, file)
        os.replace(path + ".part", path)


def say(text: str, level: str = "INFO") -> None:
    """One line of the log: errors to stderr, the rest to stdout."""
    print(f"{level}: {text}", file=sys.stderr if level == "ERROR" else sys.stdout, flush=True)


if __name__ == "__main__":
    # Modules beside this script are none of the runtime's business.
    beside = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != beside]
    sys.exit(main(sys.argv[1:]))
