"""Conditions and quality as data: bins of time, series of phones, rejected blocks, spread."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.collect.store import CollectStore, store_path
from orchestrator.report.conditions import ConditionFigure, TimeBins
from orchestrator.report.measured import Measured, gather
from orchestrator.report.observed import Observed, observed_in_collection
from profiling.records import Block, DeviceInfo, Failure, Measurement
from tests.orchestrator.report.collected import HOSTILE, OFFSET_LOG, write_collection


def observed(conditions: dict[str, Any], info: DeviceInfo | None = None, at: float = 1e9) -> Observed:
    blocks = (Block(0, 9, "median", 2.0, started_at=at, conditions=conditions),)
    info = info or DeviceInfo("Pixel 7 0a1b", "adb", model="Pixel 7", serial_hash="0a1b")
    result = Measurement(2.0, 0.01, 1.9, 2.1, blocks, "A", (), 0.02, "ab" * 32, info)
    return Observed("Pixel 7", at, result, blocks, "", 1)


def figure_of(*results: Observed) -> ConditionFigure:
    (figure,) = gather(results).conditions
    return figure


@given(st.lists(st.tuples(st.floats(0, 4e9), st.floats(-50, 150)), min_size=1, max_size=60))
def test_bins_keep_counts_and_extremes_however_long_it_takes(values: list[tuple[float, float]]) -> None:
    bins = TimeBins(8)
    for at, value in values:
        bins.add(at, [value])
    points = bins.points()
    assert 1 <= len(points) <= 8
    assert [point.at for point in points] == sorted(point.at for point in points)
    assert min(point.low for point in points) == min(value for _, value in values)
    assert max(point.high for point in points) == max(value for _, value in values)
    assert all(point.low - 1e-9 <= point.mean <= point.high + 1e-9 for point in points)


def test_clocks_are_those_of_clusters_where_they_are_known() -> None:
    clusters = [{"cpus": [0, 1], "max_khz": 1_800_000}, {"cpus": [7], "max_khz": None}]
    info = DeviceInfo("p", "adb", properties={"clusters": clusters})
    figure = figure_of(observed({"frequency_khz": [1_000_000, 2_000_000], "limit_khz": [1_800_000, None]}, info))
    assert {series.name: series.points[0].mean for series in figure.of("clock")} == {
        "CPUs 0–1, up to 1.80 GHz": 1.0,
        "CPU 7": 2.0,
    }
    assert [series.name for series in figure.of("limit")] == ["CPUs 0–1, up to 1.80 GHz"]
    host = figure_of(observed({"frequency_khz": [1_000_000, None, 2_000_000]}))
    assert [(series.name, series.points[0].mean) for series in host.of("clock")] == [("CPUs in use", 1.5)]


@pytest.mark.parametrize(
    "conditions",
    [{}, {"temp_c": None, "frequency_khz": []}, {"temp_c": "hot", "frequency_khz": "fast"}, {"frequency_khz": [None]}],
)
def test_what_phones_keep_back_is_left_out(conditions: dict[str, Any]) -> None:
    assert gather([observed(conditions)]).conditions == ()


def test_results_without_an_estimate_are_failures() -> None:
    good = observed({})
    assert isinstance(good.result, Measurement)
    useless = replace(good, result=replace(good.result, grade="F", latency_ms=float("nan")))
    crash = replace(good, result=Failure("model", "crash", "signal 11"), blocks=())
    (device,) = gather([good, useless, crash]).devices
    assert (device.measured, device.grades) == (1, {"A": 1, "F": 1})
    assert device.failures == {"no_estimate (infrastructure)": 1, "crash (model)": 1}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    with CollectStore.read(store_path(write_collection(tmp_path_factory.mktemp("collection")))) as store:
        return gather(observed_in_collection(store))


def test_a_collection_is_summed_up_by_device(measured: Measured) -> None:
    galaxy, pixel = measured.devices
    assert (galaxy.device, pixel.device) == (HOSTILE, "Pixel 7")
    assert (galaxy.measured, pixel.measured) == (39, 62)
    assert set(pixel.rejected) == {"throttled", "not_steady"}
    assert set(galaxy.rejected) == {"not_steady"}
    assert (galaxy.suspects, pixel.suspects) == (0, 5)
    assert pixel.failures == {"unsupported_operator (model)": 4}
    assert {(span.device, span.setting) for span in measured.latencies} == {
        (device, f"{precision}, cpu, 1 thread") for device in (HOSTILE, "Pixel 7") for precision in ("float32", "int8")
    }


def test_the_planted_offset_between_phones_is_found(measured: Measured) -> None:
    galaxy, pixel = measured.devices
    assert galaxy.spread is None
    assert pixel.spread is not None
    assert pixel.spread.overlaps > 10
    offsets = pixel.spread.offsets_log
    assert offsets["2c3d"] - offsets["0a1b"] == pytest.approx(OFFSET_LOG, abs=0.03)  # one of them was hot, too


def test_the_hot_phone_is_seen_in_its_conditions(measured: Measured) -> None:
    figures = {figure.phone: figure for figure in measured.conditions}
    assert len(figures) == 3

    def hottest(phone: str) -> float:
        return max(point.high for series in figures[phone].of("temperature") for point in series.points)

    assert hottest("Pixel 7 2c3d") > 38 > 34 > hottest("Pixel 7 0a1b")
    (status,) = figures["Pixel 7 2c3d"].of("thermal status")
    assert {point.high for point in status.points} == {0, 2}
