"""Session: jobs on one device, for as long as it is leased."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from device_agent.backend import MeasurementResult
from device_agent.board import Board
from device_agent.device import Device
from device_agent.errors import DeviceError, InfrastructureError
from device_agent.gate import GateClosed, HostGate
from device_agent.guard import GuardedDevice
from device_agent.health import HealthPolicy
from device_agent.journal import Journal
from device_agent.lease import Lease, LeaseBook
from device_agent.measure import measure
from device_agent.reference import DeviceDrifted, ReferenceMonitor, ReferencePlan
from device_agent.retry import INTERRUPTIONS, RetryPolicy, judge
from device_agent.ticket import Ticket
from profiling.records import Measurement

OnSuspect = Callable[[tuple[str, ...], str], None]
_logger = logging.getLogger(__name__)


class NothingUsable(InfrastructureError):
    """Every block was rejected."""

    code = "blocks_rejected"


@dataclass(frozen=True)
class FleetPolicy:
    """How a fleet treats jobs and devices.

    Attributes:
        retry: How often a job is tried.
        health: When a device is set aside.
        patience_s: How long a job waits while no device that could do it is there.
        idle_s: A phone without work for so long is put back as it was and given to others; None: never.
        lease_retry_s: How often to ask for a phone that another program uses.
        accept_unusable: A measurement whose blocks were all rejected is a result (grade F), and not retried.
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    health: HealthPolicy = field(default_factory=HealthPolicy)
    patience_s: float = 600.0
    idle_s: float | None = 60.0
    lease_retry_s: float = 2.0
    accept_unusable: bool = False


@dataclass(frozen=True)
class Services:
    """What all threads of a fleet share.

    Attributes:
        board: Devices and waiting jobs.
        policy: The rules.
        gate: Keeps training and blocks on this computer apart.
        leases: None: no device is used by other programs.
        journal: None: results are only handed over.
        references: None: no reference models are measured.
        on_suspect: Told of jobs whose measurements a drift may have touched, and why.
    """

    board: Board
    policy: FleetPolicy
    gate: HostGate
    leases: LeaseBook | None = None
    journal: Journal | None = None
    references: ReferencePlan | None = None
    on_suspect: OnSuspect | None = None


