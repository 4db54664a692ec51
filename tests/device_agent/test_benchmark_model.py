"""Command line and output of benchmark_model: real logs, formats of every age, and mangled output."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent import runner_failures
from device_agent.benchmark_model import command, deadline_s, max_secs, parse, runs_for
from device_agent.errors import WrongRequest
from device_agent.runner_failures import error_of
from profiling.plan import MeasurementPlan
from profiling.records import Block, Failure
from tests.device_agent.models import edited, small_artifact

RUNNER = Path(runner_failures.__file__).with_name("runner.py")
LOGS = Path(__file__).parents[3] / "shared" / "data" / "benchmark_logs"
PLAN = MeasurementPlan(min_runs=50, warmup_runs=1)

# What an intact run prints, per age of the tool. The figures are made up and consistent.
MEDIAN_MS, MEAN_MS = 6047 / 1000, 6084.12 / 1000
NEW = """INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Graph: [/data/local/tmp/m.tflite]
INFO: Loaded model /data/local/tmp/m.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: Explicitly applied XNNPACK delegate, and the model graph will be completely executed by the delegate.
INFO: The input model file size (MB): 4.2761
INFO: Initialized session in 87.639ms.
INFO: Running benchmark for at least 10 iterations and at least 0.5 seconds but terminate if exceeding 24 seconds.
INFO: count=12 first=7264 curr=6031 min=6015 max=7264 avg=6190.08 std=325 p5=6015 median=6092 p95=6644

INFO: Running benchmark for at least 50 iterations and at least 0 seconds but terminate if exceeding 24 seconds.
INFO: count=50 first=6022 curr=6080 min=5916 max=6928 avg=6084.12 std=160 p5=5985 median=6047 p95=6281

