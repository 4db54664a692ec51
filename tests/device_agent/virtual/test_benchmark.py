"""Deployed models really run, at the phone's pace and with the phone's troubles."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from device_agent import benchmark_model
from device_agent.adb import CommandResult
from device_agent.adb_errors import DeviceLost
from device_agent.virtual import PROFILES, Fault, ThermalBehaviour, VirtualLab
from device_agent.virtual.benchmark import RUNNER
from device_agent.virtual.faults import FaultKind
from device_agent.virtual.thermal import ThermalModel
from profiling.plan import MeasurementPlan
from profiling.records import Block, Failure
from tests.device_agent.conftest import LONG_S, TEMPORARY, Pair, overdue, until
from tests.device_agent.models import small_artifact

MODEL, BINARY = f"{TEMPORARY}/m.tflite", f"{TEMPORARY}/benchmark_model"
PLAN = MeasurementPlan(min_runs=5, warmup_runs=1, warmup_seconds=0.0, affinity=(8,))


@pytest.fixture
def loaded(any_phone: Pair) -> Pair:
    """A phone with the runner and a model on it."""
    any_phone.adb.push(RUNNER.read_bytes(), BINARY, deadline_s=LONG_S, mode=0o755)
    any_phone.adb.push(small_artifact().data, MODEL, deadline_s=LONG_S)
    return any_phone


def _run(
    phone: Pair, plan: MeasurementPlan, *, require_full_delegation: bool = True
) -> tuple[CommandResult, Block | Failure]:
    affinity = phone.virtual.profile.cpus[-1:]
    plan = replace(plan, affinity=affinity)
    result = phone.adb.run(
        benchmark_model.command(BINARY, MODEL, plan, require_full_delegation=require_full_delegation), 60
    )
    return result, benchmark_model.parse(result.stdout, result.stderr, result.exit_code, plan)


def test_a_block(loaded: Pair) -> None:
    result, block = _run(loaded, PLAN)
    assert isinstance(block, Block), result
    assert block.runs == 5
    assert block.value_ms > 0
    assert f"Loaded model {MODEL}\n" in result.stdout  # the phone's path, not this computer's
    assert loaded.virtual.activity.runs >= 1
    assert loaded.left_running == []


def test_a_delegate_is_faster_and_says_so(phone: Pair) -> None:
    _deploy(phone)
    _, block = _run(phone, replace(PLAN, delegate="gpu"))
    assert isinstance(block, Block)
    assert block.conditions["delegate_coverage"] == "full"


def test_a_delegate_that_the_phone_lacks(phone: Pair) -> None:
    _deploy(phone)
    result, failure = _run(phone, replace(PLAN, delegate="nnapi"))
    assert isinstance(failure, Failure)
    assert (failure.kind, result.exit_code) == ("model", 1)


@pytest.mark.parametrize("required", [True, False])
def test_a_silent_fallback(phone: Pair, required: bool) -> None:
    """With the tool's own check its exit code tells; without it only one line does, and the exit code is 0."""
    _deploy(phone)
    phone.virtual.inject(Fault("fallback"))
    result, failure = _run(phone, replace(PLAN, delegate="gpu"), require_full_delegation=required)
    assert isinstance(failure, Failure)
    assert result.exit_code == int(required)


@pytest.mark.parametrize(("kind", "code"), [("killed", 137), ("segfault", 139)])
def test_a_process_that_dies(phone: Pair, kind: FaultKind, code: int) -> None:
    _deploy(phone)
    phone.virtual.inject(Fault(kind, after=0.1))
    result, failure = _run(phone, PLAN)
    assert result.exit_code == code
    assert isinstance(failure, Failure)
    assert phone.left_running == []


@pytest.mark.parametrize("kind", ["garbage", "truncated"])
def test_damaged_output_is_no_number(phone: Pair, kind: FaultKind) -> None:
    _deploy(phone)
    phone.virtual.inject(Fault(kind))
    result, failure = _run(phone, PLAN)
    assert result.exit_code == 0
    assert isinstance(failure, Failure)
    assert failure.kind == "infrastructure"


def test_a_run_that_takes_too_long_leaves_no_process(phone: Pair) -> None:
    _deploy(phone)
    command = [BINARY, f"--graph={MODEL}", "--min_secs=300"]
    overdue(phone, lambda timeout_s: phone.adb.run(command, timeout_s))
    until(lambda: phone.left_running == [])


def test_unplugged_during_a_run(phone: Pair) -> None:
    _deploy(phone)
    phone.virtual.inject(Fault("unplug", on="run", after=0.2))
    with pytest.raises(DeviceLost):
        phone.adb.run([BINARY, f"--graph={MODEL}", "--min_secs=300"], LONG_S)
    until(lambda: phone.left_running == [])


def test_a_fault_whose_moment_did_not_come_waits_for_the_next_run(phone: Pair) -> None:
    _deploy(phone)
    phone.virtual.inject(Fault("unplug", on="run", after=3000))
    assert isinstance(_run(phone, PLAN)[1], Block)
    assert [fault.kind for fault in phone.virtual.faults.waiting] == ["unplug"]


def test_runs_of_fixed_time() -> None:
    with VirtualLab(1, [PROFILES["virtual8"].with_fixed_runs(0.3, 7.5)]) as lab:
        phone = Pair(lab, lab.phones[0], lab.client.phone(lab.serials[0]))
        _deploy(phone)
        result, block = _run(phone, PLAN)
        assert isinstance(block, Block), result
        assert block.value_ms == pytest.approx(7.5)
        assert 0.3 <= phone.virtual.activity.busy_s <= result.duration_s


def test_cores_and_heat_make_it_slower() -> None:
    quiet = replace(PROFILES["virtual8"], noise=0.0)
    with VirtualLab(1, [quiet]) as lab:
        phone = lab.phones[0]
        prime, little = phone.slowdown(frozenset({8})), phone.slowdown(frozenset({0, 1}))
        assert prime == pytest.approx(2.2)
        assert little == pytest.approx(9.0)
        assert phone.slowdown(frozenset({0, 8})) == pytest.approx(2.2)
        phone.inject(Fault("throttle"))
        assert phone.slowdown(frozenset({8})) == pytest.approx(2.2 * 1.7)


def test_running_heats_a_phone() -> None:
    model = ThermalModel(ThermalBehaviour(ambient_c=30, busy_c=50, time_constant_s=0.05, status_c=(35, 40)))
    assert model.status == 0
    model.start()
    end = time.monotonic() + LONG_S
    while model.status < 2:
        assert time.monotonic() < end
    model.stop()
    while model.status:
        assert time.monotonic() < end
    assert ThermalModel(ThermalBehaviour(observable=False)).status == 0


def _deploy(phone: Pair) -> None:
    phone.adb.push(RUNNER.read_bytes(), BINARY, deadline_s=LONG_S, mode=0o755)
    phone.adb.push(small_artifact().data, MODEL, deadline_s=LONG_S)
