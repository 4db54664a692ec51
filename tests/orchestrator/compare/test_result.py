"""Comparison of two runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.compare.result import compare_runs
from orchestrator.errors import ConfigError, DataPartial, RunFolderError
from profiling.records import Failure
from tests.orchestrator.compare.runs import LEVELS_MS, OTHER, PHONE, collection, updated


def test_ratios_of_the_same_models_on_the_same_phone(tmp_path: Path) -> None:
    before = collection(tmp_path / "before", seed=1)
    now = collection(tmp_path / "now", seed=2, change={"net3.tflite": 1.1})
    (place,) = compare_runs(before, now).places
    assert place.same_device
    assert len(place.models) == len(LEVELS_MS)
    worst = place.models[0]
    assert (worst.pair.now, worst.pair.by, worst.verdict) == ("net3.tflite", "sha256", "slower")
    assert worst.effect.low < 1.1 < worst.effect.high
    assert {model.verdict for model in place.models[1:]} <= {"same", "unclear"}
    assert place.spearman == pytest.approx(1.0)
    assert place.changes == ()


def test_what_changed_around_the_measurements_is_said(tmp_path: Path) -> None:
    before = collection(tmp_path / "before", environment={"python": "3.12"})
    phone = updated(PHONE, epoch="build-2", runtime="benchmark_model 2222", properties={"sdk": 35})
    now = collection(tmp_path / "now", seed=2, phones=[phone], temp_c=38.0, environment={"python": "3.13"})
    result = compare_runs(before, now)
    (place,) = result.places
    assert [(c.what, c.before, c.now) for c in place.system_changes] == [
        ("build", "build-1", "build-2"),
        ("runtime", "benchmark_model 1111", "benchmark_model 2222"),
    ]
    assert {c.what: (c.before, c.now) for c in place.changes if not c.system} == {
        "sdk": ("", "35"),
        "before temp c": ("30", "38"),
    }
    assert [(c.what, c.before, c.now) for c in result.environment] == [("python", "3.12", "3.13")]


def test_models_that_were_compiled_otherwise_are_matched_by_name(tmp_path: Path) -> None:
    before = collection(tmp_path / "before")
    now = collection(tmp_path / "now", rebuilt=["net0.tflite"], models=[*list(LEVELS_MS)[:3]])
    (place,) = compare_runs(before, now).places
    pairs = {model.pair.now: model.pair for model in place.models}
    assert (pairs["net0.tflite"].by, pairs["net0.tflite"].rebuilt) == ("name", True)
    assert (pairs["net1.tflite"].by, pairs["net1.tflite"].rebuilt) == ("sha256", False)
    assert place.only_before == tuple(list(LEVELS_MS)[3:])
    assert place.only_now == ()


def test_two_phones_of_one_run_are_compared_on_request(tmp_path: Path) -> None:
    both = collection(tmp_path / "run", phones=[PHONE, OTHER], change=None)
    (place,) = compare_runs(both, both, devices={"Pixel 7": "bbbb"}).places
    assert not place.same_device
    assert {model.verdict for model in place.models} == {None}
    assert "device" in {change.what for change in place.system_changes}
    with pytest.raises(ConfigError, match="Pixel 7 aaaa, Pixel 8 bbbb"):
        compare_runs(both, both, devices={"Pixel 7": "Pixel 9"})


def test_only_devices_of_two_runs_are_compared_even_if_they_differ(tmp_path: Path) -> None:
    first = collection(tmp_path / "a", phones=[PHONE])
    second = collection(tmp_path / "b", phones=[OTHER], change=dict.fromkeys(LEVELS_MS, 1.5))
    (place,) = compare_runs(first, second).places
    assert place.pooled.ratio == pytest.approx(1.5, rel=0.02)


def test_failures_are_no_latencies(tmp_path: Path) -> None:
    before = collection(tmp_path / "before")
    broken = {"net2.tflite": Failure("model", "crash", "it crashed")}
    (place,) = compare_runs(before, collection(tmp_path / "now", failures=broken)).places
    assert "net2.tflite" not in {model.pair.now for model in place.models}
    assert place.only_before == ("net2.tflite",)


def test_nothing_in_common_says_what_there_is(tmp_path: Path) -> None:
    first = collection(tmp_path / "a", phones=[PHONE, OTHER], models=["net0.tflite"])
    second = collection(tmp_path / "b", models=["net1.tflite"])
    with pytest.raises(DataPartial, match="Pixel 8 bbbb"):
        compare_runs(first, second)
    with pytest.raises(RunFolderError, match="no run folder"):
        compare_runs(first, tmp_path)


def test_json_is_plain(tmp_path: Path) -> None:
    run = collection(tmp_path / "a")
    values = json.loads(json.dumps(compare_runs(run, run).to_json(), allow_nan=False))
    (comparison,) = values["comparisons"]
    assert comparison["pooled"]["ratio"] == pytest.approx(1.0)
    assert set(comparison["models"][0]) >= {"model", "matched_by", "latency_ms", "ratio", "ci_low_ratio", "verdict"}
