"""FleetBackend: measurement on devices that come and go, break, and are shared with other programs.

discovery --sees--> Board <--takes jobs from-- Worker (one thread per device) --opens, leases--> Session --measures
   (thread)          ^  \\--gives up jobs that wait in vain--> FleetBackend (thread)                      |
            submit --+                                              future <-- journal <-- results -------+
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from device_agent.backend import Enough, MeasurementJob, MeasurementResult, OnBlock
from device_agent.board import Board, StationState
from device_agent.discovery import Discovery
from device_agent.gate import HostGate
from device_agent.journal import Journal
from device_agent.lease import LeaseBook
from device_agent.reference import ReferencePlan
from device_agent.session import FleetPolicy, OnSuspect, Services
from device_agent.ticket import Ticket
from device_agent.worker import Worker
from profiling.records import DeviceInfo, Failure

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeviceStatus:
    """A device of the fleet, for people.

    Attributes:
        key: Its serial, or name.
        info: What it is; None: it has not been opened yet.
        state: `absent`, `unusable` (adb says why), `opening`, `idle`, `busy`, `resting` (after a fault, or another
            program uses it), `quarantined`.
        reason: What was in the way last; empty when all is well.
        hint: What to do about it.
        strikes: Faults since its last success.
        quarantined_s: Time left of its quarantine.
        measured: Jobs that it did.
    """

    key: str
    info: DeviceInfo | None
    state: StationState
    reason: str
    hint: str
    strikes: int
    quarantined_s: float
    measured: int


class FleetBackend:
    """One worker per device; a free one takes the oldest job that it can do. A `MeasurementBackend`.

    A job for a name waits for that device, a job for a model is done by any device of that model. Infrastructure errors
    send a job to another device, or to the same one later; faults of models are results. A device that fails repeatedly
    is set aside. A job whose devices do not come back ends with a failure after `FleetPolicy.patience_s`.

    >>> client = AdbClient()
    >>> phones = AdbDiscovery(client, lambda phone: AndroidDevice(phone, runner_for(phone)))
    >>> with LeaseBook() as leases, Journal(folder / "journal.sqlite") as journal:
    ...     with FleetBackend([phones], leases=leases, journal=journal, references=ReferencePlan()) as fleet:
    ...         future = fleet.submit(MeasurementJob("1", artifact, MeasurementPlan(), "Pixel 7"))
    ...         print(future.result())
    """

    def __init__(
        self,
        discoveries: Sequence[Discovery],
        *,
        leases: LeaseBook | None = None,
        journal: Journal | None = None,
        references: ReferencePlan | None = None,
        policy: FleetPolicy | None = None,
        host_gate: HostGate | None = None,
        on_suspect: OnSuspect | None = None,
    ) -> None:
        """Args:
        discoveries: Where devices come from; closed with the backend.
        leases: Needed where other programs may use the same phones. The caller closes it, after the backend.
        journal: Every result is in it before its future has it, and a job that it knows is not done again. The
            caller closes it, after the backend.
        references: Measured between jobs, on devices that run artifacts.
        policy: The rules.
        host_gate: Blocks on devices of kind `host` run inside its `measuring()`. Closed with the backend.
        on_suspect: Called with the jobs whose measurements a drift may have touched, and why, from a thread of the
            backend; they are marked in the journal as well.
        """
        self._discoveries = tuple(discoveries)
        self._policy = policy or FleetPolicy()
        self._gate = host_gate or HostGate()
        self._journal = journal
        self._board = Board(self._policy.health, self._policy.patience_s)
        self._services = Services(self._board, self._policy, self._gate, leases, journal, references, on_suspect)
        self._workers: dict[str, tuple[Worker, threading.Thread]] = {}
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._discover, args=(discovery,), name="discovery", daemon=True)
            for discovery in self._discoveries
        ]
        self._threads.append(threading.Thread(target=self._give_up, name="patience", daemon=True))
        for thread in self._threads:
            thread.start()

    def submit(self, job: MeasurementJob, on_block: OnBlock | None = None) -> Future[MeasurementResult]:
        """See `MeasurementBackend.submit`; devices that nobody has seen are waited for.

        Raises:
            RuntimeError: After `close`.
            JournalError: The journal cannot be read.
        """
        ticket = Ticket(job, on_block, blocks=list(job.earlier_blocks))
        known = self._journal.result(job.job_id) if self._journal is not None else None
        if known is not None:
            ticket.future.set_result(known)
        else:
            self._board.add(ticket)
        return ticket.future

    def inventory(self) -> tuple[DeviceInfo, ...]:
        """The devices that take jobs now."""
        return tuple(status.info for status in self.status() if status.info and status.state in ("idle", "busy"))

    def status(self) -> tuple[DeviceStatus, ...]:
        """All devices that were ever seen."""
        return tuple(
            DeviceStatus(
                key=station.key,
                info=station.info,
                state=station.state(now_s),
                reason=station.obstacle.message if station.obstacle is not None else station.health.reason,
                hint=station.obstacle.hint if station.obstacle is not None else "",
                strikes=station.health.strikes,
                quarantined_s=max(0.0, (station.health.until_s or 0.0) - now_s),
                measured=station.done,
            )
            for now_s, station in self._board.stations()
        )

    def await_devices(self, enough: Enough, timeout_s: float) -> tuple[DeviceInfo, ...]:
        """See `MeasurementBackend.await_devices`."""
        self._board.await_that(lambda: enough(self.inventory()), timeout_s)
        return self.inventory()

    def wait_for_devices(self, count: int, timeout_s: float) -> bool:
        """Wait until so many devices take jobs; whether they do."""
        return len(self.await_devices(lambda infos: len(infos) >= count, timeout_s)) >= count

    def close(self) -> None:
        """Cancel what waits, stop what runs, put the phones back as they were; nothing is left running. Idempotent."""
        self._board.close()
        self._gate.close()
        for discovery in self._discoveries:
            discovery.close()
        with self._lock:
            workers = list(self._workers.values())
        with ThreadPoolExecutor(max_workers=max(1, len(workers))) as pool:
            list(pool.map(Worker.interrupt, (worker for worker, _ in workers)))  # each may have to wait for its phone
        for thread in (*(thread for _, thread in workers), *self._threads):
            if thread is not threading.current_thread():
                thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _discover(self, discovery: Discovery) -> None:
        """A discovery's thread."""
        seen: set[str] = set()
        for sightings in discovery.snapshots():
            now = {sighting.key for sighting in sightings}
            new = self._board.see(sightings, seen - now)
            seen = now
            with self._lock:
                for key in new:
                    worker = Worker(key, self._services)
                    thread = threading.Thread(target=worker.run, name=f"device {key}", daemon=True)
                    self._workers[key] = worker, thread
                    thread.start()

    def _give_up(self) -> None:
        """The thread that ends jobs whose devices do not come."""
        while over := self._board.await_forlorn():
            for ticket, failure in over:
                self._end(ticket, failure)

    def _end(self, ticket: Ticket, failure: Failure) -> None:
        if not ticket.begin():
            return
        _logger.warning("%s: %s", ticket.job.job_id, failure.detail)
        try:
            known = self._journal.record(ticket.job.job_id, failure) if self._journal is not None else failure
        except Exception as error:  # as in concurrent.futures: whoever waits for the future must hear of it
            ticket.future.set_exception(error)
        else:
            ticket.future.set_result(known)
