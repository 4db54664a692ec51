"""The functions that compare latency predictors, on made-up devices."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.orchestrator.predict.latency.made_up import STRUCTURES, additive, inputs, networks

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
DEVICES = ("gpu_1", "gpu_32", "phone", "server")


@pytest.fixture
def latency(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`benchmarks/latency.py`."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import latency

    return latency


@pytest.fixture
def sets(latency: ModuleType) -> ModuleType:
    """`benchmarks/latency_sets.py`."""
    return sys.modules["latency_sets"]


@pytest.fixture
def tables(sets: ModuleType) -> Any:
    """120 networks on four devices."""
    seen = inputs(networks()[:120])
    return sets.TableSet(
        name="made up",
        structures=STRUCTURES,
        inputs=seen,
        latency_ms={name: additive(row)[:120] for row, name in enumerate(DEVICES)},
        work=STRUCTURES.amounts(seen)[0, :, 4].numpy(),
        features=seen.flatten(1).numpy(),
        measurable=np.arange(120),
        targets=DEVICES,
        kind_of={name: name.partition("_")[0] for name in DEVICES},
    )


def test_rows_are_kept_and_shown(latency: ModuleType, tables: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes.jsonl"
    methods = ["multiply-adds", "5,000 measurements", "adapted", "nearest device", "process without prior"]

    def found() -> Any:
        benchmark = latency.Benchmark(tables, latency.Notes(notes), 50)
        return latency.gathered(benchmark.rows([0, 5], 1, methods))

    first = found()
    lines = notes.read_text().splitlines()
    assert first.keys() == {
        ("multiply-adds", 0), ("5,000 measurements", 0), ("adapted", 0), ("adapted", 5), ("nearest device", 5),
        ("process without prior", 5),
    }  # fmt: skip
    assert len(lines) == 6 * len(DEVICES)
    assert str(found()) == str(first)
    assert notes.read_text().splitlines() == lines  # nothing is found twice
    assert all(rows[0]["spearman"] > 0.9 for rows in first["5,000 measurements", 0].values())
    assert np.mean([rows[0]["spearman"] for rows in first["adapted", 5].values()]) > 0.9
    table = latency.summary_table(first)
    assert "| adapted | 5 |" in table
    assert table.count("\n") == 7
    assert latency.device_table(first, 5).count("\n") == len(DEVICES) + 1


def test_what_belongs_to_a_device_is_held_out_with_it(latency: ModuleType, tables: Any) -> None:
    benchmark = latency.Benchmark(tables, latency.Notes(None), 50)
    assert benchmark._known("gpu_1", "adapted").devices == ("phone", "server")
    assert benchmark._known("phone", "adapted").devices == ("gpu_1", "gpu_32", "server")
    by_phone = latency.replace(tables, phone_of=dict(zip(DEVICES, ("x", "y", "y", "z"), strict=True)))
    assert latency.Benchmark(by_phone, latency.Notes(None), 50)._known("phone", "adapted").devices == (
        "gpu_1",
        "server",
    )
    by_kind = latency.replace(tables, kind_of={**tables.kind_of, "server": "phone"})
    unseen = latency.Benchmark(by_kind, latency.Notes(None), 50)._known("phone", "adapted, kind of device unseen")
    assert unseen.devices == ("gpu_1", "gpu_32")


def test_published_descriptions_are_read_as_layers(sets: ModuleType) -> None:
    convolution = "1 0 0 0 0 224 112 3 32 3 2 1 10838016"
    depthwise = "0 1 0 0 0 112 56 32 32 3 2 1 903168"
    classifier = "1 0 0 0 0 1 1 1280 1000 1 1 0 1280000"
    layers = sets._onnx_layers(" ".join((convolution, depthwise, classifier)))
    assert [layer.kind for layer in layers] == ["convolution", "depthwise", "fully connected"]
    assert [layer.weights for layer in layers] == [864, 288, 1_280_000]
    assert layers[0].multiply_adds == 10_838_016


def test_fbnet_counts_what_its_blocks_compute(sets: ModuleType) -> None:
    skipped = ["skip"] * 22
    first = [*skipped]
    first[0] = "k3_e1"
    assert sets._fbnet_work(first) - sets._fbnet_work(skipped) == pytest.approx(112**2 * (256 + 16 * 9 + 256) / 1e6)
