"""GuardedDevice: a device whose blocks run only while that is allowed, and say where they ran."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Literal

from device_agent.device import Artifact, Device
from device_agent.gate import HostGate
from device_agent.ticket import MEASURED_ON, stamp
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo


class GuardedDevice:
    """Wraps a device for the time that a worker has it.

    Args:
        device: Which.
        gate: Blocks on devices of kind `host` run inside its `measuring()`.
        check: Called before and after each block; raises when the device must not be used any more.
        properties: Added to those of the device's info.
    """

    def __init__(
        self, device: Device, gate: HostGate, check: Callable[[], None], properties: Mapping[str, Any] | None = None
    ) -> None:
        self._device = device
        self._gate = gate
        self._check = check
        self._properties = properties or {}

    @property
    def info(self) -> DeviceInfo:
        """The device's, with the added properties."""
        info = self._device.info
        return replace(info, properties={**info.properties, **self._properties}) if self._properties else info

    @property
    def identity(self) -> Literal["artifact", "architecture"]:
        """The device's."""
        return self._device.identity

    def deploy(self, artifact: Artifact) -> None:
        """See `Device.deploy`."""
        self._check()
        self._device.deploy(artifact)

    def run_block(self, artifact: Artifact, plan: MeasurementPlan, index: int) -> Block:
        """See `Device.run_block`; raises what `check` raises, and GateClosed."""
        self._check()
        with self._turn():
            block = self._device.run_block(artifact, plan, index)
        # Somebody else may have used the phone meanwhile.
        self._check()
        return replace(block, conditions={**block.conditions, MEASURED_ON: stamp(self._device.info)})

    def health(self) -> tuple[str, ...]:
        """See `Device.health`."""
        return self._device.health()

    def close(self) -> None:
        """See `Device.close`."""
        self._device.close()

    def _turn(self) -> AbstractContextManager[None]:
        return self._gate.measuring() if self._device.info.kind == "host" else nullcontext()
