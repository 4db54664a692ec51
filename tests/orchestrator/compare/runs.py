"""Run folders with latencies that are known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.collect.records import CollectArtifact, CollectJob, CollectModel, Setting
from orchestrator.collect.store import STORE, CollectStore
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo, Failure, Measurement
from profiling.statistics import estimate

SETTING = Setting("original", "cpu", 1)
PHONE = DeviceInfo("Pixel 7 aaaa", "adb", "Pixel 7", "aaaa", "build-1", "arm64-v8a", "benchmark_model 1111")
OTHER = DeviceInfo("Pixel 8 bbbb", "adb", "Pixel 8", "bbbb", "build-8", "arm64-v8a", "benchmark_model 1111")
LEVELS_MS = {f"net{index}.tflite": 2.0 + 1.5 * index for index in range(8)}


def collection(
    folder: Path,
    *,
    seed: int = 0,
    phones: Sequence[DeviceInfo] = (PHONE,),
    change: Mapping[str, float] | None = None,
    models: Sequence[str] = tuple(LEVELS_MS),
    rebuilt: Sequence[str] = (),
    failures: Mapping[str, Failure] | None = None,
    temp_c: float = 30.0,
    environment: Mapping[str, Any] | None = None,
    blocks: int = 6,
    noise: float = 0.008,
) -> Path:
    """A collection in which every model was measured once on every phone; `change` multiplies latencies."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    plan = [CollectModel(index, name) for index, name in enumerate(models)]
    devices = list(dict.fromkeys(phone.model for phone in phones))
    pairs = [(model, phone) for model in plan for phone in phones]
    jobs = [CollectJob(number, model, SETTING, phone.model) for number, (model, phone) in enumerate(pairs)]
    meta = {"config": {"name": folder.name}, "environment": dict(environment or {"python": "3.12"})}
    with CollectStore.create(folder / STORE, meta) as store:
        store.add_plan(plan, [SETTING], jobs, devices)
        for model in plan:
            sha256 = f"{model.name}{'+' if model.name in rebuilt else ''}".encode().hex()
            store.add_artifact(model, SETTING.precision, CollectArtifact(sha256, 1000))
        for job, (model, phone) in zip(jobs, pairs, strict=True):
            if failures and model.name in failures:
                store.add_result(job, failures[model.name], at=1.0, since=0.0)
                continue
            level = math.log(LEVELS_MS[model.name] * (change or {}).get(model.name, 1.0))
            values = np.exp(level + rng.normal(0, noise, blocks))
            made = [
                Block(i, 50, "median", float(value), conditions={"before": {"temp_c": temp_c}, "threads": 1})
                for i, value in enumerate(values)
            ]
            measured: Measurement = estimate(made, MeasurementPlan(), "", phone)
            store.add_result(job, measured, at=float(job.id), since=0.0)
    return folder


def updated(phone: DeviceInfo, **changes: Any) -> DeviceInfo:
    """The same phone, changed."""
    return dataclasses.replace(phone, **changes)
