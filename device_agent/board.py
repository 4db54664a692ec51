"""Board: what the threads of a fleet know together: devices, their health, and the jobs that wait."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from device_agent.discovery import USABLE, Sighting
from device_agent.errors import DeviceError, InfrastructureError
from device_agent.health import Health, HealthPolicy
from device_agent.ticket import Ticket
from profiling.records import DeviceInfo, Failure

StationState = Literal["absent", "unusable", "opening", "idle", "busy", "resting", "quarantined"]


class NoDevice(InfrastructureError):
    """No device that could do the job has been there for a long time."""

    code = "no_device"


@dataclass(frozen=True)
class Station:
    """A device's place in the fleet; it stays when the device goes.

    Attributes:
        key: The device's address.
        sighting: The latest; None: it is not there.
        info: Since it was opened for the first time.
        ready: It is open, and takes jobs.
        busy: It does one.
        health: How far it can be trusted.
        resting_until_s: It is not tried before, for `obstacle`.
        obstacle: What was in the way last.
        done: Jobs that it measured.
    """

    key: str
    health: Health
    sighting: Sighting | None = None
    info: DeviceInfo | None = None
    ready: bool = False
    busy: bool = False
    resting_until_s: float = 0.0
    obstacle: DeviceError | None = None
    done: int = 0

    def state(self, now_s: float) -> StationState:
        """What it is now."""
        if self.sighting is None:
            return "absent"
        if self.sighting.state != USABLE:
            return "unusable"
        if self.health.state(now_s) == "quarantined":
            return "quarantined"
        if self.ready:
            return "busy" if self.busy else "idle"
        return "resting" if now_s < self.resting_until_s else "opening"


class Board:
    """Thread-safe; everything that waits, waits here, and is woken when something changes.

    Args:
        health: Policy for all devices.
        patience_s: How long a job waits while no device that could do it is there.
        clock: Seconds.
    """

    def __init__(self, health: HealthPolicy, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._health = Health(health)
        self._patience_s = patience_s
        self._clock = clock
        self._changed = threading.Condition()
        self._stations: dict[str, Station] = {}
        self._tickets: list[Ticket] = []
        self._closed = False

    # Everybody --------------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the fleet has been closed."""
        return self._closed

    def stations(self) -> tuple[tuple[float, Station], ...]:
        """All devices that were ever seen, in that order, each with the time it is now."""
        with self._changed:
            now_s = self._clock()
            return tuple((now_s, station) for station in self._stations.values())

    def await_that(self, holds: Callable[[], bool], timeout_s: float) -> None:
        """Wait until something that depends on the board holds, the board is closed, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or holds(), timeout_s)

    def add(self, ticket: Ticket) -> None:
        """A new job. Raises RuntimeError when the board is closed."""
        with self._changed:
            if self._closed:
                raise RuntimeError("the backend is closed")
            self._tickets.append(ticket)
            self._changed.notify_all()

    def close(self) -> None:
        """Wake everybody, and cancel what waits."""
        with self._changed:
            self._closed = True
            waiting, self._tickets = self._tickets, []
            self._changed.notify_all()
        for ticket in waiting:
            ticket.cancel()

    # Discovery --------------------------------------------------------------------------------------------------

    def see(self, sightings: Iterable[Sighting], gone: Iterable[str] = ()) -> tuple[str, ...]:
        """What a discovery sees now, and what it does not see any more.

        Returns:
            Devices that were never seen before.
        """
        with self._changed:
            new = []
            for key in gone:
                self._change(key, sighting=None)
            for sighting in sightings:
                if sighting.key not in self._stations:
                    self._stations[sighting.key] = Station(sighting.key, self._health)
                    new.append(sighting.key)
                before = self._stations[sighting.key]
                was_unusable = before.sighting is not None and before.sighting.state != USABLE
                obstacle = sighting.obstacle or (None if was_unusable else before.obstacle)
                self._change(sighting.key, sighting=sighting, obstacle=obstacle)
            self._changed.notify_all()
            return tuple(new)

    # Workers ----------------------------------------------------------------------------------------------------

    def await_device(self, key: str) -> Sighting | None:
        """Wait until the device is there and may be tried; None when the board is closed."""
        with self._changed:
            while not self._closed:
                station, now_s = self._stations[key], self._clock()
                until_s = max(station.resting_until_s, station.health.until_s or 0.0)
                if station.sighting is not None and station.sighting.state == USABLE and now_s >= until_s:
                    return station.sighting
                self._wait_until([until_s], now_s)
            return None

    def enter(self, key: str, info: DeviceInfo) -> None:
        """The device is open."""
        with self._changed:
            obstacle = self._stations[key].obstacle if self._stations[key].health.strikes else None
            self._change(key, info=info, ready=True, busy=False, obstacle=obstacle)
            self._changed.notify_all()

    def leave(self, key: str, obstacle: DeviceError | None = None, rest_s: float = 0.0) -> None:
        """The device is closed again, because of something or not, and is not to be opened for some time."""
        with self._changed:
            known = obstacle or self._stations[key].obstacle
            until_s = self._clock() + rest_s
            self._change(key, ready=False, busy=False, obstacle=known, resting_until_s=until_s)
            self._changed.notify_all()

    def await_ticket(self, key: str, idle_s: float | None) -> Ticket | None:
        """Wait for a job that the device may do, and take it.

        Args:
            key: The device; it is open.
            idle_s: Longest wait; None: any.

        Returns:
            None when there was none for so long, or the device is gone or set aside, or the board is closed.
        """
        with self._changed:
            self._change(key, busy=False)
            began_s = self._clock()
            while not self._closed and self._is_usable(key):
                now_s = self._clock()
                if (ticket := self._choose(key, now_s)) is not None:
                    self._tickets.remove(ticket)
                    self._change(key, busy=True)
                    # Whoever waits for a job to be free for all must hear that this device has one.
                    self._changed.notify_all()
                    return ticket
                if idle_s is not None and now_s - began_s >= idle_s:
                    return None
                idle_end_s = math.inf if idle_s is None else began_s + idle_s
                self._wait_until([*(ticket.not_before_s for ticket in self._tickets), idle_end_s], now_s)
            return None

    def put_back(self, ticket: Ticket, *, avoid: str, delay_s: float) -> None:
        """A job was not done: others, or later the same device, are to try it, before what came after it."""
        with self._changed:
            ticket.avoid.add(avoid)
            ticket.not_before_s = self._clock() + delay_s
            if not self._closed:
                self._tickets.insert(0, ticket)
                self._changed.notify_all()
                return
        ticket.cancel()

    def strike(self, key: str, error: DeviceError | Failure) -> None:
        """Something is the device's fault."""
        with self._changed:
            now_s = self._clock()
            station = self._stations[key]
            obstacle = error if isinstance(error, DeviceError) else station.obstacle
            self._change(key, health=station.health.struck(error.code, now_s), obstacle=obstacle)
            self._changed.notify_all()

    def succeed(self, key: str) -> None:
        """The device has measured something."""
        with self._changed:
            station = self._stations[key]
            health = station.health.succeeded(self._clock())
            self._change(key, health=health, done=station.done + 1, obstacle=None)

    # Patience ---------------------------------------------------------------------------------------------------

    def await_forlorn(self) -> list[tuple[Ticket, Failure]]:
        """Wait until jobs have waited too long for devices that are not there, and take them; empty: closed."""
        with self._changed:
            while not self._closed:
                now_s = self._clock()
                # There may be thousands of tickets, but they are for few devices.
                wanted = {ticket.job.device for ticket in self._tickets}
                hopeful = {device for device in wanted if any(map(self._is_usable, self._suitable(device)))}
                for ticket in self._tickets:
                    if ticket.job.device in hopeful:
                        ticket.forlorn_since_s = None
                    elif ticket.forlorn_since_s is None:
                        ticket.forlorn_since_s = now_s
                ends = [
                    (ticket.forlorn_since_s + self._patience_s, ticket)
                    for ticket in self._tickets
                    if ticket.forlorn_since_s is not None
                ]
                if over := [ticket for end_s, ticket in ends if end_s <= now_s]:
                    self._tickets = [ticket for ticket in self._tickets if ticket not in over]
                    return [(ticket, self._no_device(ticket, now_s).failure()) for ticket in over]
                # Quarantines end without anybody telling.
                quarantines = [station.health.until_s or 0.0 for station in self._stations.values()]
                self._wait_until([*(end_s for end_s, _ in ends), *quarantines], now_s)
            return []

    def _no_device(self, ticket: Ticket, now_s: float) -> NoDevice:
        """Why a job that waited in vain has failed."""
        device, last = ticket.job.device, ticket.last_failure
        seen = [
            f"{station.key} is {station.state(now_s)}"
            + (f" ({station.obstacle.message})" if station.obstacle is not None else "")
            for station in self._stations.values()
            if station.key in self._suitable(device) or station.info is None
        ]
        tried = f"; it was tried before: {last.detail}" if last is not None else ""
        hints = [station.obstacle.hint for station in self._stations.values() if station.obstacle is not None]
        return NoDevice(
            f"no {device!r} could be used for {self._patience_s:g} s: {', '.join(seen) or 'none was ever seen'}{tried}",
            device=device,
            hint=next((hint for hint in hints if hint), "plug it in; `nag devices` lists what is seen"),
        )

    # With the lock held -----------------------------------------------------------------------------------------

    def _change(self, key: str, **values: object) -> None:
        self._stations[key] = replace(self._stations[key], **values)  # type: ignore[arg-type]

    def _wait_until(self, moments_s: Iterable[float], now_s: float) -> None:
        """Wait for a change, or for the first of these moments that is still to come."""
        first_s = min((moment_s for moment_s in moments_s if moment_s > now_s), default=math.inf)
        self._changed.wait(first_s - now_s if math.isfinite(first_s) else None)

    def _is_usable(self, key: str) -> bool:
        return self._stations[key].state(self._clock()) in ("idle", "busy")

    def _suitable(self, wanted: str) -> list[str]:
        """The devices that a job may go to. A name says which; only when no device has it, it is a model."""
        known = [(key, station.info) for key, station in self._stations.items() if station.info is not None]
        named = [key for key, info in known if wanted in (info.name, key)]
        return named or [key for key, info in known if info.model == wanted]

    def _choose(self, key: str, now_s: float) -> Ticket | None:
        """The oldest job for a device; one that it has failed at is left to others, while there are any."""
        places: dict[str, list[str]] = {}
        for ticket in self._tickets:
            wanted = ticket.job.device
            if wanted not in places:
                places[wanted] = self._suitable(wanted)
            if key not in places[wanted]:
                continue
            fresh = [other for other in places[wanted] if other not in ticket.avoid and self._is_usable(other)]
            # Elsewhere at once, on the same device not before its time.
            if key in fresh or (not fresh and now_s >= ticket.not_before_s):
                return ticket
        return None
