"""Small collections for tests."""

from __future__ import annotations

from pathlib import Path

from orchestrator.collect.records import CollectJob, CollectModel, Setting
from orchestrator.collect.store import STORE, CollectStore
from profiling.records import Block, DeviceInfo, Measurement

SETTINGS = (Setting("float32", "cpu", 1), Setting("int8", "cpu", 4))


def planned_store(folder: Path, models: int = 3, devices: tuple[str, ...] = ("host", "Pixel 7")) -> CollectStore:
    """A store with a plan and no results: every model in every setting on every device."""
    plan = [CollectModel(i, f"model{i}", "nasbench201", f"model{i}") for i in range(models)]
    wanted = [(model, setting, device) for model in plan for setting in SETTINGS for device in devices]
    store = CollectStore.create(folder / STORE, {})
    store.add_plan(plan, SETTINGS, (CollectJob(i, *values) for i, values in enumerate(wanted)), devices)
    return store


def measurement(latency_ms: float = 2.0, phone: str = "0a1b", device: str = "Pixel 7") -> Measurement:
    """One with two blocks, the second rejected."""
    blocks = (
        Block(0, 20, "median", latency_ms, p95_ms=2.5, conditions={"threads": 1}),
        Block(1, 20, "median", 3.0, status="rejected", reason="throttled"),
    )
    info = DeviceInfo(f"{device} {phone}", "adb", model=device, serial_hash=phone)
    return Measurement(latency_ms, 0.01, 1.9, 2.1, blocks, "B", ("1 block",), 0.02, "ab" * 32, info)
