"""Which devices an adb server sees, and how that changes."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from device_agent.adb_wire import Deadline, ProtocolError, ServerRefusal, Stream

FIRST_RETRY_S, LAST_RETRY_S = 0.1, 2.0
_STATE = r"no permissions(?: \([^)]*\))?(?:; see \[[^\]]*\])?|\S+"
_LINE = re.compile(rf"(?P<serial>\S.*?)\s+(?P<state>{_STATE})(?P<tags>(?:\s+\w+:\S*)*)\s*$")


@dataclass(frozen=True)
class ListedDevice:
    """One line of the server's list.

    Attributes:
        serial: Serial, or `HOST:PORT` for TCP phones.
        state: `device`, `offline`, `unauthorized`, `authorizing`, `connecting`, `recovery`, `bootloader`, ...,
            `no permissions`, or `absent` (in events only).
        tags: e.g. `model`, `product`, `usb`, `transport_id`.
    """

    serial: str
    state: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def transport_id(self) -> int | None:
        """The server's own number for the connection."""
        digits = self.tags.get("transport_id", "")
        return int(digits) if digits.isdigit() else None


@dataclass(frozen=True)
class DeviceEvent:
    """A device is now as described; `before` is its earlier state (`absent` when it has just arrived)."""

    device: ListedDevice
    before: str


def parse_devices(text: str) -> tuple[ListedDevice, ...]:
    """The devices in what `host:devices-l` or `host:track-devices-l` answers; lines that are none are left out."""
    devices = []
    for line in text.splitlines():
        if match := _LINE.match(line):
            tags = dict(item.split(":", 1) for item in match["tags"].split())
            state = "no permissions" if match["state"].startswith("no permissions") else match["state"]
            devices.append(ListedDevice(match["serial"], state, tags))
    return tuple(devices)


class DeviceTracker:
    """Iterates over changes as the server reports them, first over all that is there.

    When the server goes away everything is reported `absent`, and the tracker waits for a server to answer again.
    `close` (from any thread) ends the iteration, as does the deadline.

    Args:
        host, port: The server.
        deadline: End of the iteration; None: never.
    """

    def __init__(self, host: str, port: int, deadline: Deadline | None = None) -> None:
        self._address = (host, port)
        self._deadline = deadline or Deadline(None)
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._stream: Stream | None = None

    def __iter__(self) -> Iterator[DeviceEvent]:
        before: dict[tuple[str, int | None], ListedDevice] = {}
        for snapshot in self.snapshots():
            now = {(item.serial, item.transport_id): item for item in snapshot}
            for key, device in before.items():
                if key not in now:
                    yield DeviceEvent(replace(device, state="absent"), device.state)
            for key, device in now.items():
                known = before[key].state if key in before else "absent"
                if known != device.state:
                    yield DeviceEvent(device, known)
            before = now

    def snapshots(self) -> Iterator[tuple[ListedDevice, ...]]:
        """All that the server sees, each time it says that something changed; empty while there is no server."""
        retry_s = FIRST_RETRY_S
        while not (self._closed.is_set() or self._deadline.passed):
            try:
                for snapshot in self._listen():
                    retry_s = FIRST_RETRY_S
                    yield snapshot
            except (OSError, EOFError, ProtocolError, ServerRefusal):
                yield ()
            # A server that is not there tells nobody when it comes: it has to be asked.
            self._closed.wait(min(retry_s, self._deadline.left_s))
            retry_s = min(2 * retry_s, LAST_RETRY_S)

    def close(self) -> None:
        """End the iteration, also one that waits in another thread; idempotent."""
        self._closed.set()
        with self._lock:
            if self._stream is not None:
                self._stream.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self) -> Iterator[tuple[ListedDevice, ...]]:
        """One connection's worth of snapshots."""
        stream = Stream(*self._address, self._deadline)
        try:
            with self._lock:
                self._stream = stream
            if self._closed.is_set():
                return
            stream.send_command("host:track-devices-l")
            stream.check_okay()
            while True:
                yield parse_devices(stream.read_string_block())
        finally:
            with self._lock:
                self._stream = None
            stream.close()
