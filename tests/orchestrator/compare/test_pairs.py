"""Which model is which."""

from __future__ import annotations

from orchestrator.compare.latencies import Latency
from orchestrator.compare.pairs import pair_models
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo
from profiling.statistics import estimate

HOST = DeviceInfo("host", "host")


def latency(model: str, sha256: str) -> Latency:
    measurement = estimate([Block(0, 1, "median", 1.0)], MeasurementPlan(), sha256, HOST)
    return Latency(model, sha256, "float32, cpu, 1 thread", HOST, "", measurement)


def test_bytes_come_before_names() -> None:
    before = [latency("a", "1"), latency("b", "2"), latency("c", "3")]
    now = [latency("b", "1"), latency("c", "9"), latency("d", "4")]
    pairs = {pair.now: (pair.before, pair.by) for pair in pair_models(before, now)}
    assert pairs == {"b": ("a", "sha256"), "c": ("c", "name")}


def test_of_several_names_for_the_same_bytes_each_keeps_its_own() -> None:
    both = [latency("a", "1"), latency("b", "1")]
    assert {(pair.before, pair.now) for pair in pair_models(both, both)} == {("a", "a"), ("b", "b")}


def test_without_bytes_names_decide() -> None:
    (pair,) = pair_models([latency("a", "")], [latency("a", "")])
    assert (pair.by, pair.rebuilt) == ("name", False)
