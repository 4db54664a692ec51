"""The fleet on virtual phones: the real adb server, real deployments, real models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.android import AndroidDevice, PhoneSettings
from device_agent.backend import MeasurementJob
from device_agent.conditions import Limits
from device_agent.discovery import AdbDiscovery
from device_agent.fleet import DeviceStatus, FleetBackend
from device_agent.journal import Journal
from device_agent.lease import LeaseBook
from device_agent.phone_runner import bundled_runner
from device_agent.reference import ReferencePlan, reference_artifact
from device_agent.retry import RetryPolicy
from device_agent.session import FleetPolicy
from device_agent.virtual import Fault, VirtualLab
from profiling.plan import MeasurementPlan
from profiling.records import Failure, Measurement
from tests.device_agent.conftest import LONG_S, until
from tests.device_agent.models import edited, small_artifact

PLAN = MeasurementPlan(min_blocks=2, max_blocks=2, min_runs=3, block_seconds=0.01, warmup_runs=1, warmup_seconds=0.0)
SETTINGS = PhoneSettings(limits=Limits(max_wait_s=1.0, poll_s=0.05, min_uptime_s=0.0))
POLICY = FleetPolicy(retry=RetryPolicy(first_delay_s=0.05, longest_delay_s=0.5))


@pytest.fixture(scope="module")
def phones() -> Iterator[VirtualLab]:
    with VirtualLab(2) as lab:
        yield lab


@pytest.fixture
def fleet(phones: VirtualLab, tmp_path: Path) -> Iterator[FleetBackend]:
    runner = bundled_runner()
    discovery = AdbDiscovery(
        phones.client, lambda phone: AndroidDevice(phone, runner, settings=SETTINGS, home=tmp_path)
    )
    with (
        LeaseBook(tmp_path / "leases") as leases,
        Journal(tmp_path / "journal") as journal,
        FleetBackend([discovery], leases=leases, journal=journal, policy=POLICY) as fleet,
    ):
        assert fleet.wait_for_devices(2, LONG_S)
        yield fleet
    for phone in phones.phones:
        assert phone.changes() == {}
        assert phone.processes.listing() == ()


def job(name: str, device: str) -> MeasurementJob:
    return MeasurementJob(name, small_artifact(), PLAN, device)


def status_of(fleet: FleetBackend, serial: str) -> DeviceStatus:
    return next(status for status in fleet.status() if status.key == serial)


def test_phones_are_found_measured_and_put_back(phones: VirtualLab, fleet: FleetBackend) -> None:
    results = [fleet.submit(job(serial, serial)).result(LONG_S) for serial in phones.serials]
    assert [result.device.model for result in results if isinstance(result, Measurement)] == ["Virtual 8", "Virtual 6"]
    by_model = fleet.submit(job("model", "Virtual 6")).result(LONG_S)
    assert isinstance(by_model, Measurement)
    assert by_model.device == results[1].device  # type: ignore[union-attr]


def test_a_model_that_the_runtime_refuses_is_refused_once(phones: VirtualLab, fleet: FleetBackend) -> None:
    bad = edited(small_artifact(), custom_operator="NoSuchOperator")
    before = phones.phones[0].activity.runs
    result = fleet.submit(MeasurementJob("bad", bad, PLAN, phones.serials[0])).result(LONG_S)
    assert isinstance(result, Failure)
    assert (result.kind, result.code) == ("model", "unsupported_operator")
    assert phones.phones[0].activity.runs == before + 1


def test_unplugged_while_it_runs_and_plugged_in_again(phones: VirtualLab, fleet: FleetBackend) -> None:
    phone = phones.phones[0]
    phone.inject(Fault("unplug", on="run", after=0.01))
    future = fleet.submit(job("1", phone.serial))
    until(lambda: not phone.daemon.listening)
    phones.replug(phone)
    result = future.result(LONG_S)
    assert isinstance(result, Measurement)


def test_a_lost_adb_server_is_no_phone_s_fault(phones: VirtualLab, fleet: FleetBackend) -> None:
    assert isinstance(fleet.submit(job("1", phones.serials[0])).result(LONG_S), Measurement)
    phones.server.kill()
    until(lambda: not fleet.inventory())
    future = fleet.submit(job("2", phones.serials[0]))
    phones.server.start()
    phones.connect()
    assert isinstance(future.result(LONG_S), Measurement)
    assert {status.strikes for status in fleet.status()} == {0}


def test_an_unauthorized_phone_says_what_to_do(phones: VirtualLab, fleet: FleetBackend) -> None:
    phones.phones[1].inject(Fault("unauthorized"))
    until(lambda: status_of(fleet, phones.serials[1]).reason == "unauthorized")
    assert status_of(fleet, phones.serials[1]).state == "unusable"
    assert "accept this computer's key" in status_of(fleet, phones.serials[1]).hint
    phones.heal(phones.phones[1])
    assert isinstance(fleet.submit(job("1", phones.serials[1])).result(LONG_S), Measurement)
    assert status_of(fleet, phones.serials[1]).hint == ""


def test_the_reference_model_runs_on_phones(phones: VirtualLab, tmp_path: Path) -> None:
    runner = bundled_runner()
    discovery = AdbDiscovery(
        phones.client,
        lambda phone: AndroidDevice(phone, runner, settings=SETTINGS, home=tmp_path),
        serials=[phones.serials[0]],
    )
    with (
        LeaseBook(tmp_path / "leases") as leases,
        Journal(tmp_path / "journal") as journal,
        FleetBackend([discovery], leases=leases, journal=journal, references=ReferencePlan(plan=PLAN)) as fleet,
    ):
        assert isinstance(fleet.submit(job("1", phones.serials[0])).result(LONG_S), Measurement)
        (reference,) = journal.references(phones.serials[0])
        assert len(fleet.status()) == 1, "only the phones that were asked for"
    assert reference.verdict == "starting"
    assert reference.artifact_sha256 == reference_artifact().sha256


def test_the_reference_model_is_the_same_everywhere() -> None:
    """Charts compare latencies of the same bytes over years and computers."""
    assert reference_artifact().sha256 == "95621428d69ae6219464721fc4c16c0ffa4a56452964f437cb37804916494f9e"
