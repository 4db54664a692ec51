"""HostDevice: real LiteRT in real processes, and what happens when these misbehave."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.device import Artifact
from device_agent.errors import (
    CommandTimeout,
    DeviceError,
    InfrastructureError,
    ModelCrashed,
    ModelOutOfMemory,
    ModelRefused,
    RunnerBroken,
    WrongRequest,
)
from device_agent.host import HostDevice
from device_agent.measure import measure
from profiling.plan import MeasurementPlan
from tests.contracts.device_contract import DeviceContract
from tests.device_agent.models import edited, executable, misbehaving_python, small_artifact

PLAN = MeasurementPlan(min_runs=5, block_seconds=0.02, warmup_runs=1, warmup_seconds=0.0)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return small_artifact()


@pytest.fixture
def host() -> object:
    device = HostDevice()
    yield device
    device.close()


class TestHostContract(DeviceContract):
    @pytest.fixture
    def device(self) -> HostDevice:
        return HostDevice()

    @pytest.fixture
    def artifact(self) -> Artifact:
        return small_artifact()

    @pytest.fixture
    def unusable(self) -> Artifact:
        return Artifact.of(b"not a model", "rubbish")


def block_error(python: Path, artifact: Artifact, plan: MeasurementPlan = PLAN) -> DeviceError:
    """What a block raises when this interpreter runs it."""
    device = HostDevice(python=python)
    try:
        with pytest.raises(DeviceError) as caught:
            device.run_block(artifact, plan, 0)
    finally:
        device.close()
    return caught.value


def test_threads_and_affinity_are_set_and_read_back(host: HostDevice, artifact: Artifact) -> None:
    available = sorted(os.sched_getaffinity(0))
    chosen = host.run_block(artifact, PLAN, 0).conditions
    assert chosen["affinity"] == chosen["affinity_requested"] == available[-1:]
    assert chosen["threads"] == 1
    given = host.run_block(artifact, replace(PLAN, affinity=(available[0],)), 1).conditions
    assert given["affinity"] == [available[0]]
    several = host.run_block(artifact, replace(PLAN, threads=2), 2).conditions
    assert several["affinity"] == available[-2:]
    assert several["threads"] == 2
    assert several["threads_seen"] >= 2
    assert 0 < chosen["cpu_share"] <= 1


def test_a_block_is_the_median_of_its_runs(host: HostDevice, artifact: Artifact) -> None:
    block = host.run_block(artifact, replace(PLAN, min_runs=30, max_runs=40), 0)
    assert 30 <= block.runs <= 40
    assert block.statistic == "median"
    assert block.min_ms <= block.p5_ms <= block.value_ms <= block.p95_ms <= block.max_ms  # type: ignore[operator]
    assert block.init_ms is not None
    assert block.first_ms is not None
    assert block.duration_s > block.value_ms * block.runs / 1000
    assert abs(block.started_at - time.time()) < 60


def test_more_work_takes_longer(host: HostDevice) -> None:
    alone = replace(PLAN, clock="cpu")  # whatever else runs on this computer
    small, large = (host.run_block(small_artifact(filters), alone, 0).value_ms for filters in (8, 256))
    assert large > 3 * small


def test_the_clock_of_the_cpu(host: HostDevice, artifact: Artifact) -> None:
    block = host.run_block(artifact, replace(PLAN, clock="cpu"), 0)
    assert block.value_ms > 0
    assert block.conditions["clock"] == "cpu"
    with pytest.raises(ValueError, match="one thread"):
        replace(PLAN, clock="cpu", threads=2)


def test_xnnpack_and_built_in_kernels(host: HostDevice, artifact: Artifact) -> None:
    assert host.run_block(artifact, replace(PLAN, delegate="none"), 0).value_ms > 0
    with pytest.raises(WrongRequest, match="no delegate 'gpu'") as caught:
        host.run_block(artifact, replace(PLAN, delegate="gpu"), 0)
    assert caught.value.failure().kind == "user"


def test_cpus_that_are_not_there_are_the_user_s_mistake(host: HostDevice, artifact: Artifact) -> None:
    with pytest.raises(WrongRequest, match="no CPU 4095"):
        host.run_block(artifact, replace(PLAN, affinity=(4095,)), 0)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda a: Artifact.of(a.data[: len(a.data) // 2], "truncated"), "model_refused"),
        (lambda a: edited(a, operator_version=99), "unsupported_operator"),
        (lambda a: edited(a, custom_operator="FlexErf"), "unsupported_operator"),
        (lambda a: edited(a, input_size=300_000), "model_refused"),
    ],
)
def test_refused_models(host: HostDevice, artifact: Artifact, change: object, code: str) -> None:
    broken = change(artifact)  # type: ignore[operator]
    with pytest.raises(ModelRefused) as caught:
        host.run_block(broken, PLAN, 0)
    assert caught.value.code == code
    assert broken.label in caught.value.message
    assert caught.value.command.startswith("runner.py --graph=")
    assert caught.value.stderr_tail


def test_segfault(artifact: Artifact, tmp_path: Path) -> None:
    error = block_error(misbehaving_python(tmp_path, "ctypes.string_at(0)"), artifact)
    assert isinstance(error, ModelCrashed)
    assert "SIGSEGV" in error.message


def test_abort(artifact: Artifact, tmp_path: Path) -> None:
    error = block_error(misbehaving_python(tmp_path, "os.abort()"), artifact)
    assert isinstance(error, ModelCrashed)
    assert "SIGABRT" in error.message


def test_out_of_memory_that_the_runtime_notices(artifact: Artifact, tmp_path: Path) -> None:
    python = misbehaving_python(tmp_path, "raise MemoryError")
    assert isinstance(block_error(python, artifact), ModelOutOfMemory)


def test_killed_by_somebody_is_not_the_model_s_fault(artifact: Artifact, tmp_path: Path) -> None:
    """SIGKILL without the kernel having counted an out-of-memory kill: retried, not held against the model."""
    error = block_error(misbehaving_python(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)"), artifact)
    assert isinstance(error, InfrastructureError)
    assert "SIGKILL" in error.message


def test_hang(artifact: Artifact, tmp_path: Path) -> None:
    error = block_error(misbehaving_python(tmp_path, "signal.pause()"), artifact, replace(PLAN, deadline_s=3.0))
    assert isinstance(error, CommandTimeout)
    assert error.failure().kind == "timeout"


@pytest.mark.parametrize(
    ("shell", "says"),
    [
        ("exit 0", "reported no runs"),
        ("echo nonsense >&2; exit 7", "status 7"),
        ("kill -SEGV $$", "SIGSEGV"),
        (f'exec "{sys.executable}" -I -S "$@"', "numpy"),
    ],
    ids=["silent", "nonsense", "dies before the model", "without packages"],
)
def test_broken_interpreters_are_not_the_model_s_fault(
    artifact: Artifact, tmp_path: Path, shell: str, says: str
) -> None:
    error = block_error(executable(tmp_path / "python", shell), artifact)
    assert isinstance(error, InfrastructureError)
    assert says in error.message


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    device = HostDevice(python=tmp_path / "nowhere")
    with pytest.raises(RunnerBroken, match="cannot start"):
        _ = device.info
    device.close()


def test_a_block_that_moved_to_other_cpus_is_rejected(artifact: Artifact, tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two CPUs")
    device = HostDevice(python=misbehaving_python(tmp_path, "os.sched_setaffinity(0, {0, 1})"))
    block = device.run_block(artifact, PLAN, 0)
    device.close()
    assert (block.status, block.reason) == ("rejected", "affinity_changed")


def test_a_block_that_drifts_is_rejected(artifact: Artifact, tmp_path: Path) -> None:
    python = misbehaving_python(tmp_path, "time.sleep(0.002 * count)")
    device = HostDevice(python=python)
    block = device.run_block(artifact, replace(PLAN, min_runs=30), 0)
    device.close()
    assert (block.status, block.reason) == ("rejected", "not_steady")


def test_artifacts_are_written_once_and_checked(artifact: Artifact, host: HostDevice) -> None:
    host.deploy(artifact)
    host.deploy(Artifact(artifact.sha256, b"", artifact.label))
    with pytest.raises(InfrastructureError, match="sha256"):
        host.deploy(Artifact("0" * 64, artifact.data, "misnamed"))


def test_close_stops_a_running_block_and_removes_the_files(artifact: Artifact, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    python = misbehaving_python(tmp_path, f"open({str(fifo)!r}, 'w').write('running'); signal.pause()")
    device = HostDevice(python=python)

    def close_when_running() -> None:
        with fifo.open() as file:
            file.read(1)
        device.close()

    closer = threading.Thread(target=close_when_running)
    closer.start()
    with pytest.raises(InfrastructureError, match="closed"):
        device.run_block(artifact, PLAN, 0)
    closer.join()
    with pytest.raises(InfrastructureError, match="closed"):
        device.run_block(artifact, PLAN, 0)


def test_info_identifies_machine_and_runtime(host: HostDevice) -> None:
    info = host.info
    assert info.kind == "host"
    assert info.runtime.startswith("ai-edge-litert ")
    assert info.properties["cores"] == os.cpu_count()
    assert len(info.serial_hash) == 16


@pytest.mark.slow
def test_tflite_runtime_in_an_environment_of_its_own(artifact: Artifact, tmp_path: Path) -> None:
    """The runner works with the package's former name, in an interpreter that has nothing else of ours."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=280)
    python = environment / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--retries=1", "--only-binary=:all:"]
    try:
        subprocess.run([*install, "tflite-runtime", "numpy<2"], capture_output=True, text=True, timeout=280, check=True)
    except subprocess.TimeoutExpired:
        pytest.skip("tflite-runtime cannot be installed here: nothing answers")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"tflite-runtime cannot be installed here: {error.stderr.strip().splitlines()[-1]}")
    device = HostDevice(python=python)
    measurement = measure(device, artifact, replace(PLAN, min_blocks=2, max_blocks=2))
    with pytest.raises(ModelRefused):
        device.run_block(edited(artifact, operator_version=99), PLAN, 0)
    device.close()
    assert measurement.latency_ms > 0
    assert measurement.device.runtime.startswith("tflite-runtime 2.")
    assert measurement.blocks[0].conditions["affinity"] == sorted(os.sched_getaffinity(0))[-1:]
