"""adb's transport protocol: messages between an adb server and a phone's daemon.

Source: AOSP `packages/modules/adb`, `docs/dev/protocol.md` and `shell_protocol.h`.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

CNXN, AUTH, OPEN, OKAY, WRTE, CLSE, STLS = b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE", b"STLS"
AUTH_TOKEN, AUTH_SIGNATURE, AUTH_PUBLIC_KEY = 1, 2, 3
VERSION = 0x01000001  # from this version on nobody looks at checksums
MAX_PAYLOAD = 256 * 1024

SHELL_STDIN, SHELL_STDOUT, SHELL_STDERR, SHELL_EXIT, SHELL_CLOSE_STDIN = 0, 1, 2, 3, 4

_HEADER = struct.Struct("<4sIIIII")


class LinkClosed(Exception):
    """The connection between server and phone is gone, or the stream on it is."""


@dataclass(frozen=True)
class Message:
    """One message; what the two arguments mean depends on the command."""

    command: bytes
    first: int
    second: int
    payload: bytes = b""

    def encode(self) -> bytes:
        """Header and payload as they go over the wire."""
        number = int.from_bytes(self.command, "little")
        checksum = sum(self.payload) & 0xFFFFFFFF if self.command in (CNXN, AUTH) else 0
        header = _HEADER.pack(self.command, self.first, self.second, len(self.payload), checksum, number ^ 0xFFFFFFFF)
        return header + self.payload


def receive(connection: socket.socket) -> Message:
    """The next message.

    Raises:
        LinkClosed: The peer closed, or sent what is no message.
    """
    command, first, second, size, _, magic = _HEADER.unpack(_exactly(connection, _HEADER.size))
    if int.from_bytes(command, "little") ^ 0xFFFFFFFF != magic or size > 16 * 2**20:
        raise LinkClosed(f"no adb message: {command!r}, {size} bytes")
    return Message(command, first, second, _exactly(connection, size))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        try:
            chunk = connection.recv(size - len(data))
        except OSError as error:
            raise LinkClosed(str(error)) from error
        if not chunk:
            raise LinkClosed("the server closed the connection")
        data += chunk
    return bytes(data)


def shell_packet(identifier: int, payload: bytes = b"") -> bytes:
    """One packet of the shell v2 protocol."""
    return struct.pack("<BI", identifier, len(payload)) + payload
