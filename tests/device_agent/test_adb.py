"""Phones over adb: the real server and its protocol, with virtual phones at the far end."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import device_agent
from device_agent.adb import AdbClient, adb_binary
from device_agent.adb_errors import (
    AdbServerLost,
    CommandFailed,
    DeviceLost,
    DeviceNoPermissions,
    DeviceNotFound,
    DeviceOffline,
    DevicePathDenied,
    DeviceStorageFull,
    DeviceUnauthorized,
    DeviceUnresponsive,
    TransferFailed,
    TransferStalled,
    server_refused,
)
from device_agent.adb_shell import Transcript, v1_script
from device_agent.adb_track import DeviceEvent, parse_devices
from device_agent.adb_wire import SHELL_STDOUT
from device_agent.errors import CommandTimeout, DeviceError, RunnerBroken
from device_agent.virtual import Fault, VirtualLab
from device_agent.virtual.server import PrivateAdbServer
from tests.device_agent.conftest import LONG_S, TEMPORARY, Pair, once_running, overdue, until

SCRIPT = ["sh", "-c"]


class TestCommands:
    @pytest.mark.parametrize("code", [0, 1, 7, 126, 255])
    def test_exit_codes(self, any_phone: Pair, code: int) -> None:
        assert any_phone.adb.run([*SCRIPT, f"exit {code}"], LONG_S).exit_code == code

    def test_a_signal_is_128_plus_its_number(self, any_phone: Pair) -> None:
        assert any_phone.adb.run([*SCRIPT, "sh -c 'kill -9 $$'; exit $?"], LONG_S).exit_code == 137

    def test_streams_are_separate(self, any_phone: Pair) -> None:
        result = any_phone.adb.run([*SCRIPT, "echo out; echo err >&2; printf 'no newline'"], LONG_S)
        assert (result.stdout, result.stderr, result.exit_code) == ("out\nno newline", "err\n", 0)

    def test_no_output_at_all(self, any_phone: Pair) -> None:
        result = any_phone.adb.run(["true"], LONG_S)
        assert (result.stdout, result.stderr, result.exit_code) == ("", "", 0)

    def test_a_command_that_is_not_there(self, any_phone: Pair) -> None:
        result = any_phone.adb.run(["no-such-command"], LONG_S)
        assert result.exit_code == 127
        assert "not found" in result.stderr

    def test_long_output_arrives_whole(self, phone: Pair) -> None:
        text = "0123456789abcdef" * 100_000
        phone.adb.push(text.encode(), f"{TEMPORARY}/long", deadline_s=LONG_S)
        assert phone.adb.run(["cat", f"{TEMPORARY}/long"], LONG_S).stdout == text

    def test_folder_and_environment(self, any_phone: Pair) -> None:
        result = any_phone.adb.run(
            [*SCRIPT, 'echo "$PWD $LD_LIBRARY_PATH"'], LONG_S, cwd=TEMPORARY, env={"LD_LIBRARY_PATH": "/a b/$HOME;"}
        )
        assert result.stdout == f"{TEMPORARY} /a b/$HOME;\n"

    def test_a_folder_that_is_not_there(self, any_phone: Pair) -> None:
        assert any_phone.adb.run(["echo", "ran"], LONG_S, cwd="/nowhere").stdout == ""

    def test_check_raises_with_code_and_words(self, phone: Pair) -> None:
        with pytest.raises(CommandFailed, match="exit code 3: why") as caught:
            phone.adb.run([*SCRIPT, "echo why >&2; exit 3"], LONG_S, check=True)
        assert (caught.value.exit_code, caught.value.device) == (3, phone.adb.serial)
        assert "exit 3" in caught.value.command

    def test_nothing_is_left_behind(self, any_phone: Pair) -> None:
        any_phone.adb.run(["echo", "x"], LONG_S)
        assert any_phone.left_running == []
        assert any_phone.virtual.files.names(TEMPORARY) == ()

    @pytest.mark.parametrize("command", [[], ["nul\0"]])
    def test_words_that_cannot_be_a_command(self, phone: Pair, command: list[str]) -> None:
        with pytest.raises(ValueError, match="command"):
            phone.adb.run(command, LONG_S)


class TestInjection:
    HOSTILE = (
        f"$(touch {TEMPORARY}/pwned)", f"`touch {TEMPORARY}/pwned`", f"; touch {TEMPORARY}/pwned", "&& reboot",
        f"' ; touch {TEMPORARY}/pwned ; '", f"\n touch {TEMPORARY}/pwned", "$HOME", "*",
        "a  b", "", "-n", "\\", '"', "~",
    )  # fmt: skip

    def test_arguments_arrive_as_they_are(self, any_phone: Pair) -> None:
        result = any_phone.adb.run([*SCRIPT, 'for word in "$@"; do echo "<$word>"; done', "sh", *self.HOSTILE], LONG_S)
        assert result.stdout == "".join(f"<{word}>\n" for word in self.HOSTILE)
        assert any_phone.virtual.files.names(TEMPORARY) == ()

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.text(st.characters(exclude_characters="\0\r", codec="utf-8")), min_size=1, max_size=4))
    def test_any_arguments(self, phone: Pair, words: list[str]) -> None:
        result = phone.adb.run([*SCRIPT, 'for word in "$@"; do echo "<$word>"; done', "sh", *words], LONG_S)
        assert result.stdout == "".join(f"<{word}>\n" for word in words)

    @pytest.mark.parametrize("path", [f"{TEMPORARY}/$(reboot)", f"{TEMPORARY}/a;b,c d'", f"{TEMPORARY}/-rf"])
    def test_paths(self, phone: Pair, path: str) -> None:
        phone.adb.push(b"content", path, deadline_s=LONG_S)
        assert phone.adb.read(path, deadline_s=LONG_S) == b"content"
        assert phone.virtual.files.names(TEMPORARY) == (path.removeprefix(f"{TEMPORARY}/"),)
        assert phone.adb.free_bytes(path) is not None

    @pytest.mark.parametrize("serial", ["x:kill", "any;device", "host:kill", "x:forward:tcp:1;tcp:2", "-s", "$(id)"])
    def test_a_serial_is_only_a_serial(self, lab: VirtualLab, serial: str) -> None:
        with pytest.raises(DeviceNotFound):
            lab.client.phone(serial).run(["true"], LONG_S)
        assert lab.client.server_version() == 41

    @pytest.mark.parametrize("serial", ["", "two\nlines", "nul\0"])
    def test_what_no_serial_can_be(self, lab: VirtualLab, serial: str) -> None:
        with pytest.raises(ValueError, match="serial"):
            lab.client.phone(serial)

    def test_names_of_variables(self, phone: Pair) -> None:
        with pytest.raises(ValueError, match="environment"):
            phone.adb.run(["true"], LONG_S, env={"A=1; reboot; B": "x"})


class TestDeadlines:
    """A phone that keeps talking, keeps silent, or has children must not outlive the deadline."""

    @pytest.mark.parametrize(
        "script",
        [
            "sleep 300",
            "while true; do echo .; sleep 0.02; done",
            "sleep 300 & sleep 301 & wait",
            "sh -c 'sleep 300; true'; true",
            "(sleep 300; echo late) | cat",
        ],
    )
    def test_the_group_is_killed(self, any_phone: Pair, script: str) -> None:
        any_phone.adb.features()
        error = overdue(any_phone, lambda timeout_s: any_phone.adb.run([*SCRIPT, script], timeout_s))
        assert "was killed" in error.message
        assert error.device == any_phone.adb.serial
        assert error.kind == "timeout"
        until(lambda: any_phone.left_running == [])

    def test_the_phone_itself_limits_what_the_host_cannot_kill(self, phone: Pair) -> None:
        """The belt: after a lost host, `timeout` on the phone ends the command."""
        seen: list[str] = []
        thread = threading.Thread(
            target=lambda: seen.extend(phone.adb.run(["ps", "-o", "ARGS"], 30).stdout.splitlines()), daemon=True
        )
        thread.start()
        thread.join()
        assert any(line.startswith("timeout -s KILL 33 ps") for line in seen)

    def test_a_phone_that_hangs_is_unresponsive_not_slow(self, any_phone: Pair) -> None:
        any_phone.adb.features()
        any_phone.virtual.inject(Fault("hang"))
        started = time.monotonic()
        with pytest.raises(DeviceUnresponsive) as caught:
            any_phone.adb.run(["true"], 0.3)
        assert time.monotonic() - started < LONG_S
        assert caught.value.kind == "infrastructure"

    def test_a_phone_that_hangs_from_the_start(self, phone: Pair) -> None:
        phone.virtual.inject(Fault("hang"))
        with pytest.raises(DeviceUnresponsive):
            phone.adb.run(["true"], 0.3)
        with pytest.raises(DeviceUnresponsive):
            phone.adb.stat(TEMPORARY, timeout_s=0.3)

    def test_a_flood_is_cut_off(self, phone: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("device_agent.adb_phone.MAX_OUTPUT_BYTES", 100_000)
        with pytest.raises(RunnerBroken, match="more than 100000 bytes"):
            phone.adb.run([*SCRIPT, "while true; do echo 0123456789012345678901234567890123456789; done"], LONG_S)
        until(lambda: phone.left_running == [])


class TestFiles:
    @pytest.mark.parametrize("size", [0, 1, 65536, 65537, 3_000_000])
    def test_a_file_goes_there_and_back(self, any_phone: Pair, size: int, tmp_path: Path) -> None:
        data = os.urandom(size)
        local = tmp_path / "local"
        local.write_bytes(data)
        any_phone.adb.push(local, f"{TEMPORARY}/file", deadline_s=LONG_S, mode=0o755)
        digest = any_phone.adb.run(["sha256sum", f"{TEMPORARY}/file"], LONG_S).stdout.split()[0]
        assert digest == hashlib.sha256(data).hexdigest()
        any_phone.adb.pull(f"{TEMPORARY}/file", tmp_path / "back", deadline_s=LONG_S)
        assert (tmp_path / "back").read_bytes() == data
        status = any_phone.adb.stat(f"{TEMPORARY}/file")
        assert status is not None
        assert (status.size, status.mode & 0o777) == (size, 0o755)

    def test_progress_is_told(self, phone: Pair) -> None:
        told: list[tuple[int, int]] = []
        phone.adb.push(bytes(200_000), f"{TEMPORARY}/f", deadline_s=LONG_S, on_progress=lambda *step: told.append(step))
        assert told[-1] == (200_000, 200_000)
        assert [done for done, _ in told] == sorted(done for done, _ in told)

    def test_what_is_not_there(self, phone: Pair, tmp_path: Path) -> None:
        assert phone.adb.stat("/data/local/tmp/nothing") is None
        with pytest.raises(TransferFailed, match="No such file"):
            phone.adb.pull("/data/local/tmp/nothing", tmp_path / "x", deadline_s=LONG_S)
        assert not (tmp_path / "x").exists()

    def test_storage_full(self, any_phone: Pair) -> None:
        any_phone.virtual.inject(Fault("storage_full"))
        with pytest.raises(DeviceStorageFull, match="no room") as caught:
            any_phone.adb.push(bytes(1_000_000), f"{TEMPORARY}/f", deadline_s=LONG_S)
        assert caught.value.code == "device_storage_full"

    def test_no_permission(self, phone: Pair) -> None:
        with pytest.raises(DevicePathDenied, match="Permission denied"):
            phone.adb.push(bytes(1_000_000), "/system/f", deadline_s=LONG_S)

    def test_no_folder(self, phone: Pair) -> None:
        with pytest.raises(TransferFailed, match="No such file"):
            phone.adb.push(b"x", f"{TEMPORARY}/a/b", deadline_s=LONG_S)

    def test_free_space(self, any_phone: Pair) -> None:
        before = any_phone.adb.free_bytes(TEMPORARY)
        any_phone.adb.push(bytes(1 << 20), f"{TEMPORARY}/f", deadline_s=LONG_S)
        after = any_phone.adb.free_bytes(TEMPORARY)
        assert before is not None
        assert after is not None
        assert before - after == 1 << 20

    def test_a_slow_link_misses_the_deadline(self, phone: Pair) -> None:
        phone.virtual.inject(Fault("slow_link", rate=100_000))
        started = time.monotonic()
        with pytest.raises(TransferStalled):
            phone.adb.push(bytes(30_000_000), f"{TEMPORARY}/f", deadline_s=0.8)
        assert time.monotonic() - started < LONG_S

    def test_a_standstill_is_noticed_before_the_deadline(self, phone: Pair) -> None:
        phone.virtual.inject(Fault("hang"))
        started = time.monotonic()
        with pytest.raises(TransferStalled):
            phone.adb.push(bytes(30_000_000), f"{TEMPORARY}/f", deadline_s=300, stall_s=0.4)
        assert time.monotonic() - started < LONG_S


class TestLinks:
    def test_unplugged_during_a_run(self, any_phone: Pair) -> None:
        any_phone.adb.features()
        with once_running(any_phone, "sleep 300", any_phone.virtual.unplug), pytest.raises(DeviceLost) as caught:
            any_phone.adb.run(["sleep", "300"], LONG_S)
        assert caught.value.device == any_phone.adb.serial
        until(lambda: any_phone.left_running == [])
        any_phone.lab.client.wait_for_state(any_phone.adb.serial, "absent", LONG_S)
        with pytest.raises(DeviceNotFound):
            any_phone.adb.run(["true"], LONG_S)

    def test_unplugged_during_a_push(self, phone: Pair) -> None:
        phone.virtual.inject(Fault("unplug", on="push", after=1_000_000))
        with pytest.raises(DeviceLost):
            phone.adb.push(bytes(8_000_000), f"{TEMPORARY}/f.part", deadline_s=LONG_S)

    def test_plugged_in_again(self, phone: Pair) -> None:
        phone.virtual.unplug()
        phone.lab.replug(phone.virtual)
        assert phone.adb.run(["echo", "back"], LONG_S).stdout == "back\n"

    def test_offline(self, phone: Pair) -> None:
        phone.virtual.inject(Fault("offline"))
        phone.lab.client.wait_for_state(phone.adb.serial, "offline", LONG_S)
        assert phone.adb.state() == "offline"
        with pytest.raises(DeviceOffline):
            phone.adb.run(["true"], LONG_S)

    def test_unauthorized(self, phone: Pair) -> None:
        phone.virtual.inject(Fault("unauthorized"))
        phone.lab.client.wait_for_state(phone.adb.serial, "unauthorized", LONG_S)
        with pytest.raises(DeviceUnauthorized, match="hint: unlock the phone and accept"):
            phone.adb.run(["true"], LONG_S)

    def test_reboot_during_a_run(self, phone: Pair) -> None:
        phone.adb.features()
        with once_running(phone, "sleep 300", phone.virtual.reboot), pytest.raises(DeviceLost):
            phone.adb.run(["sleep", "300"], LONG_S)
        phone.lab.client.wait_for_state(phone.adb.serial, "device", LONG_S)
        assert float(phone.adb.run(["cat", "/proc/uptime"], LONG_S).stdout.split()[0]) < 60

    def test_waiting_for_a_state_ends(self, phone: Pair) -> None:
        phone.lab.client.wait_for_state(phone.adb.serial, "device", LONG_S)
        phone.lab.client.wait_for_state("never-seen", "absent", LONG_S)
        with pytest.raises(CommandTimeout, match="not in state 'recovery'"):
            phone.lab.client.wait_for_state(phone.adb.serial, "recovery", 0.2)

    def test_transport_numbers_tell_phones_apart(self, phone: Pair) -> None:
        listed = {device.serial: device for device in phone.lab.client.devices()}[phone.adb.serial]
        by_number = phone.lab.client.phone(phone.adb.serial, listed.transport_id)
        assert by_number.run(["getprop", "ro.serialno"], LONG_S).stdout.strip() == phone.virtual.name
        assert by_number.state() == "device"
        with pytest.raises(DeviceNotFound):
            phone.lab.client.phone(phone.adb.serial, 9999).run(["true"], LONG_S)


class TestServer:
    """Each with a server of its own, since it dies."""

    def test_lost_during_a_run_and_back(self) -> None:
        with VirtualLab(1) as lab:
            phone = lab.client.phone(lab.serials[0])
            phone.features()
            pair = Pair(lab, lab.phones[0], phone)
            with once_running(pair, "sleep 300", lab.server.kill), pytest.raises(AdbServerLost) as caught:
                phone.run(["sleep", "300"], LONG_S)
            assert caught.value.device == phone.serial
            with pytest.raises(AdbServerLost):
                lab.client.devices()
            lab.server.start()
            lab.connect()
            assert phone.run(["echo", "back"], LONG_S).stdout == "back\n"

    def test_tracking_survives_a_restart(self) -> None:
        with VirtualLab(1) as lab, lab.client.track() as tracker:
            events = iter(tracker)
            serial = lab.serials[0]
            assert next(events).device.state == "device"
            lab.server.kill()
            lost = next(events)
            assert (lost.device.serial, lost.before, lost.device.state) == (serial, "device", "absent")
            lab.server.start()
            lab.connect()
            assert next(event for event in events if event.device.state == "device").device.serial == serial
            lab.phones[0].unplug()
            assert next(event for event in events if event.device.state == "absent").device.serial == serial
            lab.replug(lab.phones[0])
            assert next(event for event in events if event.device.state == "device").device.serial == serial

    def test_closing_a_tracker_wakes_its_reader(self, lab: VirtualLab) -> None:
        tracker = lab.client.track()
        count: list[DeviceEvent] = []
        reader = threading.Thread(target=lambda: count.extend(tracker))
        reader.start()
        until(lambda: len(count) >= len(lab.phones))
        tracker.close()
        reader.join(LONG_S)
        assert not reader.is_alive()

    def test_a_server_that_answers_is_left_alone(self, lab: VirtualLab) -> None:
        before = lab.server.pid
        assert lab.client.ensure_server(binary="/nonexistent") == 41
        assert lab.server.pid == before

    def test_it_ends_with_the_program_that_started_it_however_that_ends(self, tmp_path: Path) -> None:
        script = (
            "import os, sys; from pathlib import Path; from device_agent.virtual.server import PrivateAdbServer\n"
            "server = PrivateAdbServer(Path(sys.argv[1])); server.start(); print(server.port, flush=True)\n"
            "os.kill(os.getpid(), 9)"
        )
        ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
        assert ended.returncode == -9

        def gone() -> bool:
            try:
                AdbClient(port=int(ended.stdout)).server_version()
            except AdbServerLost:
                return True
            return False

        until(gone)

    def test_no_server_and_none_can_be_started(self, tmp_path: Path) -> None:
        server = PrivateAdbServer(tmp_path)  # never started: nobody listens on its port
        with pytest.raises(AdbServerLost, match="starting one failed"):
            AdbClient(port=server.port).ensure_server(binary="/nonexistent")

    def test_one_is_started_when_none_listens(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in (("HOME", str(tmp_path)), ("TMPDIR", str(tmp_path)), ("ADB_USB", "0"), ("ADB_MDNS", "0")):
            monkeypatch.setenv(name, value)
        port = PrivateAdbServer(tmp_path).port
        client = AdbClient(port=port)
        try:
            assert client.ensure_server() == 41
            assert client.devices() == ()
        finally:
            _end_server_on(port)

    def test_the_port_comes_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "15555")
        assert AdbClient().port == 15555
        assert AdbClient(port=1).port == 1

    def test_something_that_is_no_adb_server(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def answer() -> None:
                connection, _ = listener.accept()
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")
                connection.close()

            thread = threading.Thread(target=answer)
            thread.start()
            with pytest.raises(AdbServerLost, match="does not answer"):
                AdbClient(port=listener.getsockname()[1]).server_version()
            thread.join()


def test_one_module_imports_adbutils() -> None:
    package = Path(device_agent.__file__).parent
    sources = [*package.rglob("*.py"), *(package.parent / "orchestrator").rglob("*.py")]
    importers = [
        source.name for source in sources if re.search(r"^\s*(import|from) adbutils", source.read_text(), re.M)
    ]
    assert importers == ["adb.py"]


class TestParsing:
    def test_lists_of_devices(self) -> None:
        text = (
            "R58M123456A            device usb:1-4.2 product:a50 model:SM_A505F device:a50 transport_id:3\n"
            "0123456789ABCDEF       no permissions (user in plugdev group; are your udev rules wrong?); "
            "see [http://developer.android.com/tools/device.html] usb:1-1 transport_id:1\n"
            "adb-8A1-x._adb-tls-connect._tcp offline transport_id:4\n"
            "(no serial number)     unauthorized usb:1-2 transport_id:7\n\n"
        )
        devices = parse_devices(text)
        assert [(device.serial, device.state, device.transport_id) for device in devices] == [
            ("R58M123456A", "device", 3),
            ("0123456789ABCDEF", "no permissions", 1),
            ("adb-8A1-x._adb-tls-connect._tcp", "offline", 4),
            ("(no serial number)", "unauthorized", 7),
        ]
        assert devices[0].tags["model"] == "SM_A505F"
        assert devices[1].tags["usb"] == "1-1"

    @given(st.text())
    def test_lists_never_crash(self, text: str) -> None:
        parse_devices(text)

    @pytest.mark.parametrize(
        ("message", "error"),
        [
            ("device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", DeviceUnauthorized),
            ("device still authorizing", DeviceUnauthorized),
            ("device offline", DeviceOffline),
            ("device still connecting", DeviceOffline),
            ("device 'abc' not found", DeviceNotFound),
            ("no devices/emulators found", DeviceNotFound),
            ("insufficient permissions for device: user in plugdev group", DeviceNoPermissions),
            ("closed", DeviceLost),
            ("", DeviceLost),
        ],
    )
    def test_refusals(self, message: str, error: type[DeviceError]) -> None:
        assert type(server_refused(message, device="s", command="c")) is error

    @given(
        output=st.binary(max_size=200),
        errors=st.binary(max_size=100),
        code=st.integers(0, 255),
        terminal=st.booleans(),
        cut=st.integers(0, 20),
    )
    def test_old_sessions(self, output: bytes, errors: bytes, code: int, terminal: bool, cut: int) -> None:
        """Whatever a command prints, the marks are found; whatever is cut off, nothing is invented."""
        output, errors = output.replace(b"\r", b""), errors.replace(b"\r", b"")
        transcript = Transcript("abcdef0123456789")
        data = b"abcdef0123456789 77\n" + output + b"\nabcdef0123456789 %d\n" % code + errors
        data += b"\nabcdef0123456789 end\n"
        data = data.replace(b"\n", b"\r\n") if terminal else data
        transcript.feed(SHELL_STDOUT, data[: len(data) - cut])
        ended = transcript.v1()
        if ended is not None:
            assert ended == (code, output.decode(errors="replace"), errors.decode(errors="replace"))
        assert cut > 1 or ended is not None
        assert transcript.group == 77

    def test_the_old_script_keeps_the_code_of_the_command(self) -> None:
        assert "code=$?" in v1_script(["false"], "n")


def _end_server_on(port: int) -> None:
    """End the server that `start-server` put into the background, found by its own command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"tcp:{port}".encode() in words and words[0].decode() in (adb_binary(), "adb"):
            os.kill(int(folder.name), 15)
