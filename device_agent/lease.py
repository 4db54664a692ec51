"""Leases: of all programs on this computer, one at a time uses a phone.

A lease has a fencing token, which grows whenever a phone changes hands, and a time to live, which a heartbeat extends.
A holder that was killed loses its leases at once: it holds a lock on a file of its own, which the kernel drops. One
that merely stands still (stopped, swapped out) loses them when their time is over; when it wakes, its token is stale,
and `check` and the journal refuse what it brings (Kleppmann, "How to do distributed locking", 2016).

Nothing here waits for a lock that others hold, so that a program that is stopped at the worst moment holds up nobody:

    leases/device-SERIAL/17         the 17th lease; names its holder, appears complete or not at all; the largest counts
    leases/device-SERIAL/17.over    it was given back
    leases/HOLDER.alive             locked for as long as the holder lives
    leases/HOLDER.json              who it is, and until when its leases hold
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from device_agent.errors import InfrastructureError
from device_agent.runner_store import default_home

TTL_S = 30.0
_BEATS_PER_LIFE = 3
_KEPT = 3  # leases that are over and stay on disk
_PREFIX = "device-"
_logger = logging.getLogger(__name__)


class LeaseHeld(InfrastructureError):
    """Another program on this computer uses the phone."""

    code = "device_leased"


class LeaseLost(InfrastructureError):
    """The phone was given to somebody else meanwhile: what was measured since cannot be trusted."""

    code = "lease_lost"


@dataclass(frozen=True)
class Lease:
    """The right to use a device.

    Attributes:
        device: Its serial.
        token: Grows whenever the device changes hands; the largest one is valid.
    """

    device: str
    token: int


@dataclass(frozen=True)
class HeldLease:
    """A lease that somebody holds now, and who: `PID on HOST`."""

    lease: Lease
    label: str


def boot_clock() -> float:
    """Seconds since boot, time asleep included; nobody can set this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class LeaseBook:
    """One holder's view of the leases of this computer; thread-safe.

    >>> with LeaseBook() as book:
    ...     lease = book.acquire("R58M123456")
    ...     book.check(lease)
    ...     book.release(lease)
    """

    def __init__(
        self, folder: Path | None = None, *, ttl_s: float = TTL_S, clock: Callable[[], float] = boot_clock
    ) -> None:
        """Args:
        folder: Where the leases are kept; all programs that share phones share it. None: in the user's data folder.
        ttl_s: How long a lease outlives the last sign of its holder.
        clock: Seconds that all programs on this computer count alike.

        Raises:
            InfrastructureError: The folder cannot be used.
        """
        self._folder = folder or default_home() / "leases"
        self._ttl_s = ttl_s
        self._clock = clock
        self._boot = _boot_id()
        self._holder = uuid.uuid4().hex
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._heart: threading.Thread | None = None
        with self._translated():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._alive = os.open(self._sign_of_life(self._holder), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._alive, fcntl.LOCK_EX)
            self.renew()

    def acquire(self, device: str, *, above: int = 0) -> Lease:
        """Take a device that nobody holds.

        Args:
            device: Its serial.
            above: The token is to be larger than this one too: the largest that a journal has seen.

        Raises:
            LeaseHeld: Somebody holds it; the message says who.
        """
        with self._lock, self._translated():
            folder = self._device_folder(device)
            folder.mkdir(exist_ok=True)
            while True:
                token = max(self._last_token(device), above) + 1
                if self._add(folder, token) and _largest(folder) == token:
                    break
            self._start_heart()
        return Lease(device, token)

    def ensure_free(self, device: str) -> None:
        """Make sure that nobody holds a device now.

        Raises:
            LeaseHeld: Somebody does.
        """
        with self._translated():
            self._last_token(device)

    def check(self, lease: Lease) -> None:
        """Make sure that nobody else has had the device since.

        Raises:
            LeaseLost: Somebody has, or it was released.
        """
        with self._translated():
            folder = self._device_folder(lease.device)
            over = _largest(folder) != lease.token or _over(folder, lease.token).exists()
        # A lease that expired without being taken is still good: nobody has disturbed the phone.
        if over:
            raise LeaseLost(
                f"lease {lease.token} is over",
                device=lease.device,
                hint="this program stood still for too long, and another one took the phone",
            )

    def renew(self) -> None:
        """Extend all leases of this holder; the heartbeat does it."""
        values = {"label": _label(), "boot": self._boot, "expires_s": self._clock() + self._ttl_s}
        with self._lock, self._translated():
            _write(self._description(self._holder), json.dumps(values))

    def release(self, lease: Lease) -> None:
        """Give the device back; harmless if the lease is over."""
        with self._translated():
            _over(self._device_folder(lease.device), lease.token).touch()

    def held(self) -> tuple[HeldLease, ...]:
        """All leases that somebody on this computer holds now."""
        with self._translated():
            found = []
            for folder in sorted(self._folder.glob(f"{_PREFIX}*")):
                token = _largest(folder)
                if (label := self._user_of(folder, token)) is not None:
                    device = urllib.parse.unquote(folder.name.removeprefix(_PREFIX))
                    found.append(HeldLease(Lease(device, token), label))
            return tuple(found)

    def close(self) -> None:
        """Give everything back; idempotent."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        if self._heart is not None:
            self._heart.join()
        # Without signs of life, its leases are over.
        self._forget(self._holder)
        os.close(self._alive)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _last_token(self, device: str) -> int:
        """The token of the last lease, 0 if there was none. Raises LeaseHeld if that is still held."""
        folder = self._device_folder(device)
        token = _largest(folder)
        label = self._user_of(folder, token)
        if label is not None:
            raise LeaseHeld(
                f"in use by process {label}",
                device=device,
                command="acquire the lease",
                hint=f"wait for it, or end it; a program that stands still loses it within {self._ttl_s:g} s",
            )
        return token

    def _add(self, folder: Path, token: int) -> bool:
        """Write down a lease, unless somebody was faster; older ones go."""
        draft = folder / f".{self._holder}"
        draft.write_text(self._holder)
        try:
            os.link(draft, folder / str(token))
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        _sync(folder)  # tokens must not shrink, even if the power goes
        for entry in folder.iterdir():
            number = entry.name.removesuffix(".over")
            if number.isdigit() and int(number) <= token - _KEPT:
                entry.unlink(missing_ok=True)
        return True

    def _user_of(self, folder: Path, token: int) -> str | None:
        """Who holds this lease; None if it is over."""
        try:
            holder = (folder / str(token)).read_text()
            if _over(folder, token).exists():
                return None
            values = json.loads(self._description(holder).read_text())
        except FileNotFoundError:  # there is none, or it was given back while we looked
            return None
        if values["boot"] != self._boot or values["expires_s"] <= self._clock() or not self._lives(holder):
            return None
        return str(values["label"])

    def _lives(self, holder: str) -> bool:
        """Whether the holder's process still has its lock; the files of a dead one are removed."""
        if holder == self._holder:
            return True
        try:
            sign = os.open(self._sign_of_life(holder), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(sign, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(sign)
        self._forget(holder)
        return False

    def _forget(self, holder: str) -> None:
        for file in (self._description(holder), self._description(holder).with_suffix(".new")):
            file.unlink(missing_ok=True)
        self._sign_of_life(holder).unlink(missing_ok=True)

    def _device_folder(self, device: str) -> Path:
        return self._folder / f"{_PREFIX}{urllib.parse.quote(device, safe='')}"

    def _sign_of_life(self, holder: str) -> Path:
        return self._folder / f"{holder}.alive"

    def _description(self, holder: str) -> Path:
        return self._folder / f"{holder}.json"

    def _start_heart(self) -> None:
        if self._heart is None:
            self._heart = threading.Thread(target=self._beat, name="lease-heartbeat", daemon=True)
            self._heart.start()

    def _beat(self) -> None:
        while not self._closing.wait(self._ttl_s / _BEATS_PER_LIFE):
            try:
                self.renew()
            except InfrastructureError as error:  # the next beat may work; until then `check` tells the truth
                _logger.warning("leases could not be renewed: %s", error)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise InfrastructureError(
                f"leases in {self._folder} cannot be kept: {error}",
                hint="the folder must be writable and on a local disk; DEVICENAG_HOME names another one",
                code="lease_book_broken",
            ) from error


def _largest(folder: Path) -> int:
    """The largest token in a device's folder; 0 if there is none."""
    try:
        return max((int(name) for name in os.listdir(folder) if name.isdigit()), default=0)
    except FileNotFoundError:
        return 0


def _over(folder: Path, token: int) -> Path:
    return folder / f"{token}.over"


def _write(path: Path, text: str) -> None:
    """Replace a file's content at once."""
    draft = path.with_suffix(".new")
    draft.write_text(text)
    draft.replace(path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _boot_id() -> str:
    """What tells this boot of the computer from others; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _label() -> str:
    return f"{os.getpid()} on {socket.gethostname()}"