INFO: Inference timings in us: Init: 87639, First inference: 7264, Warmup (avg): 6190.08, Inference (avg): 6084.12
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE.
INFO: Memory footprint delta from the start of the tool (MB): init=14.4414 overall=14.8164
"""
MIDDLE = re.sub(r" p5=.*", "", NEW.replace("INFO: ", "")).replace(
    "Memory footprint delta from the start of the tool", "Peak memory footprint"
)
OLD = re.sub(
    r"Inference timings.*", "Average inference timings in us: Warmup: 6190.08, Init: 87639, no stats: 6084.12", MIDDLE
).replace(" but terminate if exceeding 24 seconds.", "")
LOGCAT = "".join(
    f"01-11 23:28:57.758  7651  7651 I tflite  : {line}\n" for line in NEW.replace("INFO: ", "").splitlines() if line
)
BRIEF_LOGCAT = "".join(f"I/tflite  ( 5671): {line}\n" for line in MIDDLE.splitlines() if line)


def gpu(
    log: str = NEW,
    said: str = "Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.",
) -> str:
    return re.sub(r"Explicitly applied XNNPACK.*", said, log)


def block(*arguments: object, **keywords: object) -> Block:
    result = parse(*arguments, **keywords)  # type: ignore[arg-type]
    assert isinstance(result, Block), result
    return result


def failure(*arguments: object, **keywords: object) -> Failure:
    result = parse(*arguments, **keywords)  # type: ignore[arg-type]
    assert isinstance(result, Failure), result
    return result


# The command line -----------------------------------------------------------------------------------------------


def test_command_asks_for_an_exact_number_of_runs_on_the_chosen_processors() -> None:
    plan = MeasurementPlan(min_runs=20, warmup_runs=10, warmup_seconds=0.5, threads=2, affinity=(4, 5, 6, 7))
    assert command("/d/benchmark_model", "/d/m.tflite", plan, runs=123) == [
        *("taskset", "f0", "/d/benchmark_model", "--graph=/d/m.tflite", "--num_threads=2"),
        *("--num_runs=123", "--min_secs=0", "--warmup_runs=10", "--warmup_min_secs=0.5", "--max_secs=24"),
        "--use_xnnpack=true",
    ]


@pytest.mark.parametrize(
    ("delegate", "flags"),
    [
        ("cpu", ["--use_xnnpack=true"]),
        ("xnnpack", ["--use_xnnpack=true"]),
        ("none", ["--use_xnnpack=false"]),
        ("gpu", ["--use_gpu=true", "--require_full_delegation=true"]),
        ("nnapi", ["--use_nnapi=true", "--disable_nnapi_cpu=true", "--require_full_delegation=true"]),
        ("external:/d/q/libQ.so", ["--external_delegate_path=/d/q/libQ.so", "--require_full_delegation=true"]),
    ],
)
def test_each_delegate_has_its_flags(delegate: str, flags: list[str]) -> None:
    argv = command("b", "m", replace(PLAN, delegate=delegate))
    assert argv[argv.index("b") + 8 :] == flags
    assert [flag for flag in argv if "require_full" not in flag] == command(
        "b", "m", replace(PLAN, delegate=delegate), require_full_delegation=False
    )


def test_an_external_delegate_finds_the_libraries_beside_it() -> None:
    plan = replace(PLAN, delegate="external:/d/q/libQ.so", affinity=(7,))
    assert command("b", "m", plan)[:5] == ["env", "LD_LIBRARY_PATH=/d/q", "ADSP_LIBRARY_PATH=/d/q", "taskset", "80"]
    assert command("b", "m", plan, environment={"A": "1 2"})[:2] == ["env", "A=1 2"]
    assert command("b", "m", plan, environment={})[0] == "taskset"


def test_result_file_and_extra_flags_come_last() -> None:
    argv = command("b", "m", PLAN, result_file="/d/r.pb", extra_flags=["--gpu_precision_loss_allowed=false"])
    assert argv[-2:] == ["--result_file_path=/d/r.pb", "--gpu_precision_loss_allowed=false"]


@pytest.mark.parametrize("delegate", ["tpu", "external", "external:", "gpu:0", ""])
def test_unknown_delegates_are_the_users_mistake(delegate: str) -> None:
    with pytest.raises(WrongRequest, match="delegate"):
        command("b", "m", replace(PLAN, delegate=delegate))


def test_the_clock_of_the_cpu_is_refused() -> None:
    with pytest.raises(WrongRequest, match="no clock 'cpu' on phones"):
        command("runner", "model", replace(PLAN, clock="cpu"))


def test_more_threads_than_processors_are_refused() -> None:
    with pytest.raises(WrongRequest, match="3 threads on 2 processors"):
        command("b", "m", MeasurementPlan(threads=3, affinity=(6, 7, 7)))


def test_runs_fill_the_block_within_the_plans_bounds() -> None:
    plan = MeasurementPlan(min_runs=20, max_runs=500, block_seconds=0.5)
    assert [runs_for(plan, latency_ms) for latency_ms in (None, 0.0, 100.0, 5.0, 0.01)] == [20, 20, 20, 100, 500]


def test_the_deadline_leaves_room_for_both_phases() -> None:
    plan = MeasurementPlan(deadline_s=60)
    assert 2 * max_secs(plan) < plan.deadline_s < deadline_s(plan)


# Formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log", [NEW, LOGCAT, NEW.replace("\n", "\r\n")], ids=["new", "logcat", "carriage returns"])
def test_new_builds_give_the_median(log: str) -> None:
    assert block(log, "", 0, PLAN) == Block(
        index=0, runs=50, statistic="median", value_ms=MEDIAN_MS, min_ms=5.916, p5_ms=5.985, mean_ms=MEAN_MS,
        p95_ms=6.281, max_ms=6.928, std_ms=0.16, init_ms=87.639, first_ms=7.264,
        conditions={"threads": 1, "delegate": "cpu", "delegate_coverage": "full", "memory_mb": 14.8164},
    )  # fmt: skip


@pytest.mark.parametrize("log", [MIDDLE, OLD, BRIEF_LOGCAT], ids=["2020", "2018", "brief logcat"])
def test_older_builds_give_the_mean_and_say_so(log: str) -> None:
    result = block(log, "", 0, PLAN)
    assert (result.statistic, result.value_ms, result.p5_ms, result.runs) == ("mean", MEAN_MS, None, 50)
    assert (result.init_ms, result.first_ms) == (87.639, 7.264)


def phases(warmup: str, measured: str, warmup_us: str, mean_us: str, runs: int = 50) -> str:
    return (
        f"STARTING!\nRunning benchmark for at least 1 iterations and at least 0 seconds\n{warmup}\n\n"
        f"Running benchmark for at least {runs} iterations and at least 0 seconds\n{measured}\n\n"
        f"Inference timings in us: Init: 10, First inference: 5, "
        f"Warmup (avg): {warmup_us}, Inference (avg): {mean_us}\n"
    )


BIG = "count=2 first=1200000 curr=1300000 min=1200000 max=1300000 avg=1.25e+06 std=50000"


@pytest.mark.parametrize(
    ("log", "value_ms", "runs"),
    [
        (phases("count=1 curr=11403859", "count=50 curr=12(all same)", "1.14039e+07", "12"), 0.012, 50),
        (phases("count=1 curr=5", "count=1 curr=1444451", "5", "1.44445e+06"), 1444.451, 1),
        (phases("count=0", "count=1 curr=7 p5=7 median=7 p95=7", "nan", "7"), 0.007, 1),
        (phases("count=0", "count=1 curr=7", "-nan", "7"), 0.007, 1),
        (phases("count=9 curr=7(all same)", "count=50 curr=7(all same)", "7", "7"), 0.007, 50),
        (phases("count=1 curr=5", BIG, "5", "1.25e+06"), 1250.0, 2),
    ],
)
def test_short_forms_and_exponents(log: str, value_ms: float, runs: int) -> None:
    result = block(log, "", 0, PLAN)
    assert (result.value_ms, result.runs) == (value_ms, runs)


def test_a_single_or_constant_sample_has_a_known_median() -> None:
    assert block(phases("count=0", "count=1 curr=7", "nan", "7"), "", 0, PLAN).statistic == "median"


def test_the_operator_profile_is_not_taken_for_a_result() -> None:
    profile = "Timings (microseconds): count=50 first=9 curr=9 min=9 max=9 avg=9 std=0\nMemory (bytes): count=0\n"
    assert block(MIDDLE + profile, "", 0, PLAN).value_ms == MEAN_MS


def test_the_number_of_runs_is_the_one_asked_for() -> None:
    assert block(NEW, "", 0, MeasurementPlan(min_runs=20), runs=50).runs == 50
    assert failure(NEW, "", 0, MeasurementPlan(min_runs=20)).code == "garbled_output"


# Failures -------------------------------------------------------------------------------------------------------


STARTED = "STARTING!\nLog parameter values verbosely: [0]\n"
LOADED = STARTED + "Loaded model /d/m.tflite\n"
SHELL = "/system/bin/sh: ./benchmark_model: "


@pytest.mark.parametrize(
    ("exit_code", "stdout", "stderr", "expected"),
    [
        (1, NEW, "Benchmarking failed.", "model model_refused"),  # an inference failed; timings are printed anyway
        (1, LOADED, "ERROR: Didn't find op for builtin opcode 'CONV_2D' version '6'.", "model unsupported_operator"),
        (1, LOADED, "ERROR: Encountered unresolved custom op: Foo.", "model unsupported_operator"),
        (1, LOADED, "ERROR: Select TensorFlow op(s), ..., is(are) not supported", "model unsupported_operator"),
        (1, STARTED, "The model is not a valid Flatbuffer buffer\nFailed to load model m", "model model_refused"),
        (1, STARTED, "Could not open '/d/m.tflite'.\nFailed to load model m", "infrastructure model_missing"),
        (1, LOADED, "ERROR: Failed to allocate tensors!", "model model_refused"),
        (1, LOADED, "ERROR: Failed to apply GPU delegate.\nBenchmarking failed.", "model delegate_refused"),
        (1, LOADED, "ERROR: Disallowed CPU fallback detected.", "model delegate_fallback"),
        (1, LOADED + "Benchmarking failed.", "", "model model_refused"),
        (1, LOADED, "", "infrastructure runner_broken"),
        (1, "", "", "infrastructure runner_broken"),
        (1, STARTED, "Please specify the name of your TF Lite input file with --graph", "user bad_flags"),
        (1, "", "usage: ./benchmark_model\nFlags:\n\t--num_runs=50", "user bad_flags"),
        (137, LOADED, "Killed", "model out_of_memory"),
        (-9, LOADED, "", "model out_of_memory"),
        (134, LOADED, "terminating: uncaught exception of type std::bad_alloc", "model out_of_memory"),
        (134, LOADED, "Aborted", "model crash"),
        (139, LOADED, "Segmentation fault", "model crash"),
        (-11, NEW, "", "model crash"),
        (139, "", "Segmentation fault", "infrastructure runner_broken"),
        (137, "", "", "infrastructure runner_broken"),
        (143, NEW, "Terminated", "infrastructure terminated"),
        (129, STARTED, "", "infrastructure terminated"),
        (255, LOADED, "", "infrastructure runner_broken"),
        (126, "", SHELL + "can't execute: Permission denied", "infrastructure not_executable"),
        (126, "", SHELL + "not executable: 64-bit ELF file", "infrastructure wrong_abi"),
        (127, "", "taskset: exec ./benchmark_model: Exec format error", "infrastructure wrong_abi"),
        (127, "", SHELL + "inaccessible or not found", "infrastructure runner_missing"),
        (127, "", "taskset: exec ./b: No such file or directory", "infrastructure runner_missing"),
        (127, "", "", "infrastructure runner_missing"),
        (126, "", "", "infrastructure not_executable"),
        (1, "", 'CANNOT LINK EXECUTABLE "./b": library "libfoo.so" not found', "infrastructure runner_broken"),
        (1, "", "taskset: failed to set pid 4711's affinity: Invalid argument", "infrastructure affinity_refused"),
        (1, "", "taskset: failed to set mask 100000: Invalid argument", "infrastructure affinity_refused"),
        (139, "Unable to load external delegate from : /d/Q.so", "", "infrastructure delegate_library_missing"),
        (0, "Unconsumed cmdline flags: --require_full_delegation=true\n" + NEW, "", "user unsupported_flags"),
        (0, "", "", "infrastructure truncated_output"),
        (0, "garbage \x00\ufffd\n" * 20, "", "infrastructure truncated_output"),
    ],
)
def test_failures_have_a_kind_and_a_code(exit_code: int, stdout: str, stderr: str, expected: str) -> None:
    result = failure(stdout, stderr, exit_code, PLAN)
    assert f"{result.kind} {result.code}" == expected, result
    assert result.detail
    error = error_of(result, device="pixel", command="b")
    assert error.failure() == result
    assert error.device == "pixel"


GPU = "GPU delegate, and the model graph will be"
XNNPACK = "XNNPACK delegate, and the model graph will be"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (f"Explicitly applied {GPU} completely executed by the delegate.", None),
        (f"Applied {GPU} completely executed w/ the delegate.", None),
        ("Require full delegation : [1]\nApplied GPU delegate.", None),
        ("Require full delegation : [0]\nApplied GPU delegate.", "runner_too_old"),
        (f"Explicitly applied {GPU} partially executed by the delegate w/ 3 delegate kernels.", "delegate_fallback"),
        (f"Applied {GPU} partially executed w/ the delegate", "delegate_fallback"),
        ("Though GPU delegate is explicitly applied, the model graph will not be executed", "delegate_fallback"),
        ("WARN: GPU acceleration is unsupported on this platform.", "delegate_fallback"),
        ("29 operations will run on the GPU, and the remaining 2 operations will run on the CPU.", "delegate_fallback"),
        (f"Explicitly applied {XNNPACK} completely executed by the delegate.", "delegate_unverified"),
        ("TfLiteFlexDelegate delegate: 0 nodes delegated out of 31 nodes with 0 partitions.", "delegate_unverified"),
        ("Created TensorFlow Lite delegate for GPU.", "delegate_unverified"),
    ],
)
def test_only_a_graph_that_the_accelerator_runs_whole_is_measured(said: str, code: str | None) -> None:
    plan = replace(PLAN, delegate="gpu")
    if code is None:
        assert block(gpu(NEW, said), "", 0, plan).conditions["delegate_coverage"] == "full"
    else:
        assert failure(gpu(NEW, said), "", 0, plan).code == code
    assert block(gpu(NEW, said), "", 0, PLAN).value_ms == MEDIAN_MS  # nobody asked for the GPU


def test_an_external_delegate_that_takes_no_node_is_a_fallback() -> None:
    log = gpu(NEW, "INFO: TfLiteQnnDelegate delegate: 0 nodes delegated out of 31 nodes with 0 partitions.")
    assert failure(log, "", 0, replace(PLAN, delegate="external:/d/libQ.so")).code == "delegate_fallback"


def test_coverage_is_read_from_standard_error_too() -> None:
    line = "Explicitly applied NNAPI delegate, and the model graph will be completely executed by the delegate."
    plan = replace(PLAN, delegate="nnapi")
    assert block(gpu(NEW, ""), line, 0, plan).conditions["delegate_coverage"] == "full"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("median=6047", "median=5900"),  # below p5
        ("median=6047", "median=6270"),  # within p5 and p95, but further from the mean than any median can be
        ("p95=6281", "p95=9281"),
        ("min=5916", "min=6100"),
        ("min=5916", "min=0"),
        ("max=6928", "max=5928"),
        ("std=160", "std=1600"),
        ("avg=6084.12", "avg=6084.13"),
        ("avg=6084.12", "avg=nan"),
        ("first=6022", "first=602"),
        ("Inference (avg): 6084.12", "Inference (avg): 6084.1"),
        ("Inference (avg): 6084.12", "Inference (avg): 1e999"),
        ("Warmup (avg): 6190.08", "Warmup (avg): 6190"),
        (" p5=5985 median=6047 p95=6281", ""),
        ("count=50", "count=0"),
        ("count=50", "count=-50"),
        ("at least 50", "at least 5"),
    ],
)
def test_timings_that_contradict_each_other_are_not_believed(old: str, new: str) -> None:
    assert old in NEW
    assert failure(NEW.replace(old, new), "", 0, PLAN).kind == "infrastructure"


def test_the_warm_up_is_never_taken_for_the_measurement() -> None:
    measured = next(line for line in NEW.splitlines() if "count=50" in line)
    without = NEW.replace(measured, "")
    assert failure(without, "", 0, PLAN).code == "garbled_output"
    # Not even when both means are the same and no header is left to tell them apart.
    log = phases("count=60 curr=7(all same)", "count=50 curr=7(all same)", "7", "7")
    log = "\n".join(line for line in log.splitlines() if "count=50" not in line and "Running" not in line)
    assert failure(log, "", 0, PLAN).code == "garbled_output"


def test_output_of_two_runs_is_refused() -> None:
    assert failure(NEW + NEW, "", 0, PLAN).code == "garbled_output"


def test_the_end_of_the_output_is_kept() -> None:
    assert failure(NEW, "x" * 5000 + "Killed", 137, PLAN).stderr_tail.endswith("xxKilled")
    assert len(failure(NEW, "x" * 5000, 137, PLAN).stderr_tail) == 2000
    assert failure(NEW, "", 137, PLAN).stderr_tail.endswith("overall=14.8164")


# Mangled output -------------------------------------------------------------------------------------------------

SOURCES = (NEW, MIDDLE, OLD, LOGCAT)
ERRORS = [
    "ERROR: whatever",
    "W/libc: access denied",
    "count=3",
    "",
    "Inference timings in us: Init: 1",
    "\x00\x1c\u2028",
]


@given(
    source=st.sampled_from(SOURCES),
    seed=st.integers(0, 2**32),
    edits=st.integers(1, 6),
    delegate=st.sampled_from(["cpu", "gpu"]),
)
def test_torn_output_gives_the_true_number_or_a_failure(source: str, seed: int, edits: int, delegate: str) -> None:
    rng = random.Random(seed)
    lines = (gpu(source) if delegate == "gpu" else source).splitlines(keepends=True)
    for _ in range(edits):
        at = rng.randrange(len(lines)) if lines else 0
        match rng.choice(["cut", "delete", "repeat", "swap", "interleave", "join"]) if lines else "none":
            case "cut":
                lines = [*lines[:at], lines[at][: rng.randrange(len(lines[at]) + 1)]]
            case "delete":
                del lines[at]
            case "repeat":
                lines.insert(rng.randrange(len(lines)), lines[at])
            case "swap":
                other = rng.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
            case "interleave":
                inside = rng.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:inside] + rng.choice(ERRORS) + rng.choice(["\n", ""]) + lines[at][inside:]
            case "join":
                lines[at] = lines[at].rstrip("\n")
    result = parse("".join(lines), "", 0, replace(PLAN, delegate=delegate))
    if isinstance(result, Block):
        assert result.value_ms == {"median": MEDIAN_MS, "mean": MEAN_MS}[result.statistic]
        assert result.runs == 50


@given(source=st.sampled_from(SOURCES), seed=st.integers(0, 2**32), flips=st.integers(1, 4))
def test_changed_bytes_give_a_number_of_an_intact_line_or_a_failure(source: str, seed: int, flips: int) -> None:
    rng = random.Random(seed)
    data = bytearray(source.encode())
    for _ in range(flips):
        data[rng.randrange(len(data))] = rng.randrange(256)
    text = data.decode("utf-8", "replace")
    result = parse(text, "", 0, PLAN)
    if isinstance(result, Block):
        # The mean is printed twice and has to agree to the last digit; nothing repeats the median, so all that can be
        # known of a changed one is that it fits the rest of its line.
        assert result.mean_ms == MEAN_MS
        assert result.value_ms == MEAN_MS or (result.statistic == "median" and abs(result.value_ms - MEAN_MS) <= 0.17)
        number = f"{result.value_ms * 1000:g}"
        assert any(
            re.search(rf"count=\d+ .*(?:avg|median)={re.escape(number)}(?: |$)", line) for line in text.split("\n")
        )


NUMBERS = st.one_of(
    st.integers(-5, 10**9).map(str), st.floats().map(repr), st.sampled_from(["nan", "1e+06", "9" * 5000, "", "1e99999"])
)


@given(st.lists(NUMBERS, min_size=13, max_size=13), st.integers(0, 3))
def test_random_numbers_never_raise(numbers: list[str], runs: int) -> None:
    count, first, curr, low, high, mean, std, p5, median, p95, warmup, init, asked = numbers
    line = (
        f"count={count} first={first} curr={curr} min={low} max={high} avg={mean} std={std} "
        f"p5={p5} median={median} p95={p95}"
    )
    log = phases(f"count=1 curr={warmup}", line, warmup, mean)
    log = log.replace("Init: 10", f"Init: {init}").replace("least 50", f"least {asked}")
    result = parse(log, "", 0, PLAN, runs=runs)
    if isinstance(result, Block):
        assert 0 < result.value_ms < float("inf")
        assert result.min_ms is not None
        assert result.max_ms is not None
        assert result.min_ms <= result.value_ms <= result.max_ms


@given(st.text(), st.text(), st.integers(-70, 300), st.sampled_from(["cpu", "none", "gpu", "nnapi", "external:/x"]))
def test_any_text_and_exit_code_give_a_failure(stdout: str, stderr: str, exit_code: int, delegate: str) -> None:
    assert isinstance(parse(stdout, stderr, exit_code, replace(PLAN, delegate=delegate)), Failure)


@given(st.integers(-70, 300).filter(bool), st.sampled_from(SOURCES))
def test_a_number_never_comes_from_a_run_that_failed(exit_code: int, source: str) -> None:
    assert isinstance(parse(source, "", exit_code, PLAN), Failure)


# The runner for Linux hosts, which has the same command line and output -------------------------------------------


def run(plan: MeasurementPlan, model: Path, runs: int) -> Block | Failure:
    argv = command(sys.executable, str(model), plan, runs=runs)
    argv.insert(argv.index(sys.executable) + 1, str(RUNNER))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=deadline_s(plan), check=False)
    return parse(done.stdout, done.stderr, done.returncode, plan, runs=runs)


def test_a_real_process_is_measured(tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(small_artifact().data)
    plan = MeasurementPlan(warmup_runs=2, warmup_seconds=0, affinity=(min(os.sched_getaffinity(0)),))
    result = run(plan, model, 25)
    assert isinstance(result, Block), result
    assert (result.runs, result.statistic, result.conditions["delegate_coverage"]) == (25, "median", "full")
    fallback = run(replace(plan, delegate="gpu"), model, 25)
    assert isinstance(fallback, Failure)
    assert (fallback.kind, fallback.code) == ("model", "delegate_fallback")


def test_a_real_process_fails_for_a_reason(tmp_path: Path) -> None:
    corrupt, foreign = tmp_path / "corrupt.tflite", tmp_path / "foreign.tflite"
    corrupt.write_bytes(small_artifact().data[:100])
    foreign.write_bytes(edited(small_artifact(), custom_operator="Foo").data)
    failures = [run(PLAN, model, 25) for model in (corrupt, foreign, tmp_path / "missing.tflite")]
    assert [item.code for item in failures if isinstance(item, Failure)] == [
        *("model_refused", "unsupported_operator", "model_missing"),
    ]


# Real logs ------------------------------------------------------------------------------------------------------


def real(name: str, separator: str = "") -> list[str]:
    """A real log, in parts if it holds several runs; skipped where the logs are not at hand."""
    if not LOGS.is_dir():
        pytest.skip("the collection of real logs (shared/data/benchmark_logs) is not here")
    (path,) = LOGS.glob(f"{name}_*")
    text = path.read_text(encoding="utf-8").split("raw below", 1)[1]
    return re.split(separator, text)[1:] if separator else [text]


@pytest.mark.parametrize(
    ("name", "part", "separator", "delegate", "runs", "expected"),
    [
        ("01", 0, "(?=STARTING!)", "gpu", 50, ("mean", 15.2422, 66, "full")),
        ("01", 1, "(?=STARTING!)", "gpu", 50, ("mean", 15.9796, 63, "full")),
        ("02", 0, "---Test", "cpu", 100, ("mean", 15.5942, 100, "unknown")),
        ("02", 6, "---Test", "cpu", 100, ("mean", 49.1143, 100, "unknown")),
        ("04", 2, "```\n(?=count)", "cpu", 50, ("mean", 92.5712, 50, "unknown")),
        ("20", 0, "", "cpu", 50, ("median", 576.856, 50, "unknown")),
        ("22", 0, "", "nnapi", 50, ("mean", 1.88574, 520, "full")),
        ("23", 0, "", "none", 50, ("mean", 115.062, 50, "unknown")),
        ("24", 0, "", "none", 10, ("mean", 133.690, 10, "unknown")),
        ("36", 0, "", "cpu", 50, ("mean", 33.2094, 50, "unknown")),
        ("40", 0, "(?=INFO: STARTING!)", "cpu", 50, ("median", 105.718, 50, "unknown")),
        ("40", 1, "(?=INFO: STARTING!)", "gpu", 50, ("median", 115.350, 50, "full")),
        ("41", 0, "", "nnapi", 50, ("mean", 3.75687, 260, "full")),
    ],
)
def test_real_measurements(
    name: str, part: int, separator: str, delegate: str, runs: int, expected: tuple[str, float, int, str]
) -> None:
    plan = MeasurementPlan(min_runs=runs, delegate=delegate)
    result = block(real(name, separator)[part], "", 0, plan)
    statistic, value_ms, count, coverage = expected
    assert (result.statistic, result.runs) == (statistic, count)
    assert result.value_ms == pytest.approx(value_ms, rel=1e-9)
    assert result.conditions["delegate_coverage"] == coverage


@pytest.mark.parametrize(
    ("name", "exit_code", "delegate", "code"),
    [
        ("01", 0, "gpu", "garbled_output"),  # two runs in one log
        ("02", 0, "gpu", "delegate_unverified"),  # only the timings were kept
        ("03", 0, "gpu", "delegate_fallback"),  # another tool's log: 2 operations stay on the CPU
        ("03", 0, "cpu", "truncated_output"),
        ("30", 1, "external:/x", "delegate_refused"),
        ("31", 1, "nnapi", "delegate_refused"),
        ("33", 0, "external:/x", "delegate_fallback"),
        ("33", 0, "cpu", "truncated_output"),
        ("34", 1, "gpu", "delegate_refused"),
        ("34", 0, "gpu", "delegate_unverified"),
        ("35", 126, "cpu", "wrong_abi"),
        ("38", 0, "nnapi", "delegate_fallback"),
        ("39", 0, "cpu", "truncated_output"),
        ("20", 137, "cpu", "out_of_memory"),
        ("22", 139, "nnapi", "crash"),
        ("22", 0, "gpu", "delegate_unverified"),  # NNAPI's coverage is not the GPU's
    ],
)
def test_real_failures(name: str, exit_code: int, delegate: str, code: str) -> None:
    result = failure(real(name)[0], "", exit_code, MeasurementPlan(min_runs=50, delegate=delegate))
    assert result.code == code, result


def test_real_failures_among_several_runs_in_one_file() -> None:
    refused = real("04", "(?=STARTING!)")
    plan = MeasurementPlan(delegate="nnapi")
    assert [failure(log, "", 1, plan).code for log in refused] == ["delegate_refused"] * 2


def test_real_logs_cut_anywhere_give_the_true_number_or_a_failure() -> None:
    for name, delegate, value_ms in [("20", "cpu", 576.856), ("41", "nnapi", 3.75687), ("23", "none", 115.062)]:
        (log,) = real(name)
        plan = MeasurementPlan(min_runs=50, delegate=delegate)
        for end in range(0, len(log), 7):
            result = parse(log[:end], "", 0, plan)
            assert isinstance(result, Failure) or result.value_ms == pytest.approx(value_ms)
