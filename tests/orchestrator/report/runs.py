"""Run folders for tests, written through the store with believable values: real networks, simulated blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.campaign.config import ACCURACY, Config, latency_metric, parse_config
from orchestrator.campaign.folder import STORE
from orchestrator.objective.base import AccuracyResult
from orchestrator.space.base import Architecture
from orchestrator.space.nasbench201 import NASBench201
from profiling.network import Network
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo, Failure, Measurement
from profiling.statistics import estimate
from profiling.store import CampaignStore, CandidateRow, NetworkRow, Purpose
from profiling.tflite import emit
from profiling.weights import random_weights, save_weights

SPACE = NASBench201()
CRASH = Failure("model", "crash", "the runner died with signal 11", "Segmentation fault <script>alert(1)</script>")
DIVERGED = Failure("model", "diverged", "the loss is not a number after 12 steps")
_OPERATOR_GAIN = np.array([0.0, 1.5, 4.0, 6.0, 1.0])


def make_config(**changes: Any) -> Config:
    """A small Pareto campaign on this host."""
    values: dict[str, Any] = {
        "name": "demo",
        "space": {"kind": "nasbench201", "input": [1, 8, 8, 3], "channels": 4, "cells": 1},
        "generator": {"kind": "random", "pool": 64},
        "accuracy": {"kind": "training", "dataset": "digits", "epochs": 3},
        "devices": [{"kind": "host"}],
        "budget": {"candidates": 20, "batch": 4, "initial": 8},
    }
    return parse_config({**values, **changes}, source="test")


@dataclass
class RunWriter:
    """Writes a campaign as the loop would: rounds, results one by one, verification.

    Attributes:
        folder: The run folder.
        config: The campaign.
        seed: Of all values.
    """

    folder: Path
    config: Config
    seed: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        meta = {"config": self.config.model_dump(mode="json"), "environment": ENVIRONMENT}
        self.store = CampaignStore.create(self.folder / STORE, meta)
        self._rng = np.random.default_rng(self.seed)
        self._count = 0

    @cached_property
    def _order(self) -> list[int]:
        """Architectures of different networks, in random order."""
        order, seen = [], set()
        for index in self._rng.permutation(len(SPACE.all()))[: 20 * self.config.budget.candidates]:
            key = SPACE.computation(SPACE.at(int(index)))
            if key and key not in seen:
                seen.add(key)
                order.append(int(index))
        return order

    def propose(self, count: int) -> list[int]:
        """Commit a round; returns the ids of its candidates."""
        index = len(self.store.rounds())
        rows = []
        for number in range(self._count, self._count + count):
            architecture = SPACE.at(self._order[number])
            rows.append(
                CandidateRow(
                    id=number,
                    round=index,
                    architecture=architecture.text,
                    slots=architecture.slots,
                    identity=SPACE.computation(architecture),
                    seed=number,
                    origin=("diffusion_nag" if number % 2 else "evolution") if index else "initial",
                    acquisition=0.1 if index else None,
                    predictions=self._predictions(architecture) if index else {},
                )
            )
        generator = {"validity_unprojected": 0.998, "utility_calls": 1024}
        self.store.add_round(index, {"seconds": 0.8, **({"generator": generator} if index else {})}, rows)
        self._count += count
        return [row.id for row in rows]

    def finish(self, candidates: Sequence[int], *, weights: bool = False) -> None:
        """Every result of these candidates."""
        for candidate in candidates:
            self.accuracy(candidate, weights=weights)
            for device in self.config.devices:
                self.latency(candidate, device.name)

    def accuracy(self, candidate: int, *, weights: bool = False, failure: Failure | None = None) -> None:
        """The accuracy, or its failure."""
        if failure is not None:
            self.store.add_accuracy(candidate, failure)
            return
        architecture = self.architecture(candidate)
        path = None
        if weights:
            path = Path("candidates") / str(candidate) / "weights.safetensors"
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            save_weights(self.folder / path, random_weights(self.network(candidate), seed=candidate + 1))
        value = true_accuracy(architecture) + float(self._rng.normal(0, 0.5))
        self.store.add_accuracy(candidate, AccuracyResult(value, 0.8, 3.2, path, {"epochs": 3}).to_json())

    def latency(
        self, candidate: int, device: str, *, purpose: Purpose = "search", failure: Failure | None = None
    ) -> None:
        """The latency with its blocks, or its failure after one block."""
        network = self.network(candidate)
        artifact = emit(network, random_weights(network))
        row = NetworkRow(hashlib.sha256(artifact).hexdigest(), len(artifact), network.parameters, network.multiply_adds)
        self.store.add_network(candidate, row)
        blocks = self._blocks(true_latency_ms(network, device), 5 if purpose == "search" else 8)
        for block in blocks[: 1 if failure else None]:
            self.store.add_block(candidate, device, block, purpose)
        result: Measurement | Failure = failure or estimate(blocks, PLAN, row.artifact_sha256, device_info(device))
        self.store.add_measurement(candidate, device, result, purpose)

    def close(self, *, reason: str = "", reference: Sequence[float] | None = None) -> Path:
        """Close the store; with a reason, the campaign is finished."""
        if reference is not None:
            self.store.set_meta("reference", list(reference))
        if reason:
            # After every result, as the loop's clock would have it.
            self.store.set_meta("finished", {"at": 4e9, "reason": reason})
            self.store.set_meta("worked_s", 131.0)
        self.store.close()
        return self.folder

    def architecture(self, candidate: int) -> Architecture:
        """Of a candidate."""
        return SPACE.at(self._order[candidate])

    def network(self, candidate: int) -> Network:
        """Of a candidate."""
        return SPACE.network(self.architecture(candidate), self.config.space.network_options())

    def _blocks(self, latency_ms: float, count: int) -> list[Block]:
        values = latency_ms * np.exp(self._rng.normal(0, 0.008, count))
        throttled = self._rng.random() < 0.2
        return [
            Block(
                index=index,
                runs=200,
                statistic="median",
                value_ms=float(value) * (1.6 if throttled and index == 1 else 1.0),
                duration_s=0.3,
                status="rejected" if throttled and index == 1 else "ok",
                reason="not_steady" if throttled and index == 1 else "",
            )
            for index, value in enumerate(values)
        ]

    def _predictions(self, architecture: Architecture) -> Mapping[str, Mapping[str, float]]:
        network = SPACE.network(architecture, self.config.space.network_options())
        found = {ACCURACY: {"mean": true_accuracy(architecture) + float(self._rng.normal(0, 1.5)), "sd": 1.5}}
        for device in self.config.devices:
            median = true_latency_ms(network, device.name) * float(np.exp(self._rng.normal(0, 0.06)))
            found[latency_metric(device.name)] = {"mean": median, "sd": 0.06}
        return found


PLAN = MeasurementPlan()
ENVIRONMENT = {"python": "3.11.7", "platform": "Linux-6.1 <x86_64>", "libraries": {"torch": "2.13.0", "numpy": "2.4"}}


def true_accuracy(architecture: Architecture) -> float:
    """Percent: convolutions help, ever less."""
    return float(97 - 60 * np.exp(-0.12 * _OPERATOR_GAIN[list(architecture.slots)].sum()))


def true_latency_ms(network: Network, device: str) -> float:
    """Grows with the multiply-adds; slower on devices whose name says so."""
    return (0.02 + network.multiply_adds / 2e6) * (4.0 if "slow" in device else 1.0)


def device_info(name: str) -> DeviceInfo:
    """An identity."""
    return DeviceInfo(name, "host", model="Test CPU", epoch="kernel 6.1", abi="x86_64", runtime="ai-edge-litert 2.3.0")


def write_run(folder: Path, *, weights: bool = False, **changes: Any) -> Path:
    """A finished campaign: three rounds, two failures, two winners verified."""
    writer = RunWriter(folder, make_config(**changes))
    first = writer.propose(8)
    writer.finish(first, weights=weights)
    second = writer.propose(4)
    writer.finish(second[1:-1], weights=weights)
    devices = [device.name for device in writer.config.devices]
    writer.accuracy(second[0])
    writer.latency(second[0], devices[0], failure=CRASH)
    for name in devices[1:]:
        writer.latency(second[0], name)
    writer.accuracy(second[-1], failure=DIVERGED)
    for name in devices:
        writer.latency(second[-1], name)
    writer.finish(writer.propose(8), weights=weights)
    reference = [40.0, *([-2.0] * len(writer.config.parsed_goal().minimize))]
    for candidate in _two_winners(writer):
        for name in devices:
            writer.latency(candidate, name, purpose="verify")
    pareto = bool(writer.config.parsed_goal().minimize)
    return writer.close(reason="the budget of 20 candidates is spent", reference=reference if pareto else None)


def _two_winners(writer: RunWriter) -> list[int]:
    from orchestrator.campaign.state import read_state

    return [candidate.row.id for candidate in read_state(writer.store, writer.config).front[:2]]
