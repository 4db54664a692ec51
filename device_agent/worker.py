"""Worker: one device's thread. Opens it when it is there, and leases it while there is work."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from device_agent.device import Device
from device_agent.discovery import Sighting
from device_agent.errors import DeviceError
from device_agent.lease import Lease, LeaseHeld, LeaseLost
from device_agent.reference import ReferenceMonitor
from device_agent.retry import INTERRUPTIONS
from device_agent.session import Services, Session

_logger = logging.getLogger(__name__)


class Worker:
    """Lives as long as the fleet; its device may come and go.

    Args:
        key: The device's address.
        services: The fleet's.
    """

    def __init__(self, key: str, services: Services) -> None:
        self._key = key
        self._services = services
        self._board = services.board
        self._monitor: ReferenceMonitor | None = None
        self._monitored = ""
        self._device: Device | None = None
        self._lease: Lease | None = None
        self._lost = False

    def run(self) -> None:
        """The thread's life."""
        policy = self._services.policy
        while (sighting := self._board.await_device(self._key)) is not None:
            try:
                well = self._serve(sighting)
            except LeaseHeld as error:
                self._board.leave(self._key, error, policy.lease_retry_s)
            except DeviceError as error:
                # Opening or leasing went wrong; errors of jobs have been dealt with.
                _logger.warning("%s", error)
                if not isinstance(error, INTERRUPTIONS):
                    self._board.strike(self._key, error)
                self._board.leave(self._key, error, policy.retry.first_delay_s)
            else:
                self._board.leave(self._key, rest_s=0.0 if well else policy.retry.first_delay_s)

    def interrupt(self) -> None:
        """End what runs on the device; from another thread."""
        device = self._device
        if device is not None:
            self._put_back(device)

    def _serve(self, sighting: Sighting) -> bool:
        """Open the device and do jobs until it is gone, set aside or idle, or an infrastructure error.

        Returns:
            Whether it ended well.

        Raises:
            LeaseHeld: Another program uses it.
            DeviceError: It could not be opened.
        """
        with self._opened(sighting) as device:
            info = device.info
            if self._services.leases is not None and not sighting.own:
                self._services.leases.ensure_free(self._key)
            self._board.enter(self._key, info)
            ticket = self._board.await_ticket(self._key, None)
            if ticket is None:
                return True
            try:
                with self._leased(sighting, device) as lease:
                    # What belongs to this process cannot be taken from it: its lease is for the journal only.
                    services = replace(self._services, leases=None) if sighting.own else self._services
                    session = Session(self._key, device, lease, self._monitor_of(device), services)
                    while ticket is not None:
                        current, ticket = ticket, None
                        if not session.do(current):
                            return False
                        ticket = self._board.await_ticket(self._key, self._services.policy.idle_s)
            finally:
                if ticket is not None:  # no lease
                    self._board.put_back(ticket, avoid=self._key, delay_s=0.0)
        return True

    @contextmanager
    def _opened(self, sighting: Sighting) -> Iterator[Device]:
        device = sighting.open()
        try:
            if not sighting.own:
                self._device, self._lost = device, False
                if self._board.closed:  # too early for `interrupt` to see it
                    device.close()
            yield device
        finally:
            self._device = None
            if not sighting.own and not self._lost:
                device.close()

    @contextmanager
    def _leased(self, sighting: Sighting, device: Device) -> Iterator[Lease | None]:
        """The right to use it; it is put back as it was before others get it."""
        leases, journal = self._services.leases, self._services.journal
        if sighting.own:
            yield Lease(self._key, journal.last_token(self._key) + 1) if journal is not None else None
            return
        if leases is None:
            yield None
            return
        lease = leases.acquire(self._key, above=journal.last_token(self._key) if journal is not None else 0)
        self._lease = lease
        try:
            yield lease
        finally:
            self._put_back(device)
            self._lease = None
            leases.release(lease)

    def _put_back(self, device: Device) -> None:
        """Close a device, unless it is somebody else's by now: its settings and processes are then not ours."""
        if self._services.leases is not None and self._lease is not None:
            try:
                self._services.leases.check(self._lease)
            except LeaseLost:
                self._lost = True
                return
        device.close()

    def _monitor_of(self, device: Device) -> ReferenceMonitor | None:
        """The device's control chart; it outlives sessions, but not a change of the system."""
        plan, journal, info = self._services.references, self._services.journal, device.info
        if plan is None or device.identity != "artifact":
            return None
        if self._monitor is None or self._monitored != info.epoch:
            earlier = journal.references(self._key) if journal is not None else ()
            self._monitor, self._monitored = ReferenceMonitor(plan, info, earlier), info.epoch
        return self._monitor
