"""Other clients than ours: the adb program itself, and adbutils as its users use it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import adbutils
import pytest

from device_agent.adb import adb_binary
from tests.device_agent.conftest import LONG_S, TEMPORARY, Pair


def _adb(phone: Pair, *words: str) -> subprocess.CompletedProcess[bytes]:
    command = [adb_binary(), "-P", str(phone.lab.port), "-s", phone.adb.serial, *words]
    return subprocess.run(command, capture_output=True, timeout=LONG_S, stdin=subprocess.DEVNULL, check=False)


class TestProgram:
    def test_shell(self, phone: Pair) -> None:
        ended = _adb(phone, "shell", "echo out; echo err >&2; exit 3")
        assert (ended.stdout, ended.stderr, ended.returncode) == (b"out\n", b"err\n", 3)

    def test_shell_reads_standard_input(self, phone: Pair) -> None:
        command = [adb_binary(), "-P", str(phone.lab.port), "-s", phone.adb.serial, "shell", "cat | wc -c"]
        ended = subprocess.run(command, input=b"x" * 100_000, capture_output=True, timeout=LONG_S, check=True)
        assert ended.stdout == b"100000\n"

    def test_old_shell(self, old_phone: Pair) -> None:
        ended = _adb(old_phone, "shell", "echo out; echo err >&2; exit 3")
        assert (ended.stdout, ended.returncode) == (b"out\r\nerr\r\n", 0)

    def test_exec_out_is_binary(self, any_phone: Pair) -> None:
        any_phone.adb.push(b"a\nb\r\n\xff\0", f"{TEMPORARY}/f", deadline_s=LONG_S)
        assert _adb(any_phone, "exec-out", f"cat {TEMPORARY}/f").stdout == b"a\nb\r\n\xff\0"

    def test_push_pull_folder(self, any_phone: Pair, tmp_path: Path) -> None:
        folder = tmp_path / "models"
        folder.mkdir()
        for name in ("a.tflite", "b.tflite"):
            (folder / name).write_bytes(name.encode() * 10_000)
        any_phone.adb.run(["mkdir", "-p", f"{TEMPORARY}/models"], LONG_S, check=True)
        assert _adb(any_phone, "push", str(folder), TEMPORARY).returncode == 0
        assert _adb(any_phone, "pull", f"{TEMPORARY}/models", str(tmp_path / "back")).returncode == 0
        assert {file.name: file.read_bytes() for file in (tmp_path / "back").iterdir()} == {
            file.name: file.read_bytes() for file in folder.iterdir()
        }

    def test_push_without_permission(self, phone: Pair, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(b"x" * 500_000)
        ended = _adb(phone, "push", str(tmp_path / "f"), "/system/f")
        assert ended.returncode == 1
        assert b"Permission denied" in ended.stdout + ended.stderr

    def test_ls(self, phone: Pair) -> None:
        phone.adb.push(b"12345", f"{TEMPORARY}/file", deadline_s=LONG_S)
        assert b"00000005" in _adb(phone, "ls", TEMPORARY).stdout

    def test_reboot(self, phone: Pair) -> None:
        assert _adb(phone, "reboot").returncode == 0
        phone.lab.client.wait_for_state(phone.adb.serial, "device", LONG_S)
        assert phone.virtual.uptime_s < 30


class TestAdbutils:
    @pytest.fixture
    def device(self, phone: Pair) -> adbutils.AdbDevice:
        return adbutils.AdbClient("127.0.0.1", phone.lab.port).device(phone.adb.serial)

    def test_shell(self, device: adbutils.AdbDevice) -> None:
        result = device.shell2(["sh", "-c", "echo out; echo err >&2; exit 3"], v2=True, timeout=LONG_S)
        assert (result.returncode, result.stdout, result.stderr) == (3, "out\n", "err\n")
        assert device.shell2(["sh", "-c", "exit 4"], timeout=LONG_S).returncode == 4

    def test_files(self, device: adbutils.AdbDevice) -> None:
        device.sync.push(b"content", f"{TEMPORARY}/f", check=True)
        assert device.sync.read_bytes(f"{TEMPORARY}/f") == b"content"
        assert device.sync.stat(f"{TEMPORARY}/f").size == 7
        assert "f" in [file.path for file in device.sync.list(TEMPORARY)]

    def test_properties_and_battery(self, device: adbutils.AdbDevice) -> None:
        assert device.prop.get("ro.product.model") == "Virtual 8"
        assert device.battery().level == 87
