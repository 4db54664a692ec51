"""What the doctor finds, and what it says to do."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from device_agent import doctor
from device_agent.adb import AdbClient
from device_agent.adb_track import ListedDevice
from device_agent.android import AndroidDevice
from device_agent.doctor import Finding, PhoneReport, Report, advice, examine, listed_phones
from device_agent.phone_runner import bundled_runner
from device_agent.runner_store import RunnerStore
from device_agent.usb import UsbPhone, udev_rule, usb_phones
from device_agent.virtual import Fault
from tests.device_agent.conftest import LONG_S, Pair
from tests.device_agent.models import small_artifact


def look(pair: Pair, home: Path) -> PhoneReport:
    """The report on one phone of a lab."""
    report = examine(pair.lab.client, RunnerStore(home))
    return next(phone for phone in report.phones if phone.serial == pair.adb.serial)


def messages(phone: PhoneReport, check: str) -> str:
    return " / ".join(f"{finding.status}: {finding.message}" for finding in phone.findings if finding.check == check)


@pytest.fixture
def settled(phone: Pair, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setattr(phone.virtual, "_boot_s", phone.virtual._boot_s - 3600)
    return phone


class TestPhones:
    def test_a_good_one(self, settled: Pair, tmp_path: Path) -> None:
        report = look(settled, tmp_path)
        assert {finding.status for finding in report.findings} == {"ok"}
        assert [finding.check for finding in report.findings] == ["connection", "runner", "execute", "storage", "heat"]
        assert report.info is not None
        assert settled.virtual.files.names("/data/local/tmp") == ()

    def test_no_runner(self, phone: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = phone.virtual.properties() | {"ro.devicenag.virtual": ""}
        monkeypatch.setattr(phone.virtual, "properties", lambda: real)
        report = look(phone, tmp_path)
        assert messages(report, "runner").startswith("failed: no runner for arm64-v8a")
        assert "nag runner add" in next(finding.hint for finding in report.findings if finding.check == "runner")

    def test_a_folder_that_nothing_can_be_executed_from(
        self, phone: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(phone.virtual.files, "is_executable", lambda path: False)
        assert messages(look(phone, tmp_path), "execute").startswith("failed")

    def test_storage(self, phone: Pair, tmp_path: Path) -> None:
        phone.virtual.inject(Fault("storage_full"))
        assert messages(look(phone, tmp_path), "storage").startswith("failed: 0 MiB")

    def test_what_a_killed_session_left(self, phone: Pair, tmp_path: Path) -> None:
        device = AndroidDevice(phone.adb, bundled_runner(), home=tmp_path)
        device.deploy(small_artifact())
        assert "stay_on_while_plugged_in" in messages(look(phone, tmp_path), "leftovers")
        held = phone.virtual.processes.spawn(("/data/local/tmp/devicenag/bin/x/benchmark_model",), None)
        assert "a runner is running" in messages(look(phone, tmp_path), "leftovers")
        phone.virtual.processes.reap(held)
        device.close()
        assert messages(look(phone, tmp_path), "leftovers") == ""

    def test_what_limits_accuracy(self, phone: Pair, tmp_path: Path) -> None:
        phone.virtual.battery["level"] = 7.0
        assert "battery is at 7 %" in messages(look(phone, tmp_path), "accuracy")
        phone.virtual.reset_battery()

    def test_an_old_android(self, old_phone: Pair, tmp_path: Path) -> None:
        assert "before 7" in messages(look(old_phone, tmp_path), "accuracy")

    def test_states(self, phone: Pair, tmp_path: Path) -> None:
        phone.virtual.inject(Fault("unauthorized"))
        phone.lab.client.connect(phone.adb.serial)
        phone.lab.client.wait_for_state(phone.adb.serial, "unauthorized", LONG_S)
        report = look(phone, tmp_path)
        assert report.info is None
        assert messages(report, "connection") == "failed: its state is 'unauthorized'"
        assert "accept the key" in report.findings[0].hint

    def test_a_phone_that_goes_away_while_it_is_examined(
        self, phone: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doctor, "_probe", lambda adb: phone.virtual.unplug() or adb.run(["true"], LONG_S))
        report = look(phone, tmp_path)
        assert report.findings[-1].status == "failed"
        phone.lab.replug(phone.virtual)


class TestServer:
    @pytest.fixture
    def nobody(self) -> AdbClient:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return AdbClient(port=free.getsockname()[1])

    def test_none_is_started_without_a_phone(self, nobody: AdbClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor, "usb_phones", lambda: ())
        assert listed_phones(nobody) == ()
        report = examine(nobody)
        assert [(finding.check, finding.status) for finding in report.findings] == [
            ("adb_server", "ok"),
            ("phones", "warning"),
        ]

    def test_something_else_on_its_port(self) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()

            def hang_up() -> None:
                connection, _ = other.accept()
                connection.close()

            other.settimeout(10)
            threading.Thread(target=hang_up, daemon=True).start()
            report = examine(AdbClient(port=other.getsockname()[1]))
        assert (report.status, report.findings[0].check) == ("failed", "adb_server")

    def test_another_version(self, phone: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor, "_program_version", lambda: 39)
        finding = examine(phone.lab.client, RunnerStore(tmp_path)).findings[0]
        assert (finding.check, finding.status) == ("adb_server", "warning")
        assert "1.0.39" in finding.message

    def test_versions_are_compared_with_the_real_program(self, phone: Pair) -> None:
        assert doctor._program_version() == phone.lab.client.server_version()

    def test_a_phone_that_another_server_holds(self) -> None:
        plugged = (UsbPhone("1-4", "18d1", "Pixel 7"), UsbPhone("1-5", "04e8", "SAMSUNG"))
        listed = (ListedDevice("R5", "device", {"usb": "1-5"}),)
        (finding,) = doctor._unlisted(listed, plugged)
        assert "1-4 Pixel 7" in finding.message
        assert "1-5" not in finding.message
        assert list(doctor._unlisted(listed, plugged[1:])) == []


def test_the_worst_finding_counts() -> None:
    ok, warning, failed = (Finding("check", status, "") for status in ("ok", "warning", "failed"))
    assert Report((ok,), ()).status == "ok"
    assert Report((ok, warning), ()).status == "warning"
    report = Report((warning,), (PhoneReport("X", "device", None, (ok, failed)),))
    assert report.status == "failed"
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("unauthorized", "accept the key"),
        ("offline", "plug it in again"),
        ("recovery", "start Android"),
        ("bootloader", "fastboot reboot"),
        ("something new", "something new"),
    ],
)
def test_every_state_has_an_advice(state: str, words: str) -> None:
    assert words in advice(state)
    assert advice("device") == ""


def test_the_udev_rule_names_the_vendor(tmp_path: Path) -> None:
    for interface, values in {
        "1-4:1.0": ("ff", "42", "01"),
        "1-4:1.1": ("06", "01", "01"),
        "1-2:1.0": ("08", "06", "50"),
    }.items():
        (tmp_path / interface).mkdir()
        for name, value in zip(("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol"), values, strict=True):
            (tmp_path / interface / name).write_text(f"{value}\n")
    (tmp_path / "1-4").mkdir()
    (tmp_path / "1-4" / "idVendor").write_text("18d1\n")
    (tmp_path / "1-4" / "product").write_text("Pixel 7\n")
    phones = usb_phones(tmp_path)
    assert phones == (UsbPhone("1-4", "18d1", "Pixel 7"),)
    assert usb_phones(tmp_path / "nowhere") == ()
    assert 'ATTR{idVendor}=="18d1"' in udev_rule(phones)
    assert 'ATTR{idVendor}=="18d1"' in advice("no permissions", phones)
    assert "VENDOR" in udev_rule(())
