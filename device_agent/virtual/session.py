"""Shell services of a virtual phone: what `shell:`, `shell,v2:` and `exec:` streams are connected to."""

from __future__ import annotations

import signal
import struct
from typing import TYPE_CHECKING

from device_agent.virtual.command import Streams, Writer
from device_agent.virtual.daemon import DaemonStream
from device_agent.virtual.processes import Killed
from device_agent.virtual.protocol import (
    SHELL_CLOSE_STDIN,
    SHELL_EXIT,
    SHELL_STDERR,
    SHELL_STDIN,
    SHELL_STDOUT,
    LinkClosed,
    shell_packet,
)
from device_agent.virtual.shell import Shell

if TYPE_CHECKING:
    from device_agent.virtual.phone import VirtualPhone


def serve_plain(phone: VirtualPhone, text: str, stream: DaemonStream, *, terminal: bool) -> None:
    """`shell:` and `exec:`: one merged stream, no exit code; on a terminal, lines end with a carriage return too."""

    def write(data: bytes) -> None:
        stream.write(data.replace(b"\n", b"\r\n") if terminal else data)

    _run(phone, text, stream, Streams(write, write))


def serve_v2(phone: VirtualPhone, text: str, stream: DaemonStream, *, raw: bool) -> None:
    """`shell,v2`: packets for standard input, output, error and the exit code."""

    def stdin() -> bytes:
        data = bytearray()
        while True:
            try:
                identifier, size = struct.unpack("<BI", stream.read_exactly(5))
                payload = stream.read_exactly(size)
            except LinkClosed:
                return bytes(data)
            if identifier == SHELL_CLOSE_STDIN:
                return bytes(data)
            if identifier == SHELL_STDIN:
                data += payload

    errors = _packets(stream, SHELL_STDERR if raw else SHELL_STDOUT)  # a terminal has one stream
    code = _run(phone, text, stream, Streams(_packets(stream, SHELL_STDOUT), errors, stdin))
    stream.write(shell_packet(SHELL_EXIT, bytes([code & 255])))


def _packets(stream: DaemonStream, identifier: int) -> Writer:
    return lambda data: stream.write(shell_packet(identifier, data)) if data else None


def _run(phone: VirtualPhone, text: str, stream: DaemonStream, streams: Streams) -> int:
    """Run a script in a session of its own; its exit code."""
    process = phone.processes.spawn(("/system/bin/sh", "-c", text), None)
    # adbd hangs up on the shell when its user goes away. What the shell started is not told.
    stream.on_close = lambda: process.kill(signal.SIGHUP)
    try:
        return Shell(phone, process, streams).run(text)
    except Killed as killed:
        return 128 + killed.number
    finally:
        phone.processes.reap(process)
