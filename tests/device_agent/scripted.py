"""A device that gives the blocks, or raises the errors, that a test wrote down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from device_agent.device import Artifact
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo

Step = float | Exception | Callable[[], float]


class ScriptedDevice:
    """Every block takes the step at its index: a latency (negative: rejected), an error (once), or a call for one."""

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        name: str = "scripted",
        kind: str = "virtual",
        model: str = "",
        properties: dict[str, Any] | None = None,
    ) -> None:
        self._steps = list(steps)
        self._info = DeviceInfo(name, kind, model, epoch="1", runtime="script 1", properties=properties or {})
        self.deployed: list[str] = []
        self.closed = False

    @property
    def info(self) -> DeviceInfo:
        return self._info

    @property
    def identity(self) -> Literal["artifact", "architecture"]:
        return "artifact"

    def deploy(self, artifact: Artifact) -> None:
        self.deployed.append(artifact.sha256)

    def run_block(self, artifact: Artifact, plan: MeasurementPlan, index: int) -> Block:
        step = self._steps[index]
        if isinstance(step, Exception):
            del self._steps[index]
            raise step
        value = step() if callable(step) else step
        if value < 0:
            return Block(index, 20, "median", -value, status="rejected", reason="throttled")
        return Block(index, 20, "median", value)

    def health(self) -> tuple[str, ...]:
        return ()

    def close(self) -> None:
        self.closed = True
