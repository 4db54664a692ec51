"""Collections for tests, written through the store: two models of phones, one of them with two phones that differ."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.collect.config import CollectConfig, parse_collection
from orchestrator.collect.plan import all_settings, make_jobs
from orchestrator.collect.records import CollectJob, CollectModel
from orchestrator.collect.store import STORE, CollectStore
from orchestrator.rig import JOURNAL
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo, Failure, Measurement
from profiling.statistics import estimate
from tests.orchestrator.report.journals import BEGUN_S, quiet, spread_over_time, write_journal

HOSTILE = "Galaxy <script>alert(2)</script>"
OFFSET_LOG = 0.04  # between the two phones of a model
REFUSED = Failure("model", "unsupported_operator", "CUSTOM <b>op</b> is not known", "stderr")
_CLUSTERS = [{"cpus": [0, 1, 2, 3], "max_khz": 1_800_000}, {"cpus": [4, 5], "max_khz": 2_400_000}]


def make_collection(models: int = 24, **changes: Any) -> CollectConfig:
    """Every model in two settings on both models of phones, some on two phones."""
    values: dict[str, Any] = {
        "name": "demo",
        "models": {"kind": "space", "space": {"kind": "nasbench201"}, "count": models},
        "devices": [{"kind": "adb", "model": "Pixel 7"}, {"kind": "adb", "model": HOSTILE}],
        "settings": {"precision": ["float32", "int8"]},
        "overlap": {"share": 0.5},
    }
    return parse_collection({**values, **changes}, source="test")


def phone(model: str, serial_hash: str) -> DeviceInfo:
    """Who a phone is."""
    properties = {"clusters": _CLUSTERS}
    return DeviceInfo(
        f"{model} {serial_hash}", "adb", model, serial_hash, "build 1", "arm64-v8a", "benchmark_model 2.17", properties
    )


PHONES = {"Pixel 7": [phone("Pixel 7", "0a1b"), phone("Pixel 7", "2c3d")], HOSTILE: [phone(HOSTILE, "4e5f")]}


def plan_collection(folder: Path, config: CollectConfig, models: int = 24) -> CollectStore:
    """A planned collection without results."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [CollectModel(i, f"model{i}", "nasbench201", f"model{i}") for i in range(models)]
    found.append(CollectModel(models, "broken.tflite", failure=Failure("model", "corrupt", "it is no flatbuffer")))
    store = CollectStore.create(
        folder / STORE, {"id": "ab12", "environment": {"python": "3.11", "os": {"kernel": "6"}}}
    )
    store.set_meta("config", config.model_dump(mode="json"))
    replicas = {name: len(PHONES.get(name, [])) for name in config.device_names}
    store.add_plan(found, all_settings(config), make_jobs(config, found, replicas), config.device_names)
    store._connection.execute("PRAGMA synchronous = OFF")
    return store


def fill_collection(store: CollectStore, config: CollectConfig, *, leave: int = 6) -> None:
    """Results for all jobs but the last ones of each device; the second Pixel is slower, and hot for a while."""
    rng = np.random.default_rng(0)
    for device in config.device_names:
        jobs = store.waiting(device, -1, 100_000)
        for number, job in enumerate(jobs[: len(jobs) - leave]):
            at = BEGUN_S + 600.0 * number
            phones = PHONES[device]
            info = phones[(job.replicate if job.overlap else number) % len(phones)]
            if number % 17 == 5:
                store.add_result(job, REFUSED, at=at, since=0)
                continue
            hot = info is PHONES["Pixel 7"][1] and 20 <= number < 30
            store.add_result(job, _measured(job, info, hot, at, rng), at=at, since=0)
            if hot:
                store.mark_suspect([job.id], "the reference model's latency had shifted")
        store.put_off(jobs[-1], Failure("infrastructure", "device_lost", "the phone <went>"))


def _measured(job: CollectJob, info: DeviceInfo, hot: bool, at: float, rng: np.random.Generator) -> Measurement:
    slow = OFFSET_LOG * (info is PHONES["Pixel 7"][1]) + 0.3 * hot
    level = 1.0 + 0.05 * job.model.id - 0.6 * (job.setting.precision == "int8") + slow
    blocks = []
    for index, value in enumerate(np.exp(level + rng.normal(0, 0.01, 5))):
        temperature = 31.0 + 9.0 * hot + 2 * math.sin(at / 9000) + float(rng.normal(0, 0.3))
        reading = {
            "temp_c": temperature,
            "battery_c": temperature - 4,
            "thermal_status": 2 if hot else 0,
            "frequency_khz": [1_800_000, 1_500_000 if hot else 2_400_000],
            "limit_khz": [1_800_000, 1_600_000 if hot else 2_400_000],
        }
        reason = "throttled" if hot and index % 2 == 1 else "not_steady" if rng.random() < 0.03 else ""
        blocks.append(
            Block(
                index=index,
                runs=50,
                statistic="median",
                value_ms=float(value),
                started_at=at + index,
                status="rejected" if reason else "ok",
                reason=reason,
                conditions={"before": reading, "after": reading},
            )
        )
    return estimate(blocks, MeasurementPlan(), "ab" * 32, info)


def write_collection(folder: Path, *, models: int = 24, leave: int = 6) -> Path:
    """A collection that goes on, with its journal: the second Pixel was hot once."""
    config = make_collection(models)
    with plan_collection(folder, config, models) as store:
        fill_collection(store, config, leave=leave)
    hot = quiet(40, seed=2)
    hot[18] += 0.3
    write_journal(folder / JOURNAL, "SERIAL1", PHONES["Pixel 7"][0], quiet(40, seed=1))
    write_journal(folder / JOURNAL, "SERIAL2", PHONES["Pixel 7"][1], hot)
    updated = quiet(20, seed=3) + quiet(8, seed=4, level=1.9) + quiet(12, seed=5, level=2.0)
    epochs = ["build 1"] * 20 + ["build 2"] * 20
    write_journal(folder / JOURNAL, "SERIAL3", PHONES[HOSTILE][0], updated, epochs=epochs)
    spread_over_time(folder / JOURNAL)
    return folder
