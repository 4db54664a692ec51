"""Phones over adb: the only module that imports adbutils.

`AdbClient` speaks to an adb server that is there (the user's, or a private one on a configured port); it starts one
only when none listens, and never stops one. `AdbPhone` runs commands, moves files and raises typed errors
(`device_agent.adb_errors`). Every call has a hard deadline, after which nothing of it is left running on the phone.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import adbutils

from device_agent.adb_errors import AdbServerLost
from device_agent.adb_phone import AdbPhone
from device_agent.adb_shell import CommandResult
from device_agent.adb_track import DeviceTracker, ListedDevice, parse_devices
from device_agent.adb_wire import Deadline, ProtocolError, RemoteFile, ServerRefusal, Stream
from device_agent.errors import CommandTimeout

__all__ = ["AdbClient", "AdbPhone", "CommandResult", "ListedDevice", "RemoteFile", "adb_binary"]

DEFAULT_PORT = 5037
HOST_TIMEOUT_S = 5.0  # for what the server answers by itself
CONNECT_TIMEOUT_S = 15.0  # the server itself gives up after 10 s


def adb_binary() -> str:
    """The adb program: `ADBUTILS_ADB_PATH`, or the one on PATH, or the one that adbutils brings."""
    return str(adbutils.adb_path())


class _HostServices(adbutils.AdbClient):  # type: ignore[misc]  # adbutils has no type information
    """adbutils' host services over `Stream`s: a hard deadline for each, and no server started behind our back."""

    def make_connection(self, timeout: float | None = None) -> Stream:
        return Stream(self.host, self.port, Deadline(timeout or HOST_TIMEOUT_S))


class AdbClient:
    """One adb server.

    Args:
        host: Where it runs; loopback almost always.
        port: Its port; None: `ANDROID_ADB_SERVER_PORT`, else 5037.
    """

    def __init__(self, host: str = "127.0.0.1", port: int | None = None) -> None:
        self.host = host
        self.port = port or int(os.environ.get("ANDROID_ADB_SERVER_PORT", DEFAULT_PORT))
        self._services = _HostServices(self.host, self.port)

    def server_version(self) -> int:
        """The server's protocol version, e.g. 41 for adb 1.0.41.

        Raises:
            AdbServerLost: Nothing answers.
        """
        with self._answering("host:version"):
            return int(self._services.server_version())

    def ensure_server(self, binary: str | None = None) -> int:
        """The version of the server, which is started if nothing listens on the port.

        A server that listens is never touched: adb programs of different versions kill each other's servers, and with
        them everybody's connections.

        Args:
            binary: The adb program; None: `adb_binary()`.

        Raises:
            AdbServerLost: There is none, and none could be started.
        """
        try:
            return self.server_version()
        except AdbServerLost as lost:
            if not isinstance(lost.__cause__, ConnectionRefusedError):
                raise
        program = binary or adb_binary()
        command = [program, "-P", str(self.port), "start-server"]
        try:
            subprocess.run(
                command, check=True, timeout=20, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise AdbServerLost(
                f"no adb server on port {self.port}, and starting one failed: {error}",
                command=" ".join(command),
                hint="run the command yourself to see why, or set ADBUTILS_ADB_PATH to a working adb",
            ) from error
        return self.server_version()

    def devices(self) -> tuple[ListedDevice, ...]:
        """Everything the server sees, in whatever state.

        Raises:
            AdbServerLost: Nothing answers.
        """
        with self._answering("host:devices-l"), self._services.make_connection() as stream:
            stream.send_command("host:devices-l")
            stream.check_okay()
            return parse_devices(stream.read_string_block())

    def connect(self, address: str) -> str:
        """Have the server connect to a phone over TCP; its serial is then `address` (`HOST:PORT`).

        Returns:
            What the server says; it says no in words. The phone's state tells whether it worked.
        """
        with self._answering(f"host:connect:{address}"):
            return str(self._services.connect(address, timeout=CONNECT_TIMEOUT_S))

    def disconnect(self, address: str) -> None:
        """Have the server forget a TCP phone; harmless if it knows none."""
        with self._answering(f"host:disconnect:{address}"):
            try:
                self._services.disconnect(address)
            except ServerRefusal:  # it knew none
                return

    def track(self) -> DeviceTracker:
        """Arrivals, departures and changes of state, as they happen; survives restarts of the server."""
        return DeviceTracker(self.host, self.port)

    def wait_for_state(self, serial: str, state: str, timeout_s: float) -> None:
        """Wait until the phone is in that state (`absent` included), as told by the server, without polling.

        Raises:
            CommandTimeout: It was not within the time.
        """
        with DeviceTracker(self.host, self.port, deadline=Deadline(timeout_s)) as tracker:
            for snapshot in tracker.snapshots():
                states = [device.state for device in snapshot if device.serial == serial] or ["absent"]
                if state in states:
                    return
        raise CommandTimeout(
            f"the phone was not in state '{state}' within {timeout_s:g} s", device=serial, command=f"wait for {state}"
        )

    def phone(self, serial: str, transport_id: int | None = None) -> AdbPhone:
        """The phone with this serial; nothing is asked of it yet.

        Args:
            serial: As `devices()` lists it.
            transport_id: Tells phones apart that share a serial (cheap clones do).
        """
        return AdbPhone(self, serial, transport_id)

    def stream(self, deadline: Deadline) -> Stream:
        """A connection to the server."""
        return Stream(self.host, self.port, deadline)

    @contextmanager
    def _answering(self, command: str) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, ProtocolError) as error:
            raise AdbServerLost(
                f"the adb server on {self.host}:{self.port} does not answer: {error}",
                command=command,
                hint="is it running? ANDROID_ADB_SERVER_PORT names another port",
            ) from error
