"""The runner speaks as benchmark_model does: flags, output, exit codes."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.device import Artifact
from device_agent.host import RUNNER
from device_agent.runner import statistics_line
from tests.device_agent.models import edited, misbehaving_python, small_artifact

COUNT = re.compile(
    r"^INFO: count=(\d+)(?: first=(\d+))? curr=(\d+)(?:\(all same\))?"
    r"(?: min=(\d+) max=(\d+) avg=(\S+) std=(\d+))? p5=(\d+) median=(\d+) p95=(\d+)$",
    re.MULTILINE,
)
SUMMARY = re.compile(
    r"^INFO: Inference timings in us: Init: (\d+), First inference: (\d+), Warmup \(avg\): (\S+),"
    r" Inference \(avg\): (\S+)$",
    re.MULTILINE,
)
QUICK = ("--num_runs=5", "--min_secs=0", "--warmup_min_secs=0")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("model"), small_artifact())


def written(folder: Path, artifact: Artifact) -> Path:
    path = folder / "model.tflite"
    path.write_bytes(artifact.data)
    return path


def run(*flags: str, python: Path | str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(python), str(RUNNER), *flags], capture_output=True, text=True, timeout=60, check=False)


def run_reported(folder: Path, *flags: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    ended = run(*flags, f"--report_json={folder / 'report.json'}")
    return ended, json.loads((folder / "report.json").read_text())


def test_output_of_a_run(model: Path) -> None:
    ended = run(f"--graph={model}", "--num_threads=1", "--use_xnnpack=true", *QUICK)
    assert ended.returncode == 0
    lines = ended.stdout.splitlines()
    assert lines[0] == "INFO: STARTING!"
    limits = "iterations and at least 0 seconds but terminate if exceeding 150 seconds."
    for line in (
        "INFO: Log parameter values verbosely: [0]",
        "INFO: Min num runs: [5]",
        "INFO: Min runs duration (seconds): [0]",
        "INFO: Num threads: [1]",
        f"INFO: Graph: [{model}]",
        "INFO: #threads used for CPU inference: [1]",
        f"INFO: Loaded model {model}",
        "INFO: Explicitly applied XNNPACK delegate, and the model graph will be completely executed by the delegate.",
        f"INFO: The input model file size (MB): {model.stat().st_size / 1e6:.6g}",
        f"INFO: Running benchmark for at least 1 {limits}",
        f"INFO: Running benchmark for at least 5 {limits}",
    ):
        assert line in lines
    warmup, measured = COUNT.findall(ended.stdout)
    assert (warmup[0], measured[0]) == ("1", "5")
    summary = SUMMARY.search(ended.stdout)
    assert summary is not None
    assert summary[2] == warmup[2]
    assert summary[4] == measured[5] or not measured[5]
    assert re.search(
        r"^INFO: Memory footprint delta from the start of the tool \(MB\): init=\S+ overall=\S+$",
        ended.stdout,
        re.MULTILINE,
    )


def test_number_of_runs_is_a_minimum(model: Path, tmp_path: Path) -> None:
    _, report = run_reported(tmp_path, f"--graph={model}", "--num_runs=3", "--min_secs=0.2", "--warmup_min_secs=0.1")
    assert len(report["durations_ns"]) > 3
    assert sum(report["durations_ns"]) <= report["wall_ns"] >= 0.2e9
    assert len(report["warmup_ns"]) > 1
    _, report = run_reported(tmp_path, f"--graph={model}", "--num_runs=100000", "--max_secs=0.1", "--warmup_min_secs=0")
    assert 0 < len(report["durations_ns"]) < 100000
    _, report = run_reported(tmp_path, f"--graph={model}", "--num_runs=3", "--min_secs=5", "--max_runs=7")
    assert len(report["durations_ns"]) == 7


def test_time_on_the_cpu_leaves_out_what_others_had(model: Path, tmp_path: Path) -> None:
    _, report = run_reported(tmp_path, f"--graph={model}", "--num_runs=50", "--cpu_clock=true", "--num_threads=1")
    assert 0 < sum(report["durations_ns"]) <= report["cpu_ns"]


def test_delay_between_runs_is_not_timed(model: Path, tmp_path: Path) -> None:
    _, report = run_reported(tmp_path, f"--graph={model}", *QUICK, "--run_delay=0.05")
    assert report["wall_ns"] >= 5 * 0.05e9
    assert np.median(report["durations_ns"]) < 0.02e9


def test_report_has_what_was_effective(model: Path, tmp_path: Path) -> None:
    cpu = max(os.sched_getaffinity(0))
    _, report = run_reported(tmp_path, f"--graph={model}", *QUICK, "--num_threads=2", f"--affinity={cpu}")
    assert report["stage"] == "done"
    assert report["error"] is None
    assert report["affinity"] == [cpu]
    assert report["threads"] == 2
    assert report["threads_seen"] >= 2
    assert report["runtime"].startswith("ai-edge-litert ")
    assert report["init_ns"] > 0
    assert report["cpu_ns"] > 0


def test_built_in_kernels_without_xnnpack(model: Path) -> None:
    ended = run(f"--graph={model}", *QUICK, "--use_xnnpack=false")
    assert ended.returncode == 0
    assert "XNNPACK" not in ended.stderr


@pytest.mark.parametrize("name", ["gpu", "nnapi"])
def test_delegates_that_are_not_here_take_nothing(model: Path, name: str) -> None:
    ended = run(f"--graph={model}", *QUICK, f"--use_{name}=true")
    expected = (
        f"Though {name.upper()} delegate is explicitly applied, the model graph will not be executed by the delegate."
    )
    assert f"INFO: {expected}" in ended.stdout.splitlines()
    assert ended.returncode == 0, "a silent fallback: the number is the CPU's"
    strict = run(f"--graph={model}", *QUICK, f"--use_{name}=true", "--require_full_delegation=true")
    assert strict.returncode == 1
    assert "ERROR: Disallowed CPU fallback detected." in strict.stderr.splitlines()


def test_full_delegation_to_xnnpack_is_recognised(model: Path) -> None:
    assert run(f"--graph={model}", *QUICK, "--use_xnnpack=true", "--require_full_delegation=true").returncode == 0


def test_flags(model: Path) -> None:
    unknown = run(f"--graph={model}", *QUICK, "--cpu_mask=f0", "--num_threads", "4")
    assert unknown.returncode == 0
    assert "WARN: Unconsumed cmdline flags: --cpu_mask=f0 --num_threads 4" in unknown.stdout.splitlines()
    for flags in (("--help",), ("--help=true",), (f"--graph={model}", "--num_runs=many"), ("--verbose=yes",), ()):
        refused = run(*flags)
        assert refused.returncode == 1
        assert refused.stderr.splitlines()[-1] == "ERROR: Benchmarking failed."
        assert not SUMMARY.search(refused.stdout)
    verbose = run(f"--graph={model}", *QUICK, "--verbose=true")
    assert "INFO: Use gpu: [0]" in verbose.stdout.splitlines()


def test_dry_run_invokes_nothing(model: Path, tmp_path: Path) -> None:
    ended, report = run_reported(tmp_path, f"--graph={model}", "--dry_run=true")
    assert ended.returncode == 0
    assert report["durations_ns"] == report["warmup_ns"] == []


@pytest.mark.parametrize(
    ("broken", "code", "says"),
    [
        (lambda a: Artifact.of(b"", "empty"), "load", "Failed to load model"),
        (lambda a: Artifact.of(b"no model at all" * 50, "text"), "load", "Failed to load model"),
        (lambda a: Artifact.of(a.data[: len(a.data) // 2], "half"), "load", "Failed to load model"),
        (lambda a: Artifact.of(a.data[:-40], "cut"), "load", "Failed to load model"),
        (lambda a: edited(a, operator_version=99), "operator", "Failed to initialize the interpreter"),
        (lambda a: edited(a, custom_operator="Fancy"), "operator", "Encountered unresolved custom op: Fancy"),
        (lambda a: edited(a, input_size=300_000), "allocate", "Failed to allocate tensors!"),
    ],
)
def test_models_that_do_not_work(tmp_path: Path, broken: Any, code: str, says: str) -> None:
    ended, report = run_reported(tmp_path, f"--graph={written(tmp_path, broken(small_artifact()))}", *QUICK)
    assert ended.returncode == 1
    assert says in ended.stderr
    assert ended.stderr.splitlines()[-1] == "ERROR: Benchmarking failed."
    assert (report["stage"], report["error"]["code"]) == ("model", code)
    assert not SUMMARY.search(ended.stdout)


def test_a_missing_model(tmp_path: Path) -> None:
    ended = run(f"--graph={tmp_path / 'absent.tflite'}")
    assert ended.returncode == 1
    assert "Failed to load model" in ended.stderr


def test_invocations_that_fail_print_timings_but_exit_with_1(model: Path, tmp_path: Path) -> None:
    python = misbehaving_python(tmp_path, 'if count > 3: raise RuntimeError("Node number 0 failed to invoke.")')
    ended = run(f"--graph={model}", "--num_runs=5", "--min_secs=0", "--warmup_min_secs=0", python=python)
    assert SUMMARY.search(ended.stdout)
    assert "failed to invoke" in ended.stderr
    assert ended.returncode == 1


def test_an_affinity_that_is_not_there(model: Path) -> None:
    ended = run(f"--graph={model}", "--affinity=4095")
    assert ended.returncode == 1
    assert "Failed to set the CPU affinity" in ended.stderr


def test_statistics_are_the_original_s() -> None:
    assert statistics_line([]) == "count=0 p5=0 median=0 p95=0"
    assert statistics_line([12]) == "count=1 curr=12 p5=12 median=12 p95=12"
    assert statistics_line([12] * 7) == "count=7 curr=12(all same) p5=12 median=12 p95=12"
    assert (
        statistics_line([30, 10, 20, 40])
        == "count=4 first=30 curr=40 min=10 max=40 avg=25 std=11 p5=10 median=30 p95=40"
    ), "the upper median, the deviation of the population cut to whole microseconds"
    assert "avg=1.23457e+06" in statistics_line([1_234_567, 1_234_569])


def test_it_imports_nothing_of_ours_and_is_python_3_9() -> None:
    tree = ast.parse(RUNNER.read_text(), feature_version=(3, 9))
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules - set(sys.stdlib_module_names) <= {"numpy", "collections.abc"}
