"""Reference models: measured on every phone between its other measurements, they show when it drifts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from device_agent.device import Artifact, Device
from device_agent.errors import InfrastructureError, ModelError
from device_agent.journal import Reference
from device_agent.measure import measure
from profiling.drift import ChartPolicy, ControlChart
from profiling.network import INPUT, Conv2D, DepthwiseConv2D, FullyConnected, GlobalMean, Network
from profiling.plan import MeasurementPlan
from profiling.records import DeviceInfo
from profiling.tflite import emit
from profiling.weights import random_weights


class DeviceDrifted(InfrastructureError):
    """The reference model's latency is not what it was on this phone."""

    code = "drift"


@cache
def reference_artifact() -> Artifact:
    """A small mobile network, 31 million multiply-adds: some milliseconds on a phone, and the same bytes for ever."""
    layers: list[Conv2D | DepthwiseConv2D | GlobalMean | FullyConnected] = [
        Conv2D("stem", (INPUT,), 32, 3, stride=2, activation="relu")
    ]
    for index, filters in enumerate((64, 128, 256)):
        previous = layers[-1].name
        layers.append(DepthwiseConv2D(f"depthwise{index}", (previous,), 3, stride=2, activation="relu"))
        layers.append(Conv2D(f"pointwise{index}", (f"depthwise{index}",), filters, 1, activation="relu"))
    layers += [GlobalMean("mean", (layers[-1].name,)), FullyConnected("classes", ("mean",), 10)]
    network = Network("reference", (1, 224, 224, 3), tuple(layers))
    return Artifact.of(emit(network, random_weights(network)), "reference")


@dataclass(frozen=True)
class ReferencePlan:
    """What is measured as a reference, and how often.

    Attributes:
        artifact: The model.
        plan: How it is measured.
        every: After so many measurements on a phone.
        every_s: After so much time.
        chart: When its latency counts as changed.
    """

    artifact: Artifact = field(default_factory=reference_artifact)
    plan: MeasurementPlan = field(default_factory=lambda: MeasurementPlan(min_blocks=3, max_blocks=3))
    every: int = 10
    every_s: float = 600.0
    chart: ChartPolicy = field(default_factory=ChartPolicy)

    def __post_init__(self) -> None:
        if self.every < 1 or self.every_s <= 0:
            raise ValueError(f"references are measured after at least one measurement and some time, got {self}")


class ReferenceMonitor:
    """The references of one device: when the next one is due, and what the last ones say.

    Args:
        plan: What, and how often.
        info: The device: only references of the same epoch are compared.
        earlier: References from before, in order; those of other models and epochs are left out.
        clock: Seconds.

    Attributes:
        chart: Its control chart.
        patience: How many alarms in a row may be waited for to agree.
    """

    def __init__(
        self,
        plan: ReferencePlan,
        info: DeviceInfo,
        earlier: tuple[Reference, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self.patience = plan.chart.agreeing
        self._epoch = info.epoch
        self._clock = clock
        self._since = 0
        self._last_s: float | None = None
        self._log_ratio = 0.0
        self.chart = ControlChart(plan.chart)
        for reference in earlier:
            if (reference.artifact_sha256, reference.epoch) == (plan.artifact.sha256, info.epoch):
                self.chart, _ = self.chart.observe(reference.log_latency)

    @property
    def due(self) -> bool:
        """Whether a reference has to be measured before anything else: always at the beginning of a session."""
        if self._last_s is None:
            return True
        return self._since >= self._plan.every or self._clock() - self._last_s >= self._plan.every_s

    def begin(self) -> None:
        """A session begins: whatever happened to the phone since the last one, the next reference will show."""
        self._last_s = None

    def count(self) -> None:
        """Something was measured on the device."""
        self._since += 1

    @property
    def properties(self) -> dict[str, Any]:
        """What measurements are to say of the references around them.

        How well the device reproduces the reference bounds how well it reproduces anything.
        """
        chart = {"log_ratio": self._log_ratio, "count": self.chart.count, "generation": self.chart.generation}
        sd_log = self.chart.sd_log
        return {"reference": chart} | ({} if sd_log is None else {"reproducibility_sd_log": sd_log})

    def measure(self, device: Device) -> Reference:
        """Measure the reference model and judge it.

        Raises:
            InfrastructureError: It cannot be measured; a phone that cannot run it is at fault itself.
            CommandTimeout: It missed its deadline.
        """
        try:
            measurement = measure(device, self._plan.artifact, self._plan.plan)
        except ModelError as error:
            raise InfrastructureError(
                f"the reference model does not run: {error.message}", device=device.info.name, code="reference_failed"
            ) from error
        if measurement.grade == "F":
            raise InfrastructureError(
                f"the reference model gave no estimate: {'; '.join(measurement.reasons)}",
                device=device.info.name,
                code="reference_failed",
            )
        log_latency = math.log(measurement.latency_ms)
        self.chart, reading = self.chart.observe(log_latency)
        if reading.verdict != "shifted":
            self._since, self._last_s = 0, self._clock()
            self._log_ratio = 0.0 if reading.verdict == "recalibrated" else reading.log_ratio
        return Reference(self._plan.artifact.sha256, self._epoch, log_latency, reading.log_ratio, reading.verdict)
