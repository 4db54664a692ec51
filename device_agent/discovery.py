"""Discovery: which devices are there to be opened, and how that changes."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from device_agent.adb import AdbClient, AdbPhone
from device_agent.adb_errors import DeviceLost, server_refused
from device_agent.device import Device
from device_agent.errors import DeviceError, InfrastructureError

USABLE = "device"  # adb's word for a phone that answers


@dataclass(frozen=True)
class Sighting:
    """A device that somebody sees.

    Attributes:
        key: Its address: the serial of a phone, the name of anything else.
        open: Makes the device; asks and changes nothing that matters to others who use it.
        state: `device` when it can be used; otherwise adb's word for why not.
        own: It belongs to this process alone: it needs no lease, and is not closed after use.
    """

    key: str
    open: Callable[[], Device]
    state: str = USABLE
    own: bool = False

    @property
    def obstacle(self) -> DeviceError | None:
        """Why it cannot be used, and what to do; None if it can."""
        if self.state == USABLE:
            return None
        error = server_refused(self.state, device=self.key, command="list devices")
        if not isinstance(error, DeviceLost):
            return error
        return InfrastructureError(
            f"is in state '{self.state}'", device=self.key, hint="wait, or restart it", code="device_not_ready"
        )


class Discovery(Protocol):
    """A source of devices."""

    def snapshots(self) -> Iterator[Sequence[Sighting]]:
        """All that is seen, now and whenever that has changed, until `close`."""
        ...

    def close(self) -> None:
        """End the iteration, also one that waits in another thread; idempotent."""
        ...


class AdbDiscovery:
    """The phones of one adb server, as the server reports them.

    Args:
        client: The server.
        open: Makes a device of a phone: `lambda phone: AndroidDevice(phone, runner_for(phone))`.
        serials: Only these; None: all.
    """

    def __init__(
        self, client: AdbClient, open: Callable[[AdbPhone], Device], serials: Collection[str] | None = None
    ) -> None:
        self._client = client
        self._open = open
        self._serials = None if serials is None else frozenset(serials)
        self._tracker = client.track()

    def snapshots(self) -> Iterator[Sequence[Sighting]]:
        """See `Discovery.snapshots`; empty while there is no server."""
        for listed in self._tracker.snapshots():
            yield [
                self._sighting(device.serial, device.state, device.transport_id)
                for device in listed
                if self._serials is None or device.serial in self._serials
            ]

    def close(self) -> None:
        """See `Discovery.close`."""
        self._tracker.close()

    def _sighting(self, serial: str, state: str, transport_id: int | None) -> Sighting:
        return Sighting(serial, lambda: self._open(self._client.phone(serial, transport_id)), state)


class FixedDevices:
    """Devices of this process: always there, used by nobody else, and closed with the discovery.

    Raises:
        ValueError: Two have the same name.
    """

    def __init__(self, devices: Sequence[Device]) -> None:
        names = [device.info.name for device in devices]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two devices are called {repeated.pop()!r}")
        self._devices = tuple(devices)
        self._closed = threading.Event()

    def snapshots(self) -> Iterator[Sequence[Sighting]]:
        """See `Discovery.snapshots`: one."""
        yield [Sighting(device.info.name, functools.partial(_same, device), own=True) for device in self._devices]
        self._closed.wait()

    def close(self) -> None:
        """Close the devices; those that run a block may end it."""
        self._closed.set()
        for device in self._devices:
            device.close()


def _same(device: Device) -> Device:
    return device