class Session:
    """One device, leased.

    Args:
        key: The device's address.
        device: Open.
        lease: None: nobody else uses it.
        monitor: Of its references; None: there are none.
        services: The fleet's.

    Raises:
        LeaseLost: The journal knows a later lease.
    """

    def __init__(
        self, key: str, device: Device, lease: Lease | None, monitor: ReferenceMonitor | None, services: Services
    ) -> None:
        self._key = key
        self._device = device
        self._lease = lease
        self._monitor = monitor
        self._services = services
        self._board = services.board
        self._over = False
        if monitor is not None:
            monitor.begin()
        if lease is not None and services.journal is not None:
            services.journal.begin_session(lease)

    def do(self, ticket: Ticket) -> bool:
        """Do a job, or put it back.

        Returns:
            Whether the session may go on: after an infrastructure error it has to begin anew.
        """
        if not ticket.begin():
            return True
        try:
            result = self._attempt(ticket)
        except Exception as error:  # as in concurrent.futures: whoever waits for the future must hear of it
            ticket.future.set_exception(error)
        else:
            if result is not None:
                ticket.future.set_result(result)
        return not self._over

    def _attempt(self, ticket: Ticket) -> MeasurementResult | None:
        """The job's end; None: it is back in the queue."""
        try:
            self._look_at_reference()
        except DeviceError as error:
            self._unless_closed(error)
            _logger.warning("reference: %s", error)
            self._over = True
            if not isinstance(error, INTERRUPTIONS):
                self._board.strike(self._key, error)
            self._board.put_back(ticket, avoid=self._key, delay_s=0.0)
            return None
        try:
            measurement = self._measure(ticket)
            result = self._record(ticket, measurement)
        except DeviceError as error:
            self._unless_closed(error)
            return self._after(ticket, error)
        self._board.succeed(self._key)
        for other in ticket.accused - {self._key}:
            # The model works here, so it was not the model.
            if ticket.last_failure is not None:
                self._board.strike(other, ticket.last_failure)
        if self._monitor is not None:
            self._monitor.count()
        return result

    def _measure(self, ticket: Ticket) -> Measurement:
        """Raises DeviceError."""
        job = ticket.job
        properties = self._monitor.properties if self._monitor is not None else None
        device = GuardedDevice(self._device, self._services.gate, self._check, properties)
        measurement = measure(
            device,
            job.artifact,
            job.plan,
            earlier_blocks=ticket.blocks_of(device.info),
            first_index=ticket.next_index,
            on_block=ticket.keeper(),
        )
        if measurement.grade == "F" and not self._services.policy.accept_unusable:
            ticket.first_index = ticket.next_index
            raise NothingUsable("; ".join(measurement.reasons), device=device.info.name, command=job.artifact.label)
        return measurement

    def _after(self, ticket: Ticket, error: DeviceError) -> MeasurementResult | None:
        """What follows from an error; see `_attempt`."""
        worked = any(block.status == "ok" for block in ticket.blocks)
        judgement = judge(error, replace(ticket.history, worked=worked), self._services.policy.retry)
        _logger.warning("%s: %s", ticket.job.job_id, error)
        ticket.history, ticket.last_failure = judgement.history, error.failure()
        if judgement.blame == "device":
            self._board.strike(self._key, error)
        elif judgement.blame == "undecided":
            ticket.accused.add(self._key)
        # A phone that has stopped answering misses deadlines, too: opening it anew shows whether it was the phone.
        self._over = self._over or error.kind in ("infrastructure", "timeout")
        if judgement.failure is None:
            self._board.put_back(ticket, avoid=self._key, delay_s=judgement.delay_s)
            return None
        try:
            return self._record(ticket, judgement.failure)
        except DeviceError as stale:  # what is to be said of a model needs a valid lease as well
            return self._after(ticket, stale)

    def _record(self, ticket: Ticket, result: MeasurementResult) -> MeasurementResult:
        """Write a result down before anybody hears of it. Raises LeaseLost for what is learned from."""
        learned_from = isinstance(result, Measurement) or result.kind == "model"
        if learned_from:
            self._check()
        if self._services.journal is None:
            return result
        return self._services.journal.record(ticket.job.job_id, result, self._lease if learned_from else None)

    def _look_at_reference(self) -> None:
        """Measure the reference model if it is time. Raises DeviceError, DeviceDrifted."""
        monitor = self._monitor
        if monitor is None or not monitor.due:
            return
        device = GuardedDevice(self._device, self._services.gate, self._check)
        # A value out of line may be a moment's; several that agree are the device's new self.
        for _ in range(monitor.patience):
            reference = monitor.measure(device)
            if self._services.journal is not None and self._lease is not None:
                self._services.journal.add_reference(self._lease, reference)
            if reference.verdict != "shifted":
                return
            reason = f"the reference model's latency had shifted by {100 * reference.log_ratio:+.1f} %"
            _logger.warning("%s: %s", device.info.name, reason)
            self._mark(reason)
        raise DeviceDrifted(reason, device=device.info.name, hint="is something else running on it, or is it hot?")

    def _mark(self, reason: str) -> None:
        """Mark what was measured since the last good reference."""
        if self._services.journal is None or self._lease is None:
            return
        marked = self._services.journal.suspect_since_last_good(self._lease, reason)
        if marked and self._services.on_suspect is not None:
            self._services.on_suspect(marked, reason)

    def _check(self) -> None:
        """Raises LeaseLost."""
        if self._services.leases is not None and self._lease is not None:
            self._services.leases.check(self._lease)

    def _unless_closed(self, error: DeviceError) -> None:
        """When the fleet closes, devices are closed under their jobs: that is no error of theirs."""
        if self._board.closed:
            raise GateClosed("the backend was closed while this job ran") from error
