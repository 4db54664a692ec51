"""`nag devices`, `doctor`, `runner` and `measure` on phones, as a user runs them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.lease import LeaseBook
from device_agent.virtual import PROFILES, Fault, VirtualLab
from tests.device_agent.models import small_artifact

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def lab() -> Iterator[VirtualLab]:
    with VirtualLab(2, [PROFILES["virtual8"], PROFILES["virtual6"]]) as lab:
        yield lab


class Nag:
    """Runs `nag` with a home of its own, and an adb port that nobody listens on unless it is told another one."""

    def __init__(self, home: Path) -> None:
        self._nobody = socket.socket()  # bound for as long as the test lasts, or another lab might get the port
        self._nobody.bind(("127.0.0.1", 0))
        port = str(self._nobody.getsockname()[1])
        self.home = home
        self._environment = os.environ | {"DEVICENAG_HOME": str(home), "ANDROID_ADB_SERVER_PORT": port}

    def close(self) -> None:
        self._nobody.close()

    def __call__(self, *arguments: str | Path | int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "orchestrator.cli.main", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=280, cwd=ROOT, env=self._environment, check=False
        )


@pytest.fixture
def nag(tmp_path: Path) -> Iterator[Nag]:
    nag = Nag(tmp_path / "home")
    yield nag
    nag.close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.tflite"
    path.write_bytes(small_artifact().data)
    return path


def test_devices_without_a_server(nag: Nag) -> None:
    done = nag("devices", "--json")
    assert done.returncode == 0, done.stderr
    (host,) = json.loads(done.stdout)
    assert (host["device"], host["state"], host["kind"]) == ("host", "device", "host")


def test_a_lab_of_virtual_phones_in_one_command(nag: Nag) -> None:
    done = nag("devices", "--virtual", 2, "--json")
    assert done.returncode == 0, done.stderr
    phones = json.loads(done.stdout)
    assert {phone["model"] for phone in phones} == {"Virtual 8", "Virtual 6"}
    assert all(phone["kind"] == "virtual" and phone["state"] == "device" for phone in phones)
    assert all(phone["serial_hash"] for phone in phones)


def test_devices_with_what_to_do(nag: Nag, lab: VirtualLab) -> None:
    locked = lab.phones[1]
    locked.inject(Fault("unauthorized"))
    lab.client.connect(locked.serial)
    lab.client.wait_for_state(locked.serial, "unauthorized", 60)
    try:
        done = nag("devices", "--adb-port", lab.port)
        assert done.returncode == 0, done.stderr
        assert f"{lab.serials[0]}  device  Virtual 8" in done.stdout
        assert f"{locked.serial}  unauthorized" in done.stdout
        assert "accept the key" in done.stdout
        doctor = nag("doctor", "--adb-port", lab.port, "--json")
        assert doctor.returncode == 3
        assert json.loads(doctor.stdout)["status"] == "failed"
        measured = nag("measure", "/dev/null", "--device", locked.serial, "--adb-port", lab.port)
        assert measured.returncode == 3
        assert "accept the key" in measured.stderr
    finally:
        lab.heal(locked)


def test_a_phone_that_is_being_measured_is_left_alone(nag: Nag, lab: VirtualLab, model: Path) -> None:
    with LeaseBook(nag.home / "leases") as book:
        book.acquire(lab.serials[0])
        (used,) = (
            phone
            for phone in json.loads(nag("devices", "--adb-port", lab.port, "--json").stdout)
            if phone["device"] == lab.serials[0]
        )
        assert used["limits"] == [f"in use by process {os.getpid()} on {socket.gethostname()}"], used
        assert "serial_hash" not in used
        assert "left alone" in nag("doctor", "--adb-port", lab.port).stdout
        refused = nag("measure", model, "--device", lab.serials[0], "--adb-port", lab.port)
        assert refused.returncode == 3
        assert f"in use by process {os.getpid()}" in refused.stderr


def test_doctor(nag: Nag) -> None:
    done = nag("doctor", "--virtual", 1)
    assert done.returncode == 0, done.stderr
    assert "adb_server: version 1.0." in done.stdout
    for check in ("connection", "runner", "execute", "storage", "heat"):
        assert f"ok      {check}" in done.stdout


def test_measure_on_a_phone(nag: Nag, lab: VirtualLab, model: Path) -> None:
    done = nag("measure", model, "--device", lab.serials[0], "--adb-port", lab.port, "--max-blocks", 3, "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["ci_low_ms"] <= values["latency_ms"] <= values["ci_high_ms"]
    assert values["device"]["model"] == "Virtual 8"
    assert values["runtime"]["name"] == "benchmark_model"
    assert values["artifact_sha256"] == small_artifact().sha256
    assert lab.serials[0] not in done.stdout
    assert lab.phones[0].changes() == {}


def test_measure_on_a_virtual_phone_with_a_delegate_and_a_runner(nag: Nag, model: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("#!/usr/bin/env python3\n")
    done = nag(
        "measure", model, "--device", "virtual:2", "--delegate", "gpu", "--runner", mine, "--max-blocks", 2, "--json"
    )
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["device"]["model"] == "Virtual 6"
    assert values["device"]["properties"]["runner"]["abi"] == "virtual"
    assert values["blocks"][0]["conditions"]["delegate_coverage"] == "full"
    assert json.loads(nag("runner", "list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--device", "virtual:0"], 2, "virtual:N"),
        (["--device", "table:x"], 2, "table:FILE:COLUMN"),
        (["--device", "R58M123"], 3, "no such phone"),
        (["--device", "host", "--runner", "/bin/true"], 2, "only for phones"),
        (["--device", "virtual:1", "--delegate", "tpu"], 2, "unknown delegate"),
    ],
)
def test_what_cannot_be_measured(nag: Nag, model: Path, arguments: list[str], code: int, words: str) -> None:
    done = nag("measure", model, *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_runners(nag: Nag, tmp_path: Path) -> None:
    script = tmp_path / "runner.py"
    script.write_text("#!/usr/bin/env python3\n")
    added = nag("runner", "add", script, "--abi", "virtual", "--json")
    assert added.returncode == 0, added.stderr
    assert json.loads(nag("runner", "list", "--json").stdout) == [json.loads(added.stdout)]
    assert "virtual  sha256" in nag("runner", "list").stdout
    refused = nag("runner", "add", script, "--abi", "arm64-v8a")
    assert refused.returncode == 2
    assert "phones need a binary" in refused.stderr
