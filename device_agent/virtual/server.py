"""A private adb server: the real program, on a port of its own, with keys and logs of its own."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from device_agent.adb import AdbClient, adb_binary
from device_agent.adb_errors import AdbServerLost
from device_agent.adb_wire import Deadline

START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0


class PrivateAdbServer:
    """The real adb server for virtual phones only; it looks at no USB device and leaves `~/.android` alone.

    Args:
        home: Folder for its key and log.
        port: Where to listen; 0: any free port.

    Attributes:
        port: Where it listens.
        pid: Its process, while it runs.
    """

    def __init__(self, home: Path, port: int = 0) -> None:
        self._home = home
        self.port = port or _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process number; None when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            AdbServerLost: It ended at once, or does not answer.
        """
        own = {
            "HOME": str(self._home), "ADB_MDNS": "0", "ADB_MDNS_AUTO_CONNECT": "0", "ADB_USB": "0", "ADB_EMU": "0",
            "ADB_REJECT_KILL_SERVER": "1", "TMPDIR": str(self._home),
        }  # fmt: skip
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ADB_", "ANDROID_"))}
        with (self._home / "adb.log").open("ab") as log:
            self._process = subprocess.Popen(
                [adb_binary(), "-P", str(self.port), "server", "nodaemon"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=inherited | own, start_new_session=True,
            )  # fmt: skip
        self._guard = _ends_with_us(self._process.pid)
        client, deadline = AdbClient(port=self.port), Deadline(START_TIMEOUT_S)
        while True:
            try:
                client.server_version()
            except AdbServerLost as lost:
                # A server that starts tells nobody when it listens; it must be asked, until it has ended.
                if self.pid is None or deadline.passed:
                    text = (self._home / "adb.log").read_text(errors="replace")[-500:]
                    raise AdbServerLost(f"the private adb server did not start: {text}", hint=lost.hint) from lost
                self._wait(0.02)
            else:
                return

    def kill(self) -> None:
        """Kill it, as a crash would; `start` starts another one on the same port."""
        self._dismiss()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End it; idempotent."""
        self._dismiss()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def _dismiss(self) -> None:
        """End the guard, before the process number that it has may be another's."""
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def _wait(self, timeout_s: float) -> None:
        if self._process is not None:
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                return


def _ends_with_us(pid: int) -> subprocess.Popen[bytes]:
    """A guard that ends a process when this program is gone, however it went: then its input ends."""
    return subprocess.Popen(
        ["sh", "-c", 'read -r _; kill "$1"', "sh", str(pid)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
