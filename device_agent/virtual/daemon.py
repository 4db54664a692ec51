"""adb's daemon side: what an adb server finds when it connects to a virtual phone."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from device_agent.virtual.protocol import (
    AUTH,
    AUTH_TOKEN,
    CLSE,
    CNXN,
    MAX_PAYLOAD,
    OKAY,
    OPEN,
    VERSION,
    WRTE,
    LinkClosed,
    Message,
    receive,
)

_logger = logging.getLogger(__name__)


class Phone(Protocol):
    """What the daemon asks of the phone."""

    @property
    def banner(self) -> str:
        """How it introduces itself."""
        ...

    @property
    def authorized(self) -> bool:
        """Whether it accepts the computer's key."""
        ...

    @property
    def silent(self) -> bool:
        """Whether it leaves those who connect without an answer."""
        ...

    @property
    def bytes_per_s(self) -> float:
        """Speed of the link."""
        ...

    @property
    def answering(self) -> threading.Event:
        """Cleared while the phone hangs."""
        ...

    def service(self, name: str) -> Callable[[DaemonStream], None] | None:
        """What serves a stream with this name; None: there is no such service."""
        ...


class DaemonStream:
    """One stream between a service of the phone and its user on the computer."""

    def __init__(self, link: Link, local: int, remote: int) -> None:
        self._link = link
        self._local = local
        self._remote = remote
        self._changed = threading.Condition()
        self._incoming: deque[bytes] = deque()
        self._rest = b""
        self._may_write = True
        self._closed = False
        self.on_close: Callable[[], None] | None = None

    def read(self) -> bytes:
        """The next bytes from the computer.

        Raises:
            LinkClosed: There will be none.
        """
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        with self._changed:
            self._changed.wait_for(lambda: self._incoming or self._closed)
            if not self._incoming:
                raise LinkClosed("stream closed")
            data = self._incoming.popleft()
        self._link.pace(len(data))
        self._link.send(OKAY, self._local, self._remote)
        return data

    def read_exactly(self, count: int) -> bytes:
        """So many bytes."""
        parts = bytearray()
        while len(parts) < count:
            parts += self.read()
        self._rest = bytes(parts[count:])
        return bytes(parts[:count])

    def write(self, data: bytes) -> None:
        """Bytes to the computer, as fast as it takes them.

        Raises:
            LinkClosed: Nobody takes them any more.
        """
        for start in range(0, len(data), self._link.max_payload):
            chunk = data[start : start + self._link.max_payload]
            self._link.pace(len(chunk))
            with self._changed:
                self._changed.wait_for(lambda: self._may_write or self._closed)
                if self._closed:
                    raise LinkClosed("stream closed")
                self._may_write = False
            self._link.send(WRTE, self._local, self._remote, chunk)

    def close(self) -> None:
        """End the stream from the phone's side; idempotent."""
        if self._end():
            with contextlib.suppress(LinkClosed):
                self._link.send(CLSE, self._local, self._remote)

    def deliver(self, data: bytes) -> None:
        """The link received bytes for this stream."""
        with self._changed:
            self._incoming.append(data)
            self._changed.notify_all()

    def acknowledge(self) -> None:
        """The computer took what was written."""
        with self._changed:
            self._may_write = True
            self._changed.notify_all()

    def closed_by_peer(self) -> None:
        """The computer, or the link, ended the stream."""
        if self._end() and self.on_close is not None:
            self.on_close()

    def _end(self) -> bool:
        with self._changed:
            if self._closed:
                return False
            self._closed = True
            self._changed.notify_all()
        self._link.forget(self._local)
        return True


