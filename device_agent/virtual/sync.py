"""The sync service of a virtual phone: push, pull, stat, list (AOSP `docs/dev/sync.md`, version 1 requests)."""

from __future__ import annotations

import errno
import os
import stat
import struct
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from device_agent.virtual.phone import VirtualPhone

CHUNK_BYTES = 64 * 1024
_MAX_PATH_BYTES = 1024


class ByteStream(Protocol):
    """What the service talks over."""

    def read_exactly(self, count: int) -> bytes:
        """So many bytes from the computer."""
        ...

    def write(self, data: bytes) -> None:
        """Bytes to the computer."""
        ...


def serve(phone: VirtualPhone, stream: ByteStream) -> None:
    """Answer requests until QUIT.

    Raises:
        LinkClosed: By the stream, when the computer or the link goes away.
    """
    while True:
        identifier, size = struct.unpack("<4sI", stream.read_exactly(8))
        if identifier == b"QUIT":
            return
        if size > _MAX_PATH_BYTES:
            _fail(stream, "path too long")
            return
        text = stream.read_exactly(size).decode(errors="surrogateescape")
        if identifier == b"STAT":
            stream.write(b"STAT" + _status(phone, text))
        elif identifier == b"LIST":
            _list(phone, stream, text)
        elif identifier == b"RECV":
            _receive(phone, stream, text)
        elif identifier == b"SEND":
            _send(phone, stream, text)
        else:
            _fail(stream, f"unknown command {identifier!r}")
            return


def _fail(stream: ByteStream, reason: str) -> None:
    data = reason.encode()
    stream.write(b"FAIL" + struct.pack("<I", len(data)) + data)


def _status(phone: VirtualPhone, path: str) -> bytes:
    try:
        status = phone.files.status(phone.files.normal(path))
    except OSError:
        return bytes(12)
    return struct.pack("<III", status.st_mode, status.st_size & 0xFFFFFFFF, int(status.st_mtime) & 0xFFFFFFFF)


def _list(phone: VirtualPhone, stream: ByteStream, path: str) -> None:
    folder = phone.files.normal(path)
    for name in phone.files.names(folder) if phone.files.is_folder(folder) else ():
        data = name.encode()
        stream.write(b"DENT" + _status(phone, f"{folder}/{name}") + struct.pack("<I", len(data)) + data)
    stream.write(b"DONE" + bytes(16))


def _receive(phone: VirtualPhone, stream: ByteStream, path: str) -> None:
    try:
        data = phone.files.read(phone.files.normal(path))
    except OSError as error:
        _fail(stream, f"open failed: {os.strerror(error.errno or 0)}")
        return
    for start in range(0, len(data), CHUNK_BYTES):
        chunk = data[start : start + CHUNK_BYTES]
        stream.write(b"DATA" + struct.pack("<I", len(chunk)) + chunk)
    stream.write(b"DONE" + bytes(4))


def _send(phone: VirtualPhone, stream: ByteStream, request: str) -> None:
    """Receive a file; after a failure the rest is read and thrown away, as adbd does."""
    text, _, mode = request.rpartition(",")
    path = phone.files.normal(text)
    failure: OSError | None = None
    received = 0
    try:
        if not stat.S_ISREG(int(mode)):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        phone.files.write(path, b"")
        phone.files.set_mode(path, stat.S_IMODE(int(mode)))
    except OSError as error:
        failure = error
        _fail(stream, f"couldn't create file: {os.strerror(error.errno or 0)}")
    while True:
        identifier, size = struct.unpack("<4sI", stream.read_exactly(8))
        if identifier == b"DONE":
            break
        if identifier != b"DATA" or size > CHUNK_BYTES:
            _fail(stream, "invalid data message")
            return
        chunk = stream.read_exactly(size)
        received += size
        phone.push_progress(received)
        if failure is None:
            try:
                phone.files.write(path, chunk, append=True)
            except OSError as error:
                failure = error
                _fail(stream, f"write failed: {os.strerror(error.errno or 0)}")
    if failure is None:
        moment = size or time.time()  # DONE carries the modification time in place of a length
        os.utime(phone.files.real(path), (moment, moment))
        stream.write(b"OKAY" + bytes(4))
