"""A lab of virtual phones behind a private adb server."""

from __future__ import annotations

import contextlib
import functools
import itertools
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from device_agent.adb import AdbClient
from device_agent.adb_errors import AdbServerLost
from device_agent.adb_wire import Deadline
from device_agent.errors import CommandTimeout
from device_agent.virtual.phone import VirtualPhone
from device_agent.virtual.profile import PROFILES, PhoneProfile
from device_agent.virtual.server import PrivateAdbServer

READY_TIMEOUT_S = 30.0
CONNECT_AGAIN_S = 1.0


class VirtualLab:
    """Virtual phones, a private adb server, and the connections between them.

    >>> with VirtualLab(count=2) as lab:
    ...     for serial in lab.serials:
    ...         print(lab.client.phone(serial).run(["getprop", "ro.product.model"], 5).stdout)

    Args:
        count: How many phones.
        profiles: What kinds, in turn; by default all built-in ones that have shell v2.
        folder: Where the phones keep their files, for longer than the lab; by default a temporary folder.
        seed: Of the phones' noise.

    Attributes:
        phones: The phones.
        server: The adb server.
        client: A client of it.
    """

    def __init__(
        self,
        count: int = 1,
        profiles: Sequence[PhoneProfile] | None = None,
        *,
        folder: Path | None = None,
        seed: int = 0,
    ) -> None:
        kinds = profiles or [profile for profile in PROFILES.values() if profile.shell_v2]
        self._temporary = tempfile.TemporaryDirectory(prefix="devicenag-lab-") if folder is None else None
        self._folder = Path(self._temporary.name) if self._temporary is not None else folder or Path()
        home = self._folder / "adb"
        home.mkdir(parents=True, exist_ok=True)
        self.server = PrivateAdbServer(home)
        self.client = AdbClient(port=self.server.port)
        self.phones = tuple(
            VirtualPhone(profile, self._folder / f"phone{number}", name=f"VIRTUAL{number:04d}", seed=seed + number)
            for number, profile in zip(range(count), itertools.cycle(kinds), strict=False)
        )

        for phone in self.phones:
            # The server keeps TCP phones listed as offline; those on USB are gone the moment the cable is.
            phone.on_unplug = functools.partial(self._forget, phone)

    @property
    def port(self) -> int:
        """The adb server's port."""
        return self.server.port

    @property
    def serials(self) -> tuple[str, ...]:
        """The phones' serials."""
        return tuple(phone.serial for phone in self.phones)

    def phone(self, serial: str) -> VirtualPhone:
        """The phone with this serial (or with this `ro.serialno`).

        Raises:
            KeyError: There is none.
        """
        for phone in self.phones:
            if serial in (phone.serial, phone.name):
                return phone
        raise KeyError(f"no virtual phone {serial!r}; there are {', '.join(self.serials)}")

    def start(self) -> None:
        """Start everything and wait until every phone is in state `device`."""
        try:
            self.server.start()
            for phone in self.phones:
                phone.start()
            self.connect()
        except BaseException:
            self.stop()
            raise

    def connect(self, *phones: VirtualPhone) -> None:
        """Connect phones (by default all) to the server and wait until they are in state `device`."""

        def join(phone: VirtualPhone) -> None:
            deadline = Deadline(READY_TIMEOUT_S)
            while True:
                # A connection made while the server still clears away the one before may be cleared away with it.
                self.client.connect(phone.serial)
                try:
                    return self.client.wait_for_state(phone.serial, "device", CONNECT_AGAIN_S)
                except CommandTimeout:
                    if deadline.passed:
                        raise

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(join, phones or self.phones))

    def replug(self, phone: VirtualPhone) -> None:
        """Plug a phone in again and wait until it is there."""
        phone.replug()
        self.connect(phone)

    def heal(self, phone: VirtualPhone) -> None:
        """Undo every fault of a phone and wait until it is there."""
        phone.heal()
        self._forget(phone)
        self.connect(phone)

    def stop(self) -> None:
        """End everything; idempotent."""
        for phone in self.phones:
            self._forget(phone)
        for phone in self.phones:
            phone.stop()
        self.server.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _forget(self, phone: VirtualPhone) -> None:
        with contextlib.suppress(AdbServerLost, CommandTimeout):
            self.client.disconnect(phone.serial)
            self.client.wait_for_state(phone.serial, "absent", CONNECT_AGAIN_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
