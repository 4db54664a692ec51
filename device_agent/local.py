"""LocalBackend: measurement on a fixed set of devices of this process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future

from device_agent.backend import Enough, MeasurementJob, MeasurementResult, OnBlock
from device_agent.device import Device
from device_agent.discovery import FixedDevices
from device_agent.fleet import FleetBackend
from device_agent.gate import HostGate
from device_agent.health import HealthPolicy
from device_agent.retry import RetryPolicy
from device_agent.session import FleetPolicy
from profiling.records import DeviceInfo


class LocalBackend:
    """A fleet whose devices are always there: errors are retried at once, on the same device or on one of its model."""

    def __init__(
        self,
        devices: Sequence[Device],
        host_gate: HostGate | None = None,
        *,
        retries: int = 2,
        accept_unusable: bool = False,
    ) -> None:
        """Args:
            devices: Owned and closed by the backend; their names are unique.
            host_gate: Blocks on devices of kind `host` run inside its `measuring()`. Closed with the backend.
            retries: How often a measurement goes on after an infrastructure error, with the blocks it has.
            accept_unusable: For callers that judge blocks themselves: a measurement without a usable block is a result.

        Raises:
            ValueError: Two devices have the same name.
        """
        self._infos = tuple(device.info for device in devices)
        policy = FleetPolicy(
            retry=RetryPolicy(attempts=retries + 1, timeouts=1, confirmations=1, first_delay_s=0.0),
            health=HealthPolicy(first_quarantine_s=0.0),
            patience_s=math.inf,
            idle_s=None,
            accept_unusable=accept_unusable,
        )
        self._fleet = FleetBackend([FixedDevices(devices)], policy=policy, host_gate=host_gate)

    def submit(self, job: MeasurementJob, on_block: OnBlock | None = None) -> Future[MeasurementResult]:
        """See `MeasurementBackend.submit`."""
        if not any(job.device in (info.name, info.model) for info in self._infos):
            known = ", ".join(repr(info.name) for info in self._infos)
            raise ValueError(f"no device {job.device!r}; there is {known}")
        return self._fleet.submit(job, on_block)

    def inventory(self) -> tuple[DeviceInfo, ...]:
        """The devices, in the order given."""
        return self._infos

    def await_devices(self, enough: Enough, timeout_s: float) -> tuple[DeviceInfo, ...]:
        """The devices, at once: others will not come."""
        return self._infos

    def close(self) -> None:
        """See `MeasurementBackend.close`."""
        self._fleet.close()
