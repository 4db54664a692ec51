"""Leases: of all programs on this computer, one at a time uses a phone.

A lease has a fencing token, which grows by one whenever a phone changes hands, and a time to live, which a heartbeat
extends. A holder that was killed loses its leases at once: it holds a lock on a file of its own, which the kernel
drops. A holder that merely stands still (stopped, swapped out) loses them when their time is over; when it wakes, its
token is stale, and `check` and the journal refuse what it brings (Kleppmann, "How to do distributed locking", 2016).
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import sqlite3
import threading
import time
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
_BUSY_TIMEOUT_S = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS leases (
    device TEXT PRIMARY KEY, token INTEGER NOT NULL, holder TEXT NOT NULL, label TEXT NOT NULL,
    boot TEXT NOT NULL, expires_s REAL NOT NULL) WITHOUT ROWID;
"""
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
            self._alive = os.open(self._sign_of_life(self._holder), os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._alive, fcntl.LOCK_EX)
            self._database = sqlite3.connect(
                self._folder / "leases.sqlite", timeout=_BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None
            )
            self._database.executescript(_SCHEMA)

    def acquire(self, device: str) -> Lease:
        """Take a device that nobody holds.

        Raises:
            LeaseHeld: Somebody does; the message says who.
        """
        with self._transaction() as database:
            token = self._last_token(device) + 1
            database.execute(
                "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?)",
                (device, token, self._holder, _label(), self._boot, self._clock() + self._ttl_s),
            )
        self._start_heart()
        return Lease(device, token)

    def ensure_free(self, device: str) -> None:
        """Make sure that nobody holds a device now.

        Raises:
            LeaseHeld: Somebody does.
        """
        with self._transaction():
            self._last_token(device)

    def check(self, lease: Lease) -> None:
        """Make sure that nobody else has had the device since.

        Raises:
            LeaseLost: Somebody has, or it was released.
        """
        with self._lock, self._translated():
            row = self._database.execute(
                "SELECT token, holder FROM leases WHERE device = ?", (lease.device,)
            ).fetchone()
        # A lease that expired without being taken is still good: nobody has disturbed the phone.
        if row != (lease.token, self._holder):
            raise LeaseLost(
                f"lease {lease.token} is over",
                device=lease.device,
                hint="this program stood still for too long, and another one took the phone",
            )

    def renew(self) -> None:
        """Extend all leases of this holder; the heartbeat does it."""
        with self._transaction() as database:
            database.execute(
                "UPDATE leases SET expires_s = ?, boot = ? WHERE holder = ?",
                (self._clock() + self._ttl_s, self._boot, self._holder),
            )

    def release(self, lease: Lease) -> None:
        """Give the device back; harmless if the lease is over."""
        with self._transaction() as database:
            database.execute(
                "UPDATE leases SET holder = '' WHERE device = ? AND token = ? AND holder = ?",
                (lease.device, lease.token, self._holder),
            )

    def held(self) -> tuple[HeldLease, ...]:
        """All leases that somebody on this computer holds now."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT device, token, label, holder, boot, expires_s FROM leases ORDER BY device"
            ).fetchall()
            return tuple(
                HeldLease(Lease(device, token), label) for device, token, label, *rest in rows if self._is_held(*rest)
            )

    def close(self) -> None:
        """Give everything back; idempotent."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        if self._heart is not None:
            self._heart.join()
        with self._lock:
            with self._transaction() as database:
                database.execute("UPDATE leases SET holder = '' WHERE holder = ?", (self._holder,))
            self._database.close()
            self._sign_of_life(self._holder).unlink(missing_ok=True)
            os.close(self._alive)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _last_token(self, device: str) -> int:
        """The token of the last lease, 0 if there was none. Raises LeaseHeld if that is still held."""
        row = self._database.execute(
            "SELECT token, label, holder, boot, expires_s FROM leases WHERE device = ?", (device,)
        ).fetchone()
        if row is None:
            return 0
        token, label, *rest = row
        if self._is_held(*rest):
            raise LeaseHeld(
                f"in use by process {label}",
                device=device,
                command="acquire the lease",
                hint=f"wait for it, or end it; a program that stands still loses it within {self._ttl_s:g} s",
            )
        return int(token)

    def _is_held(self, holder: str, boot: str, expires_s: float) -> bool:
        if not holder or boot != self._boot or expires_s <= self._clock():
            return False
        return holder == self._holder or self._lives(holder)

    def _lives(self, holder: str) -> bool:
        """Whether the holder's process still has its lock; the file of a dead one is removed."""
        try:
            sign = os.open(self._sign_of_life(holder), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(sign, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sign_of_life(holder).unlink(missing_ok=True)
        except BlockingIOError:
            return True
        finally:
            os.close(sign)
        return False

    def _sign_of_life(self, holder: str) -> Path:
        return self._folder / f"{holder}.holder"

    def _start_heart(self) -> None:
        with self._lock:
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
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translated():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise InfrastructureError(
                f"leases in {self._folder} cannot be kept: {error}",
                hint="the folder must be writable and on a local disk; DEVICENAG_HOME names another one",
                code="lease_book_broken",
            ) from error


def _boot_id() -> str:
    """What tells this boot of the computer from others; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _label() -> str:
    return f"{os.getpid()} on {socket.gethostname()}"
