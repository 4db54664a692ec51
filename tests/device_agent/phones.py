"""Devices that come and go when a test says so, and do what it says."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from device_agent.device import Artifact, Device
from device_agent.discovery import Sighting
from device_agent.errors import InfrastructureError
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo

Run = Callable[[Artifact, int], float]  # artifact and how often this device has run anything -> latency


def steady(artifact: Artifact, count: int) -> float:
    """Ten milliseconds, always."""
    return 10.0


class Bench:
    """A discovery, and the phones on it."""

    def __init__(self) -> None:
        self._phones: dict[str, Sighting] = {}
        self._snapshots: queue.SimpleQueue[list[Sighting] | None] = queue.SimpleQueue()
        self._snapshots.put([])

    def plug(self, *devices: BenchPhone, state: str = "device") -> None:
        """They are there now."""
        for device in devices:
            self._phones[device.key] = Sighting(device.key, device.opened, state)
        self._snapshots.put(list(self._phones.values()))

    def unplug(self, *devices: BenchPhone) -> None:
        """They are gone now."""
        for device in devices:
            del self._phones[device.key]
        self._snapshots.put(list(self._phones.values()))

    def snapshots(self) -> Iterator[Sequence[Sighting]]:
        while (snapshot := self._snapshots.get()) is not None:
            yield snapshot

    def close(self) -> None:
        self._snapshots.put(None)


class BenchPhone:
    """A phone whose runs a test decides on; it counts what happens to it."""

    def __init__(self, key: str, run: Run = steady, *, model: str = "Pixel 7", epoch: str = "1") -> None:
        self.key = key
        self.run = run
        self.epoch = epoch
        self._model = model
        self.runs = 0
        self.opened_times = 0
        self.closed_times = 0
        self.was_closed = threading.Event()

    @property
    def in_use(self) -> bool:
        """Opened and not closed again."""
        return self.opened_times > self.closed_times

    def opened(self) -> Device:
        self.opened_times += 1
        return _Opened(self)

    @property
    def info(self) -> DeviceInfo:
        return DeviceInfo(
            f"name of {self.key}", "adb", self._model, serial_hash=self.key, epoch=self.epoch, runtime="test 1"
        )


class _Opened:
    """One user's handle of a phone."""

    def __init__(self, phone: BenchPhone) -> None:
        self._phone = phone
        self._closed = False

    @property
    def info(self) -> DeviceInfo:
        return self._phone.info

    @property
    def identity(self) -> Literal["artifact", "architecture"]:
        return "artifact"

    def deploy(self, artifact: Artifact) -> None:
        if self._closed:
            raise InfrastructureError("the device was closed", device=self._phone.key)

    def run_block(self, artifact: Artifact, plan: MeasurementPlan, index: int) -> Block:
        self.deploy(artifact)
        self._phone.runs += 1
        latency_ms = self._phone.run(artifact, self._phone.runs)
        if latency_ms < 0:
            return Block(index, 20, "median", -latency_ms, status="rejected", reason="throttled")
        return Block(index, 20, "median", latency_ms)

    def health(self) -> tuple[str, ...]:
        return ()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._phone.closed_times += 1
            self._phone.was_closed.set()
