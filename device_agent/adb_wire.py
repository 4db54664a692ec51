"""Bytes between this process and the adb server, each conversation under one hard deadline.

adbutils' own connection has a timeout per `recv`, so that a phone that sends a byte now and then keeps a call alive for
ever; it starts a server on the default port when the asked one does not answer; and it sleeps on every close. `Stream`
has the methods adbutils calls on a connection and none of that. Wire formats: AOSP `packages/modules/adb`,
`docs/dev/services.md`, `shell_protocol.h` and `docs/dev/sync.md`.
"""

from __future__ import annotations

import math
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

SHELL_STDOUT, SHELL_STDERR, SHELL_EXIT, SHELL_CLOSE_STDIN = 1, 2, 3, 4
SYNC_CHUNK_BYTES = 64 * 1024  # the protocol's upper bound for one DATA


class ServerRefusal(Exception):
    """The adb server (or the phone behind it) answered FAIL; the message is what it said."""


class ProtocolError(Exception):
    """The peer said something that the protocol does not know."""


class Deadline:
    """A moment on the monotonic clock that a whole conversation must not pass; None: there is none."""

    def __init__(self, timeout_s: float | None) -> None:
        self._end_s = math.inf if timeout_s is None else time.monotonic() + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds left, 0 when it has passed."""
        return max(0.0, self._end_s - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether nothing is left."""
        return self.left_s == 0

    def socket_timeout_s(self, at_most_s: float = math.inf) -> float | None:
        """What to give to a socket: the seconds left, at most `at_most_s`; None for no limit at all.

        Raises:
            TimeoutError: None are left.
        """
        if self.passed:
            raise TimeoutError("deadline passed")
        limit_s = min(self.left_s, at_most_s)
        return None if limit_s == math.inf else limit_s


class Stream:
    """One connection to the adb server.

    Args:
        host, port: Where the server listens.
        deadline: What every read and write on this connection respects.

    Raises:
        ConnectionError: Nothing listens there.
        TimeoutError: The deadline passed.
    """

    def __init__(self, host: str, port: int, deadline: Deadline) -> None:
        self.deadline = deadline
        self._socket = socket.create_connection((host, port), timeout=deadline.socket_timeout_s(at_most_s=3.0))
        # Small requests must not wait for the acknowledgement of the one before.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def conn(self) -> socket.socket:
        """The socket, under the name that adbutils knows it by."""
        return self._socket

    def send(self, data: bytes, stall_s: float = math.inf) -> None:
        """Send all of it.

        Raises:
            TimeoutError: The deadline passed, or not all of it was taken within `stall_s`.
        """
        self._socket.settimeout(self.deadline.socket_timeout_s(stall_s))
        self._socket.sendall(data)

    def recv(self, limit: int, stall_s: float = math.inf) -> bytes:
        """What is there, at most `limit` bytes; empty when the peer closed."""
        self._socket.settimeout(self.deadline.socket_timeout_s(stall_s))
        return self._socket.recv(limit)

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes, or fewer when the peer closed before."""
        parts = bytearray()
        while len(parts) < count and (chunk := self.recv(count - len(parts))):
            parts += chunk
        return bytes(parts)

    def read_exact(self, count: int) -> bytes:
        """Exactly `count` bytes.

        Raises:
            EOFError: The peer closed before.
        """
        data = self.read(count)
        if len(data) < count:
            raise EOFError(f"expected {count} bytes, got {len(data)}")
        return data

    def readable(self) -> bool:
        """Whether a byte (or the end) can be read without waiting."""
        self._socket.setblocking(False)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        return True

    def send_command(self, command: str) -> None:
        """Send one request to the server: four hexadecimal digits of length, then the text."""
        data = command.encode()
        if len(data) > 0xFFFF:
            raise ValueError(f"a command of {len(data)} bytes exceeds adb's limit of 65535")
        self.send(b"%04x" % len(data) + data)

    def check_okay(self) -> None:
        """Read the server's verdict.

        Raises:
            ServerRefusal: It was FAIL.
            EOFError: The server closed the connection.
            ProtocolError: It was something else.
        """
        verdict = self.read_exact(4)
        if verdict == b"FAIL":
            raise ServerRefusal(self.read_string_block())
        if verdict != b"OKAY":
            raise ProtocolError(f"expected OKAY or FAIL, got {verdict!r}")

    def read_string_block(self) -> str:
        """A text with its length before it."""
        digits = self.read_exact(4)
        try:
            size = int(digits, 16)
        except ValueError as error:
            raise ProtocolError(f"expected a length, got {digits!r}") from error
        return self.read_exact(size).decode(errors="replace")

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._socket.close()

    def abort(self) -> None:
        """Wake a thread that waits in `recv`, from another thread; it then reads the end."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # not connected any more, which is what was wanted
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def shell_packets(stream: Stream) -> Iterator[tuple[int, bytes]]:
    """Packets of the shell v2 protocol, (identifier, payload) each, up to the exit packet.

    Raises:
        EOFError: The stream ended before the exit packet.
    """
    while True:
        identifier, size = struct.unpack("<BI", stream.read_exact(5))
        payload = stream.read_exact(size)
        yield identifier, payload
        if identifier == SHELL_EXIT:
            return


def shell_packet(identifier: int, payload: bytes = b"") -> bytes:
    """One packet of the shell v2 protocol."""
    return struct.pack("<BI", identifier, len(payload)) + payload


@dataclass(frozen=True)
class RemoteFile:
    """What the phone says about a path.

    Attributes:
        mode: As in `os.stat`.
        size: Bytes, modulo 2^32.
        modified_s: Seconds since the epoch.
    """

    mode: int
    size: int
    modified_s: int


def sync_request(identifier: bytes, payload: bytes) -> bytes:
    """One request of the sync protocol, e.g. `STAT` and a path."""
    return identifier + struct.pack("<I", len(payload)) + payload


def sync_stat(stream: Stream, path: str) -> RemoteFile | None:
    """The file's status on an open sync stream; None when there is no such path."""
    stream.send(sync_request(b"STAT", path.encode()))
    identifier, mode, size, modified_s = struct.unpack("<4sIII", stream.read_exact(16))
    if identifier != b"STAT":
        raise ProtocolError(f"expected STAT, got {identifier!r}")
    return RemoteFile(mode, size, modified_s) if mode else None


def sync_status(stream: Stream) -> str | None:
    """The verdict on a push: None for OKAY, else the phone's reason."""
    identifier, size = struct.unpack("<4sI", stream.read_exact(8))
    if identifier == b"OKAY":
        return None
    if identifier != b"FAIL":
        raise ProtocolError(f"expected OKAY or FAIL, got {identifier!r}")
    return stream.read_exact(size).decode(errors="replace")


def sync_content(stream: Stream, path: str) -> Iterator[bytes]:
    """The content of a file, chunk by chunk.

    Raises:
        ServerRefusal: The phone answered FAIL.
    """
    stream.send(sync_request(b"RECV", path.encode()))
    while True:
        identifier, size = struct.unpack("<4sI", stream.read_exact(8))
        if identifier == b"DONE":
            return
        if identifier == b"FAIL":
            raise ServerRefusal(stream.read_exact(size).decode(errors="replace"))
        if identifier != b"DATA" or size > SYNC_CHUNK_BYTES:
            raise ProtocolError(f"expected DATA, got {identifier!r} of {size} bytes")
        yield stream.read_exact(size)
