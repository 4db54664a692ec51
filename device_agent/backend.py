"""MeasurementBackend: measurement jobs in, futures out; LocalBackend does it with threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, Protocol

from device_agent.device import Artifact, Device
from device_agent.errors import DeviceError, InfrastructureError
from device_agent.gate import GateClosed, HostGate
from device_agent.measure import measure
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo, Failure, Measurement

MeasurementResult = Measurement | Failure
OnBlock = Callable[[Block], None]


@dataclass(frozen=True)
class MeasurementJob:
    """One measurement to be made.

    Attributes:
        job_id: Names the job wherever it travels; a result is idempotent by it.
        artifact: What to measure.
        plan: How.
        device: Where: a device's name; or a model, and then any free device of that model.
        earlier_blocks: Blocks measured before an interruption.
    """

    job_id: str
    artifact: Artifact
    plan: MeasurementPlan
    device: str
    earlier_blocks: tuple[Block, ...] = ()


class MeasurementBackend(Protocol):
    """Gets jobs measured, here or elsewhere; all that a campaign knows of devices."""

    def submit(self, job: MeasurementJob, on_block: OnBlock | None = None) -> Future[MeasurementResult]:
        """Start a job, or queue it.

        Args:
            job: What to do.
            on_block: Called with each block as it arrives, from a thread of the backend. What it raises ends the job
                and becomes the future's exception: a block that could not be kept was not measured.

        Returns:
            A future of the measurement, or of the failure: faults of devices and models are results, not exceptions.

        Raises:
            ValueError: No device is called so, and none is of such a model.
        """
        ...

    def inventory(self) -> tuple[DeviceInfo, ...]:
        """The devices."""
        ...

    def close(self) -> None:
        """Cancel what waits, stop what runs, release the devices; idempotent."""
        ...


@dataclass(frozen=True)
class _Queued:
    """A job that no worker has taken yet."""

    job: MeasurementJob
    on_block: OnBlock | None
    future: Future[MeasurementResult]


class LocalBackend:
    """One worker thread per device; a free one takes the oldest job that it can do."""

    def __init__(self, devices: Sequence[Device], host_gate: HostGate | None = None, *, retries: int = 2) -> None:
        """Args:
        devices: Owned and closed by the backend; their names are unique.
        host_gate: Blocks on devices of kind `host` run inside its `measuring()`. Closed with the backend.
        retries: How often a measurement goes on after an infrastructure error, with the blocks it has.
        """
        names = [device.info.name for device in devices]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two devices are called {repeated.pop()!r}")
        self._devices = tuple(devices)
        self._gate = host_gate or HostGate()
        self._retries = retries
        self._queue: list[_Queued] = []
        self._changed = threading.Condition()
        self._closed = False
        self._workers = [
            threading.Thread(target=self._work, args=(device,), name=f"device-{device.info.name}", daemon=True)
            for device in self._devices
        ]
        for worker in self._workers:
            worker.start()

    def submit(self, job: MeasurementJob, on_block: OnBlock | None = None) -> Future[MeasurementResult]:
        """See `MeasurementBackend.submit`. Raises RuntimeError after `close`."""
        if not any(self._can_do(device, job) for device in self._devices):
            known = ", ".join(repr(device.info.name) for device in self._devices)
            raise ValueError(f"no device {job.device!r}; there is {known}")
        future: Future[MeasurementResult] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the backend is closed")
            self._queue.append(_Queued(job, on_block, future))
            self._changed.notify_all()
        return future

    def inventory(self) -> tuple[DeviceInfo, ...]:
        """The devices, in the order given."""
        return tuple(device.info for device in self._devices)

    def close(self) -> None:
        """Cancel what waits, stop what runs, release the devices and the gate; idempotent."""
        with self._changed:
            self._closed = True
            waiting, self._queue = self._queue, []
            self._changed.notify_all()
        for queued in waiting:
            queued.future.cancel()
        self._gate.close()
        for device in self._devices:
            device.close()
        for worker in self._workers:
            if worker is not threading.current_thread():
                worker.join()

    def _can_do(self, device: Device, job: MeasurementJob) -> bool:
        """A name says which device; only when no device has that name is it a model."""
        if any(other.info.name == job.device for other in self._devices):
            return device.info.name == job.device
        return device.info.model == job.device

    def _work(self, device: Device) -> None:
        """A worker's life."""
        while (queued := self._take(device)) is not None:
            if not queued.future.set_running_or_notify_cancel():
                continue
            try:
                result = self._measure(device, queued)
            except Exception as error:  # as in concurrent.futures: whoever waits for the future must hear of it
                queued.future.set_exception(error)
            else:
                queued.future.set_result(result)

    def _take(self, device: Device) -> _Queued | None:
        """The oldest job for this device; None when the backend is closed."""
        with self._changed:
            while not self._closed:
                for position, queued in enumerate(self._queue):
                    if self._can_do(device, queued.job):
                        return self._queue.pop(position)
                self._changed.wait()
        return None

    def _measure(self, device: Device, queued: _Queued) -> MeasurementResult:
        """The measurement, or why there is none; infrastructure errors are retried with the blocks had so far."""
        job = queued.job
        blocks = list(job.earlier_blocks)

        def keep(block: Block) -> None:
            blocks.append(block)
            if queued.on_block is not None:
                queued.on_block(block)

        gated = _GatedDevice(device, self._gate) if device.info.kind == "host" else device
        attempt = 0
        while True:
            try:
                return measure(gated, job.artifact, job.plan, earlier_blocks=tuple(blocks), on_block=keep)
            except InfrastructureError as error:
                if self._closed:
                    raise GateClosed("the backend was closed while this job ran") from error
                if attempt == self._retries:
                    return error.failure()
                attempt += 1
            except DeviceError as error:
                return error.failure()


class _GatedDevice:
    """A device whose blocks have the machine for themselves."""

    def __init__(self, device: Device, gate: HostGate) -> None:
        self._device = device
        self._gate = gate

    @property
    def info(self) -> DeviceInfo:
        return self._device.info

    @property
    def identity(self) -> Literal["artifact", "architecture"]:
        return self._device.identity

    def deploy(self, artifact: Artifact) -> None:
        self._device.deploy(artifact)

    def run_block(self, artifact: Artifact, plan: MeasurementPlan, index: int) -> Block:
        with self._gate.measuring():
            return self._device.run_block(artifact, plan, index)

    def health(self) -> tuple[str, ...]:
        return self._device.health()

    def close(self) -> None:
        self._device.close()
