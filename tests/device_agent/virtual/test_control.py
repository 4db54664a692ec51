"""A lab in another process, controlled over its socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from device_agent.adb import AdbClient
from device_agent.adb_errors import AdbServerLost
from device_agent.virtual import FAULT_KINDS, Fault
from device_agent.virtual.control import ask
from tests.device_agent.conftest import LONG_S


@pytest.fixture(scope="module")
def description() -> Iterator[dict[str, Any]]:
    """What the program says about the lab it has started; it must end by itself when told to."""
    command = [sys.executable, "-m", "device_agent.virtual", "--count", "2", "--profile", "virtual6", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        description = json.loads(process.stdout.readline())
        status = ask(Path(description["control"]), do="status")
        yield description
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONG_S) == 0
    assert not Path(description["control"]).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(status["adb_pid"], 0)


def test_the_lab_is_ready(description: dict[str, Any]) -> None:
    client = AdbClient(port=description["adb_port"])
    assert {device.serial: device.state for device in client.devices()} == dict.fromkeys(
        description["serials"], "device"
    )


def test_faults_and_status(description: dict[str, Any]) -> None:
    control, serial = Path(description["control"]), description["serials"][0]
    client = AdbClient(port=description["adb_port"])
    client.phone(serial).run(["settings", "put", "global", "airplane_mode_on", "1"], LONG_S)
    ask(control, do="inject", phone=serial, kind="killed", times=2)
    phone = ask(control, do="status")["phones"][0]
    assert (phone["serial"], phone["waiting"]) == (serial, ["killed", "killed"])
    assert phone["changes"] == {"global.airplane_mode_on": "1"}
    ask(control, do="unplug", phone=serial)
    assert serial not in {device.serial for device in client.devices()}
    ask(control, do="heal", phone=serial)
    assert ask(control, do="status")["phones"][0]["waiting"] == []
    assert client.phone(serial).run(["echo", "back"], LONG_S).stdout == "back\n"


def test_the_server_dies_and_comes_back(description: dict[str, Any]) -> None:
    control, client = Path(description["control"]), AdbClient(port=description["adb_port"])
    ask(control, do="kill_server")
    with pytest.raises(AdbServerLost):
        client.devices()
    ask(control, do="start_server")
    assert len(client.devices()) == 2


@pytest.mark.parametrize(
    "request_",
    [{}, {"do": "dance"}, {"do": "heal", "phone": "x"}, {"do": "inject", "phone": "VIRTUAL0000", "kind": "bore"}],
)
def test_refusals_say_why(description: dict[str, Any], request_: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"unknown request|no virtual phone|no fault"):
        ask(Path(description["control"]), **request_)


def test_every_fault_can_be_made() -> None:
    assert [Fault(kind).kind for kind in FAULT_KINDS] == list(FAULT_KINDS)
    with pytest.raises(ValueError, match="not 'later'"):
        Fault("unplug", on="later")  # type: ignore[arg-type]