class Link:
    """One connection from an adb server."""

    def __init__(self, phone: Phone, connection: socket.socket) -> None:
        self._phone = phone
        self._connection = connection
        self._send_lock = threading.Lock()
        self._lock = threading.Lock()
        self._streams: dict[int, DaemonStream] = {}
        self._numbers = itertools.count(1)
        self._down = threading.Event()
        self.max_payload = MAX_PAYLOAD

    def serve(self) -> None:
        """Answer messages until the connection ends."""
        try:
            while True:
                self._handle(receive(self._connection))
        except LinkClosed as error:
            _logger.debug("link closed: %s", error)
        finally:
            self.drop()

    def drop(self) -> None:
        """Break the connection and every stream on it; idempotent."""
        self._down.set()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        with self._lock:
            streams = list(self._streams.values())
        for stream in streams:
            stream.closed_by_peer()

    def greet(self) -> None:
        """Tell the server what this phone is, or ask it for a key that will not be accepted."""
        if self._phone.silent:
            return
        if self._phone.authorized:
            self.send(CNXN, VERSION, MAX_PAYLOAD, self._phone.banner.encode())
        else:
            self.send(AUTH, AUTH_TOKEN, 0, os.urandom(20))

    def send(self, command: bytes, first: int, second: int, payload: bytes = b"") -> None:
        """Send a message, once the phone hangs no more.

        Raises:
            LinkClosed: The connection is gone.
        """
        self.pace(0)
        self._transmit(command, first, second, payload)

    def _transmit(self, command: bytes, first: int, second: int, payload: bytes = b"") -> None:
        try:
            with self._send_lock:
                self._connection.sendall(Message(command, first, second, payload).encode())
        except OSError as error:
            raise LinkClosed(str(error)) from error

    def pace(self, size: int) -> None:
        """Take as long as the link needs for so many bytes, and for ever while the phone hangs.

        Raises:
            LinkClosed: The link broke meanwhile.
        """
        while not self._phone.answering.wait(0.1):  # an event that also a broken link would set does not exist
            if self._down.is_set():
                raise LinkClosed("link down")
        if self._phone.bytes_per_s < float("inf"):
            self._down.wait(size / self._phone.bytes_per_s)

    def forget(self, local: int) -> None:
        """A stream has ended."""
        with self._lock:
            self._streams.pop(local, None)

    def _handle(self, message: Message) -> None:
        if message.command == CNXN:
            self.max_payload = min(MAX_PAYLOAD, message.second)
            self.greet()
        elif message.command == AUTH:
            # A signature is answered with the next challenge, until the server has tried all its keys and sends one
            # for a person to accept.
            if message.first == 2:
                self.greet()
        elif message.command == OPEN:
            self._open(message)
        else:
            with self._lock:
                stream = self._streams.get(message.second)
            if stream is None:
                return
            if message.command == WRTE:
                stream.deliver(message.payload)
            elif message.command == OKAY:
                stream.acknowledge()
            elif message.command == CLSE:
                stream.closed_by_peer()

    def _open(self, message: Message) -> None:
        name = message.payload.rstrip(b"\0").decode(errors="surrogateescape")
        serve = self._phone.service(name)
        if serve is None:
            self.send(CLSE, 0, message.first)
            return
        local = next(self._numbers)
        stream = DaemonStream(self, local, message.first)
        with self._lock:
            self._streams[local] = stream

        def work() -> None:
            try:
                self._transmit(OKAY, local, message.first)  # a phone that hangs still accepts
                self.pace(0)
                serve(stream)
            except LinkClosed:
                _logger.debug("the user of %r went away", name)
            finally:
                stream.close()

        threading.Thread(target=work, name=f"service {name[:24]}", daemon=True).start()


class Daemon:
    """Listens for adb servers.

    Args:
        phone: What it speaks for.
        host: Where to listen.
    """

    def __init__(self, phone: Phone, host: str = "127.0.0.1") -> None:
        self._phone = phone
        self._host = host
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._links: list[Link] = []
        self.port = 0

    @property
    def listening(self) -> bool:
        """Whether a server could connect."""
        return self._listener is not None

    def start(self) -> None:
        """Listen: on a free port the first time, then on the same one again; idempotent."""
        with self._lock:
            if self._listener is not None:
                return
            listener = socket.create_server((self._host, self.port))
            self._listener, self.port = listener, listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(listener,), name=f"daemon {self.port}", daemon=True).start()

    def stop(self) -> None:
        """Break all links and listen no more; idempotent."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
            listener.close()
        self.drop_links()

    def drop_links(self) -> None:
        """Break all links; the server may connect again."""
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.drop()

    def greet_again(self) -> None:
        """Introduce the phone anew on every link: its standing has changed."""
        with self._lock:
            links = list(self._links)
        for link in links:
            with contextlib.suppress(LinkClosed):
                link.greet()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(self._phone, connection)
            with self._lock:
                if self._listener is not listener:
                    connection.close()
                    return
                self._links.append(link)
            threading.Thread(target=self._serve, args=(link,), name=f"link {self.port}", daemon=True).start()

    def _serve(self, link: Link) -> None:
        try:
            link.serve()
        finally:
            with self._lock:
                if link in self._links:
                    self._links.remove(link)
