"""LocalBackend: every job ends with a measurement or a typed failure, or its future is cancelled."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future, as_completed
from pathlib import Path

import pytest

from device_agent.backend import MeasurementBackend, MeasurementJob, MeasurementResult
from device_agent.device import Artifact
from device_agent.errors import CommandTimeout, DeviceError, InfrastructureError, ModelCrashed, RunnerBroken
from device_agent.gate import GateClosed, HostGate
from device_agent.host import HostDevice
from device_agent.local import LocalBackend
from device_agent.table import TableDevice
from profiling.plan import MeasurementPlan
from profiling.records import Block, Failure, Measurement
from tests.device_agent.conftest import LONG_S
from tests.device_agent.models import misbehaving_python, small_artifact
from tests.device_agent.scripted import ScriptedDevice, Step

PLAN = MeasurementPlan()


def job(device: str = "scripted", name: str = "1", **changes: object) -> MeasurementJob:
    return MeasurementJob(name, Artifact.of(b"model", "model"), PLAN, device, **changes)  # type: ignore[arg-type]


def result_of(*steps: Step, retries: int = 2) -> MeasurementResult:
    backend = LocalBackend([ScriptedDevice(steps)], retries=retries)
    try:
        return backend.submit(job()).result(LONG_S)
    finally:
        backend.close()


def test_a_measurement_comes_back_with_its_blocks() -> None:
    blocks: list[Block] = []
    device = ScriptedDevice([10.0] * 4)
    backend: MeasurementBackend = LocalBackend([device])
    measurement = backend.submit(job(), blocks.append).result(LONG_S)
    assert isinstance(measurement, Measurement)
    assert measurement.blocks == tuple(blocks)
    assert [info.name for info in backend.inventory()] == ["scripted"]
    backend.close()
    backend.close()
    assert device.closed


def test_faults_are_results(tmp_path: Path) -> None:
    crash = result_of(10.0, ModelCrashed("segfault", device="scripted", stderr_tail="boom"))
    assert crash == Failure("model", "crash", "segfault", "boom")
    late = result_of(CommandTimeout("too slow", device="scripted"))
    assert isinstance(late, Failure)
    assert late.kind == "timeout"
    (tmp_path / "t.csv").write_text("arch,ms\nx,5\n")
    backend = LocalBackend([TableDevice.of_column(tmp_path / "t.csv", "ms")])
    miss = backend.submit(job("ms")).result(LONG_S)
    backend.close()
    assert isinstance(miss, Failure)
    assert miss.code == "not_in_table"


def test_infrastructure_errors_are_retried_with_the_blocks_had() -> None:
    blip: list[DeviceError] = [InfrastructureError("link lost", device="scripted"), RunnerBroken("nonsense")]
    measurement = result_of(10.0, blip[0], blip[1], 10.0, 10.0, 10.0)
    assert isinstance(measurement, Measurement)
    assert [block.index for block in measurement.blocks] == [0, 1, 2, 3]
    failure = result_of(10.0, blip[0], blip[1], 10.0, retries=1)
    assert failure == Failure("infrastructure", "runner_broken", "nonsense")


def test_a_block_that_cannot_be_kept_ends_the_job_loudly() -> None:
    def full_disk(block: Block) -> None:
        raise OSError(28, "No space left on device")

    backend = LocalBackend([ScriptedDevice([10.0] * 4)])
    with pytest.raises(OSError, match="No space left"):
        backend.submit(job(), full_disk).result(LONG_S)
    assert isinstance(backend.submit(job()).result(LONG_S), Measurement), "the worker lives on"
    backend.close()


def test_earlier_blocks_count() -> None:
    earlier = tuple(Block(i, 20, "median", 10.0) for i in range(3))
    new: list[Block] = []
    backend = LocalBackend([ScriptedDevice([99.0] * 3 + [10.0])])
    measurement = backend.submit(job(earlier_blocks=earlier), new.append).result(LONG_S)
    backend.close()
    assert isinstance(measurement, Measurement)
    assert measurement.latency_ms == pytest.approx(10.0)
    assert [block.index for block in new] == [3]


def test_a_measurement_without_a_usable_block_is_made_again_and_is_no_result() -> None:
    rejected = [-10.0] * PLAN.max_blocks  # negative: the script rejects the block
    again = result_of(*rejected, *[20.0] * 4)
    assert isinstance(again, Measurement)
    assert again.latency_ms == pytest.approx(20.0)
    never = result_of(*rejected * 3)
    assert isinstance(never, Failure)
    assert (never.kind, never.code) == ("infrastructure", "blocks_rejected")
    assert "throttled" in never.detail

    backend = LocalBackend([ScriptedDevice(rejected)], accept_unusable=True)
    asked_for = backend.submit(job()).result(LONG_S)
    backend.close()
    assert isinstance(asked_for, Measurement)
    assert asked_for.grade == "F"


def test_devices_work_side_by_side() -> None:
    """Two devices meet at a barrier, which one after the other they never could."""
    barrier = threading.Barrier(2, timeout=LONG_S)

    def meet() -> float:
        barrier.wait()
        return 10.0

    backend = LocalBackend([ScriptedDevice([meet] + [10.0] * 3, name=name) for name in ("a", "b")])
    futures = [backend.submit(job(name)) for name in ("a", "b")]
    assert all(isinstance(future.result(LONG_S), Measurement) for future in futures)
    backend.close()


def test_jobs_for_a_model_go_to_whichever_phone_is_free() -> None:
    stuck = threading.Event()

    def wait() -> float:
        stuck.wait(LONG_S)
        return 10.0

    slow = ScriptedDevice([wait] + [10.0] * 3, name="phone-1", model="Pixel 7")
    quick = ScriptedDevice([10.0] * 4, name="phone-2", model="Pixel 7")
    other = ScriptedDevice([10.0] * 4, name="phone-3", model="Galaxy")
    backend = LocalBackend([slow, quick, other])
    blocked = backend.submit(job("phone-1"))
    measured = [backend.submit(job("Pixel 7", str(i))).result(LONG_S) for i in range(3)]
    assert {m.device.name for m in measured if isinstance(m, Measurement)} == {"phone-2"}
    stuck.set()
    assert isinstance(blocked.result(LONG_S), Measurement)
    backend.close()


def test_devices_that_are_not_there_and_names_used_twice() -> None:
    backend = LocalBackend([ScriptedDevice([])])
    with pytest.raises(ValueError, match="no device 'pixel'; there is 'scripted'"):
        backend.submit(job("pixel"))
    backend.close()
    with pytest.raises(RuntimeError, match="closed"):
        backend.submit(job())
    with pytest.raises(ValueError, match="two devices are called 'scripted'"):
        LocalBackend([ScriptedDevice([]), ScriptedDevice([])])


def test_closing_cancels_what_waits() -> None:
    entered, leave = threading.Event(), threading.Event()

    def wait() -> float:
        entered.set()
        leave.wait(LONG_S)
        return 10.0

    backend = LocalBackend([ScriptedDevice([wait] + [10.0] * 3)])
    running, waiting = backend.submit(job()), backend.submit(job(name="2"))
    assert entered.wait(LONG_S)
    closer = threading.Thread(target=backend.close)
    closer.start()
    with pytest.raises(CancelledError):
        waiting.result(LONG_S)
    leave.set()
    closer.join(LONG_S)
    assert not closer.is_alive()
    assert isinstance(running.result(LONG_S), Measurement)


def test_closing_stops_a_running_process(tmp_path: Path) -> None:
    device = HostDevice(python=misbehaving_python(tmp_path, "signal.pause()"))
    backend = LocalBackend([device])
    future = backend.submit(MeasurementJob("1", small_artifact(), PLAN, "host"))
    while not future.running():
        pass
    backend.close()
    with pytest.raises(GateClosed):
        future.result(LONG_S)


def test_host_blocks_keep_training_away_but_tables_do_not(tmp_path: Path) -> None:
    """A trainer holds the machine: the host waits for its checkpoint, the table does not."""
    (tmp_path / "t.csv").write_text("arch,ms\nmodel,5\n")
    gate = HostGate()
    host = ScriptedDevice([10.0] * 4, name="here", kind="host")
    backend = LocalBackend([host, TableDevice.of_column(tmp_path / "t.csv", "ms")], gate)
    with gate.training():
        on_host = backend.submit(job("here"))
        assert isinstance(backend.submit(job("ms")).result(LONG_S), Measurement)
        assert not on_host.done()
        while not on_host.done():
            gate.checkpoint()
    assert isinstance(on_host.result(LONG_S), Measurement)
    backend.close()


def test_closing_while_a_host_job_waits_for_trainers() -> None:
    gate = HostGate()
    backend = LocalBackend([ScriptedDevice([10.0] * 4, kind="host")], gate)
    with gate.training():
        future = backend.submit(job())
        while not future.running():
            pass
        backend.close()
    with pytest.raises(GateClosed):
        future.result(LONG_S)


def test_many_jobs_on_many_devices_each_end_once() -> None:
    blip = InfrastructureError("link lost")
    steps: list[Step] = [10.0, 10.1, 9.9, 10.0, 10.05, 9.95, 10.0, 10.0, 10.0, 10.0]
    devices = [ScriptedDevice([*steps[:i], blip, *steps[i:]], name=f"d{i}", model="M") for i in range(4)]
    backend = LocalBackend(devices, retries=len(devices))  # one job may meet every blip
    futures: list[Future[MeasurementResult]] = [backend.submit(job("M", str(i))) for i in range(100)]
    results = [future.result(LONG_S) for future in as_completed(futures, LONG_S)]
    backend.close()
    assert len(results) == 100
    assert all(isinstance(result, Measurement) and result.grade != "F" for result in results)
