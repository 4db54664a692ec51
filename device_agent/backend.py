"""MeasurementBackend: measurement jobs in, futures out. All that a campaign knows of devices."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from device_agent.device import Artifact
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo, Failure, Measurement

MeasurementResult = Measurement | Failure
OnBlock = Callable[[Block], None]
Enough = Callable[[tuple[DeviceInfo, ...]], bool]


@dataclass(frozen=True)
class MeasurementJob:
    """One measurement to be made.

    Attributes:
        job_id: Names the job wherever it travels; a result is idempotent by it.
        artifact: What to measure.
        plan: How.
        device: Where: a device's name (or serial); or a model, and then any free device of that model.
        earlier_blocks: Blocks measured before an interruption.
    """

    job_id: str
    artifact: Artifact
    plan: MeasurementPlan
    device: str
    earlier_blocks: tuple[Block, ...] = ()


class MeasurementBackend(Protocol):
    """Gets jobs measured, here or elsewhere.

    `device_agent.local.LocalBackend` does it on a fixed set of devices of this process,
    `device_agent.fleet.FleetBackend` on phones that come and go.
    """

    def submit(self, job: MeasurementJob, on_block: OnBlock | None = None) -> Future[MeasurementResult]:
        """Start a job, or queue it.

        Args:
            job: What to do.
            on_block: Called with each block as it arrives, from a thread of the backend. What it raises ends the job
                and becomes the future's exception: a block that could not be kept was not measured.

        Returns:
            A future of the measurement, or of the failure: faults of devices and models are results, not exceptions.

        Raises:
            ValueError: The set of devices is fixed, and none is called so or is of such a model.
            RuntimeError: The backend is closed.
        """
        ...

    def inventory(self) -> tuple[DeviceInfo, ...]:
        """The devices that are there."""
        ...

    def await_devices(self, enough: Enough, timeout_s: float) -> tuple[DeviceInfo, ...]:
        """The inventory as soon as it is enough, or when so much time is over; phones come when they come."""
        ...

    def close(self) -> None:
        """Cancel what waits, stop what runs, release the devices; idempotent."""
        ...
