"""The Device protocol: something that runs artifacts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo


@dataclass(frozen=True)
class Artifact:
    """A compiled `.tflite`, named by its sha256.

    Attributes:
        sha256: Content address; for devices keyed by architecture, may be empty.
        data: The bytes; empty for devices that run nothing.
        label: What people and tables call it: the architecture's canonical string, or a file name.
    """

    sha256: str
    data: bytes
    label: str

    @classmethod
    def of(cls, data: bytes, label: str) -> Artifact:
        """The artifact with these bytes."""
        return cls(hashlib.sha256(data).hexdigest(), data, label)


@runtime_checkable
class Device(Protocol):
    """Runs one artifact at a time, one block after another; not thread-safe (a worker owns it).

    Every implementation passes `tests/contracts/device_contract.py`.
    """

    @property
    def info(self) -> DeviceInfo:
        """Identity, runtime and properties; cheap after the first call."""
        ...

    @property
    def identity(self) -> Literal["artifact", "architecture"]:
        """What names a measured thing: the artifact's sha256, or the label (tables)."""
        ...

    def deploy(self, artifact: Artifact) -> None:
        """Make the artifact available; a second call with the same artifact costs nothing.

        Raises:
            DeviceError: It could not be made available.
        """
        ...

    def run_block(self, artifact: Artifact, plan: MeasurementPlan, index: int) -> Block:
        """Run one block in a process of its own.

        Raises:
            ModelError: The model does not work on this device's runtime.
            CommandTimeout: The deadline passed; nothing is left running.
            InfrastructureError: Anything that is not the model's fault.
        """
        ...

    def health(self) -> tuple[str, ...]:
        """What limits the accuracy of measurements now, one sentence each; empty when all is well."""
        ...

    def close(self) -> None:
        """Release everything; idempotent."""
        ...
