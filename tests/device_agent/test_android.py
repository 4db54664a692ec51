"""AndroidDevice on virtual phones: the real adb server and real models; what goes wrong; what is left behind."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device_agent import benchmark_model, orphans
from device_agent.adb_errors import AdbServerLost, DeviceLost, DeviceUnresponsive
from device_agent.android import AndroidDevice, PhoneSettings
from device_agent.conditions import Limits, PhoneNotReady
from device_agent.deploy import BINARIES, MODELS
from device_agent.device import Artifact
from device_agent.errors import (
    DeviceError,
    InfrastructureError,
    ModelCrashed,
    ModelOutOfMemory,
    ModelRefused,
    RunnerBroken,
    WrongRequest,
)
from device_agent.measure import measure
from device_agent.phone_runner import bundled_runner
from device_agent.restore import JOURNAL
from device_agent.virtual import PROFILES, Fault, VirtualLab
from device_agent.virtual.faults import FaultKind
from profiling.plan import MeasurementPlan
from tests.contracts.device_contract import DeviceContract
from tests.device_agent.conftest import LONG_S, Pair, overdue, until
from tests.device_agent.models import edited, small_artifact

ROOT = Path(__file__).resolve().parents[2]
PLAN = MeasurementPlan(
    min_blocks=2, max_blocks=2, min_runs=5, block_seconds=0.02, warmup_runs=1, warmup_seconds=0.0, deadline_s=LONG_S
)
ENDLESS = dataclasses.replace(PLAN, min_runs=100_000_000, deadline_s=60.0)
SETTINGS = PhoneSettings(limits=Limits(max_wait_s=0.2, poll_s=0.02, min_uptime_s=0.0))

Opener = Callable[..., AndroidDevice]


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return small_artifact()


@pytest.fixture
def open_on(tmp_path: Path) -> Iterator[Opener]:
    """Opens devices on phones, and closes them."""
    opened: list[AndroidDevice] = []

    def open_on(pair: Pair, settings: PhoneSettings = SETTINGS, **options: object) -> AndroidDevice:
        device = AndroidDevice(pair.adb, bundled_runner(), settings=settings, home=tmp_path, **options)  # type: ignore[arg-type]
        opened.append(device)
        return device

    yield open_on
    for device in opened:
        device.close()


class TestVirtualPhoneContract(DeviceContract):
    @pytest.fixture
    def device(self, phone: Pair, open_on: Opener) -> AndroidDevice:
        return open_on(phone)

    @pytest.fixture
    def artifact(self) -> Artifact:
        return small_artifact()

    @pytest.fixture
    def unusable(self) -> Artifact:
        return Artifact.of(b"not a model", "rubbish")

    @pytest.fixture(autouse=True)
    def _nothing_is_left(self, phone: Pair, _close: object) -> Iterator[None]:
        yield
        phone.virtual.processes.kill_all()


class TestIdentity:
    def test_who_it_is(self, phone: Pair, open_on: Opener) -> None:
        info = open_on(phone).info
        assert info.kind == "virtual"
        assert info.model == "Virtual 8"
        assert info.name == f"Virtual 8 {info.serial_hash[:4]}"
        assert info.epoch == phone.virtual.profile.fingerprint
        assert info.properties["soc"] == "VSoC 8"
        assert [cluster["cpus"] for cluster in info.properties["clusters"]] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
        assert info.runtime == f"benchmark_model {bundled_runner().sha256[:16]}"

    def test_the_serial_is_nowhere(self, phone: Pair, open_on: Opener) -> None:
        text = json.dumps(open_on(phone).info.to_json())
        assert phone.virtual.name not in text
        assert phone.adb.serial not in text

    def test_nothing_changes_before_the_first_deployment(self, phone: Pair, open_on: Opener) -> None:
        device = open_on(phone)
        assert device.info.name
        assert device.health() == ()
        assert phone.virtual.changes() == {}
        assert phone.virtual.files.names("/data/local/tmp") == ()


class TestBlocks:
    def test_what_is_recorded(self, any_phone: Pair, artifact: Artifact, open_on: Opener) -> None:
        block = open_on(any_phone).run_block(artifact, PLAN, 3)
        conditions = block.conditions
        assert (block.index, block.runs, block.status, block.statistic) == (3, 5, "ok", "median")
        assert conditions["affinity"] == conditions["affinity_requested"] != []
        assert conditions["runner_sha256"] == bundled_runner().sha256
        assert conditions["before"]["thermal_status"] == conditions["after"]["thermal_status"] == 0
        assert len(conditions["after"]["frequency_khz"]) == len(any_phone.virtual.profile.clusters)
        assert conditions["switches"]["awake"] == "true"
        assert block.started_at > 1e9
        assert block.duration_s > 0
        json.dumps(block.to_json())

    def test_blocks_get_as_many_runs_as_fill_them(self, phone: Pair, artifact: Artifact, open_on: Opener) -> None:
        device = open_on(phone)
        first = device.run_block(artifact, PLAN, 0)
        second = device.run_block(artifact, PLAN, 1)
        assert first.runs == PLAN.min_runs
        assert second.runs == benchmark_model.runs_for(PLAN, first.value_ms) > first.runs

    @pytest.mark.parametrize(("cores", "cpus"), [("big", [8]), ("little", [0, 1, 2, 3]), ("all", list(range(9)))])
    def test_clusters(self, phone: Pair, artifact: Artifact, open_on: Opener, cores: str, cpus: list[int]) -> None:
        settings = dataclasses.replace(SETTINGS, cores=cores)
        block = open_on(phone, settings).run_block(artifact, PLAN, 0)
        assert block.conditions["affinity"] == cpus

    def test_the_plans_own_cpus(self, phone: Pair, artifact: Artifact, open_on: Opener) -> None:
        device = open_on(phone)
        block = device.run_block(artifact, dataclasses.replace(PLAN, affinity=(5, 4), threads=2), 0)
        assert block.conditions["affinity"] == [4, 5]
        with pytest.raises(WrongRequest, match="CPU 12"):
            device.run_block(artifact, dataclasses.replace(PLAN, affinity=(12,)), 0)

    def test_a_processor_that_goes_offline(
        self, phone: Pair, artifact: Artifact, open_on: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = open_on(phone)
        device.deploy(artifact)
        profile = phone.virtual.profile
        monkeypatch.setattr(phone.virtual, "profile", dataclasses.replace(profile, clusters=profile.clusters[:2]))
        block = device.run_block(artifact, dataclasses.replace(PLAN, affinity=(7, 8)), 0)
        assert (block.status, block.reason) == ("rejected", "affinity_changed")
        assert block.conditions["affinity"] == [7]
        with pytest.raises(InfrastructureError) as caught:
            device.run_block(artifact, dataclasses.replace(PLAN, affinity=(8,)), 0)
        assert caught.value.code == "affinity_refused"

    def test_a_block_during_which_the_phone_throttled_is_rejected(
        self, phone: Pair, artifact: Artifact, open_on: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(phone.virtual, "profile", phone.virtual.profile.with_fixed_runs(0.3))
        device = open_on(phone)
        phone.virtual.inject(Fault("throttle", on="run", after=0.05))
        block = device.run_block(artifact, PLAN, 0)
        assert (block.status, block.reason) == ("rejected", "throttled")
        assert block.conditions["after"]["thermal_status"] > block.conditions["before"]["thermal_status"]
        with pytest.raises(PhoneNotReady) as caught:
            device.run_block(artifact, PLAN, 1)
        assert caught.value.reason == "thermal_status"
        phone.virtual.thermal.force(None)
        assert device.run_block(artifact, PLAN, 1).status == "ok"

    def test_throttling_that_is_not_reported_shows_in_the_clocks(self, artifact: Artifact, open_on: Opener) -> None:
        with VirtualLab(1, [PROFILES["virtual3"].with_fixed_runs(0.3)]) as lab:
            pair = Pair(lab, lab.phones[0], lab.client.phone(lab.serials[0]))
            device = open_on(pair)
            assert any("no heat" in sentence for sentence in device.health())
            pair.virtual.inject(Fault("throttle", on="run", after=0.05))
            block = device.run_block(artifact, PLAN, 0)
            assert (block.status, block.reason) == ("rejected", "throttled")
            assert block.conditions["thermal_observability"] == "none"
            device.close()


class TestDelegates:
    def test_a_delegate_that_takes_everything(self, phone: Pair, artifact: Artifact, open_on: Opener) -> None:
        block = open_on(phone).run_block(artifact, dataclasses.replace(PLAN, delegate="gpu"), 0)
        assert block.conditions["delegate_coverage"] == "full"

    def test_a_silent_fallback_is_a_failure(self, phone: Pair, artifact: Artifact, open_on: Opener) -> None:
        phone.virtual.inject(Fault("fallback"))
        with pytest.raises(ModelRefused) as caught:
            open_on(phone).run_block(artifact, dataclasses.replace(PLAN, delegate="gpu"), 0)
        assert caught.value.code == "delegate_fallback"

    def test_a_delegate_that_is_not_there(self, phone: Pair, artifact: Artifact, open_on: Opener) -> None:
        with pytest.raises(ModelRefused) as caught:
            open_on(phone).run_block(artifact, dataclasses.replace(PLAN, delegate="nnapi"), 0)
        assert caught.value.code == "delegate_refused"
        with pytest.raises(WrongRequest, match="tpu"):
            open_on(phone).run_block(artifact, dataclasses.replace(PLAN, delegate="tpu"), 0)


class TestFailures:
    def test_an_operator_that_the_runtime_lacks(self, phone: Pair, artifact: Artifact, open_on: Opener) -> None:
        with pytest.raises(ModelRefused) as caught:
            open_on(phone).run_block(edited(artifact, custom_operator="Mystery"), PLAN, 0)
        assert caught.value.code == "unsupported_operator"

    @pytest.mark.parametrize(("fault", "error"), [("killed", ModelOutOfMemory), ("segfault", ModelCrashed)])
    def test_runs_that_are_ended(
        self, phone: Pair, artifact: Artifact, open_on: Opener, fault: FaultKind, error: type[DeviceError]
    ) -> None:
        device = open_on(phone)
        phone.virtual.inject(Fault(fault, after=1.0))
        with pytest.raises(error) as caught:
            device.run_block(artifact, ENDLESS, 0)
        assert device.info.name in str(caught.value)

    @pytest.mark.parametrize("fault", ["killed", "garbage", "truncated"])
    def test_what_is_not_the_models_fault(
        self, phone: Pair, artifact: Artifact, open_on: Opener, fault: FaultKind
    ) -> None:
        device = open_on(phone)
        phone.virtual.inject(Fault(fault))
        with pytest.raises(RunnerBroken):  # killed: before it had met the model
            device.run_block(artifact, PLAN, 0)
        assert device.run_block(artifact, PLAN, 0).status == "ok"

    def test_a_deadline_leaves_nothing_running(
        self, any_phone: Pair, artifact: Artifact, open_on: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(any_phone.virtual, "profile", any_phone.virtual.profile.with_fixed_runs(300.0))
        monkeypatch.setattr(benchmark_model, "LINK_SLACK_S", 0.1)
        device = open_on(any_phone)
        overdue(
            any_phone,
            lambda deadline_s: device.run_block(artifact, dataclasses.replace(PLAN, deadline_s=deadline_s), 0),
        )
        until(lambda: not any_phone.left_running)

    @pytest.mark.parametrize("kind", ["unplug", "reboot"])
    def test_a_phone_that_goes_away_and_comes_back(
        self, phone: Pair, artifact: Artifact, open_on: Opener, kind: FaultKind
    ) -> None:
        device = open_on(phone)
        phone.virtual.inject(Fault(kind, on="run", after=0.3))
        with pytest.raises(DeviceLost):
            device.run_block(artifact, ENDLESS, 0)
        phone.lab.replug(phone.virtual)
        block = device.run_block(artifact, PLAN, 0)
        assert block.conditions["switches"]["fixed_performance"] == "true"
        assert phone.virtual.fixed_performance  # set again after the reboot
        device.close()
        assert phone.virtual.changes() == {}

    def test_a_phone_that_does_not_answer(
        self, phone: Pair, artifact: Artifact, open_on: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = open_on(phone)
        device.deploy(artifact)
        phone.virtual.inject(Fault("hang"))
        with monkeypatch.context() as impatient:
            impatient.setattr("device_agent.conditions.READ_TIMEOUT_S", 0.3)
            impatient.setattr("device_agent.adb_phone.KILL_TIMEOUT_S", 0.3)
            with pytest.raises(DeviceUnresponsive):
                device.health()
        phone.lab.heal(phone.virtual)
        assert device.run_block(artifact, PLAN, 0).status == "ok"

    def test_a_phone_that_lost_its_files(self, phone: Pair, artifact: Artifact, open_on: Opener) -> None:
        device = open_on(phone)
        device.deploy(artifact)
        phone.virtual.files.remove(BINARIES)
        with pytest.raises(RunnerBroken) as caught:
            device.run_block(artifact, PLAN, 0)
        assert caught.value.code == "runner_missing"
        assert device.run_block(artifact, PLAN, 0).status == "ok", "it is deployed again"


class TestClosing:
    def test_everything_is_put_back(self, phone: Pair, artifact: Artifact, open_on: Opener) -> None:
        device = open_on(phone)
        device.deploy(artifact)
        assert phone.virtual.changes()
        device.close()
        device.close()
        assert phone.virtual.changes() == {}
        assert not phone.virtual.files.exists(JOURNAL)
        with pytest.raises(InfrastructureError, match="closed"):
            device.deploy(artifact)

    def test_while_a_block_runs(self, phone: Pair, artifact: Artifact, open_on: Opener) -> None:
        device = open_on(phone)
        caught: list[DeviceError] = []

        def run() -> None:
            try:
                device.run_block(artifact, ENDLESS, 0)
            except DeviceError as error:
                caught.append(error)

        worker = threading.Thread(target=run)
        worker.start()
        until(lambda: bool(orphans.find(phone.adb, BINARIES)))
        device.close()
        worker.join(LONG_S)
        assert isinstance(caught[0], InfrastructureError)
        assert "closed" in caught[0].message
        assert phone.virtual.changes() == {}
        assert orphans.find(phone.adb, BINARIES) == ()

    def test_a_phone_that_is_gone_is_put_back_by_the_next_session(
        self, phone: Pair, artifact: Artifact, open_on: Opener, caplog: pytest.LogCaptureFixture
    ) -> None:
        device = open_on(phone)
        device.deploy(artifact)
        phone.virtual.unplug()
        device.close()
        assert "next session" in caplog.text
        phone.lab.replug(phone.virtual)
        assert phone.virtual.changes()
        after = open_on(phone)
        after.deploy(artifact)
        after.close()
        assert phone.virtual.changes() == {}

    def test_airplane_mode_only_on_request_and_not_over_the_network(
        self, phone: Pair, artifact: Artifact, open_on: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = dataclasses.replace(SETTINGS, airplane=True)
        device = open_on(phone, settings)
        device.deploy(artifact)
        assert phone.virtual.settings["global"]["airplane_mode_on"] == "1"
        device.close()
        assert phone.virtual.changes() == {}
        properties = phone.virtual.properties() | {"ro.devicenag.virtual": "0"}
        monkeypatch.setattr(phone.virtual, "properties", lambda: properties)
        with pytest.raises(WrongRequest, match="TCP"):
            open_on(phone, settings).deploy(artifact)


_KILLED = """
import sys
from pathlib import Path
from device_agent.adb import AdbClient
from device_agent.android import AndroidDevice, PhoneSettings
from device_agent.conditions import Limits
from device_agent.phone_runner import bundled_runner
from profiling.plan import MeasurementPlan
from device_agent.device import Artifact
port, serial, home, model = sys.argv[1:]
settings = PhoneSettings(limits=Limits(min_uptime_s=0.0))
device = AndroidDevice(AdbClient(port=int(port)).phone(serial), bundled_runner(), settings=settings, home=Path(home))
plan = MeasurementPlan(min_runs=100_000_000, warmup_seconds=0.0, deadline_s=60.0)
device.run_block(Artifact.of(Path(model).read_bytes(), "m"), plan, 0)
"""


def test_after_kill_9_the_next_session_ends_what_runs_and_restores(
    phone: Pair, artifact: Artifact, open_on: Opener, tmp_path: Path
) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(artifact.data)
    arguments = [str(phone.lab.port), phone.adb.serial, str(tmp_path), str(model)]
    with subprocess.Popen([sys.executable, "-c", _KILLED, *arguments], cwd=ROOT) as child:
        until(lambda: child.poll() is not None or bool(orphans.find(phone.adb, BINARIES)))
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    assert phone.virtual.changes() != {}
    device = open_on(phone)
    assert measure(device, artifact, PLAN).latency_ms > 0
    assert [words for words in phone.left_running if "100000000" in words] == []
    device.close()
    assert phone.virtual.changes() == {}
    assert not phone.virtual.files.exists(JOURNAL)


def test_a_runner_that_outlived_its_host_is_ended(phone: Pair, artifact: Artifact, open_on: Opener) -> None:
    device = open_on(phone)
    device.deploy(artifact)
    device.close()
    words = benchmark_model.command(
        f"{BINARIES}/{bundled_runner().sha256}/benchmark_model", f"{MODELS}/{artifact.sha256}.tflite", ENDLESS
    )
    codes: list[int] = []
    left = threading.Thread(target=lambda: codes.append(phone.adb.run(["setsid", *words], LONG_S).exit_code))
    left.start()
    until(lambda: bool(orphans.find(phone.adb, BINARIES)))
    assert open_on(phone).run_block(artifact, PLAN, 0).status == "ok"
    left.join(LONG_S)
    assert codes == [137]
    assert orphans.find(phone.adb, BINARIES) == ()


def test_an_orphan_that_cannot_be_killed_is_said(phone: Pair) -> None:
    held = phone.virtual.processes.spawn((f"{BINARIES}/x/benchmark_model",), None)  # as if a driver held it
    with pytest.raises(InfrastructureError, match="cannot be killed") as caught:
        orphans.sweep(phone.adb, BINARIES)
    assert caught.value.code == "orphan_left"
    phone.virtual.processes.reap(held)


def test_when_the_server_dies_no_phone_is_to_blame(artifact: Artifact, open_on: Opener) -> None:
    with VirtualLab(1, [PROFILES["virtual8"].with_fixed_runs(0.1)]) as lab:
        device = open_on(Pair(lab, lab.phones[0], lab.client.phone(lab.serials[0])))
        device.deploy(artifact)
        lab.server.kill()
        with pytest.raises(AdbServerLost):
            device.run_block(artifact, PLAN, 0)
        lab.server.start()
        lab.connect()
        assert device.run_block(artifact, PLAN, 0).status == "ok"
        device.close()
        assert lab.phones[0].changes() == {}
