"""The data behind the figures and tables."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.campaign.config import ACCURACY
from orchestrator.errors import RunFolderError
from orchestrator.report import readable
from orchestrator.report.figures import (
    Interval,
    blocks_figure,
    front_figure,
    prediction_figures,
    progress_figure,
    spearman,
)
from orchestrator.report.run import Run, read_run
from orchestrator.report.tables import device_rows, environment_rows, failure_rows, round_rows
from tests.orchestrator.report.runs import DIVERGED, RunWriter, make_config


@pytest.fixture(scope="module")
def run(pareto_run: Path) -> Run:
    return read_run(pareto_run)


def test_front_sorts_every_candidate_into_one_kind(run: Run) -> None:
    figure = front_figure(run, "host")
    kinds = {point.candidate: point.kind for point in figure.points}
    assert len(kinds) == 20
    assert {number for number, kind in kinds.items() if kind == "failed"} == {8, 11}
    assert {number for number, kind in kinds.items() if kind == "winner"} == {c.row.id for c in run.state.front}
    assert figure.is_pareto
    assert figure.budget_ms is None


def test_the_frontier_rises_with_latency_and_has_the_winners(run: Run) -> None:
    figure = front_figure(run, "host")
    latencies, accuracies = zip(*figure.frontier, strict=True)
    assert list(latencies) == sorted(latencies)
    assert list(accuracies) == sorted(accuracies)
    winners = [p for p in figure.points if p.kind == "winner"]
    assert {(p.latency_ms.value, p.accuracy) for p in winners if p.latency_ms} == set(figure.frontier)


def test_a_failed_candidate_keeps_the_value_it_has_and_says_why(run: Run) -> None:
    failed = {point.candidate: point for point in front_figure(run, "host").points if point.kind == "failed"}
    assert failed[8].latency_ms is None
    assert failed[8].accuracy is not None
    assert failed[8].note == "latency_ms[host]: crash"
    assert failed[11].accuracy is None
    assert failed[11].latency_ms is not None


def test_verified_winners_carry_both_latencies(run: Run) -> None:
    verified = [point for point in front_figure(run, "host").points if point.verified_ms]
    assert [point.kind for point in verified] == ["winner", "winner"]
    for point in verified:
        assert point.latency_ms is not None
        assert point.verified_ms is not None
        assert point.verified_ms.value == pytest.approx(point.latency_ms.value, rel=0.05)
        assert point.verified_ms.value != point.latency_ms.value


def test_points_beyond_the_budget_are_infeasible(constrained_run: Path) -> None:
    figure = front_figure(read_run(constrained_run), "host")
    assert figure.budget_ms == 0.05
    assert not figure.is_pareto
    for point in figure.points:
        if point.latency_ms and point.kind != "failed":
            assert (point.kind == "infeasible") == (point.latency_ms.value > 0.05)
    assert [point.kind for point in figure.points].count("winner") == 1
    assert max(latency for latency, _ in figure.frontier) <= 0.05


def test_every_device_has_its_own_front(two_device_run: Path) -> None:
    run = read_run(two_device_run)
    fast, slow = (front_figure(run, name) for name in run.devices)
    for one, other in zip(fast.points, slow.points, strict=True):
        if one.latency_ms and other.latency_ms:
            assert other.latency_ms.value > 2 * one.latency_ms.value


def test_progress_rises_and_follows_the_order_of_arrival(run: Run) -> None:
    figure = progress_figure(run)
    values = [point.value for point in figure.points if point.value is not None]
    assert len(values) == 18
    assert values == sorted(values)
    assert [point.evaluation for point in figure.points] == list(range(1, 19))
    assert figure.missing == ""
    assert figure.label == "hypervolume"


def test_progress_of_a_constrained_goal_starts_with_the_first_feasible_candidate(constrained_run: Path) -> None:
    figure = progress_figure(read_run(constrained_run))
    assert figure.label == "best feasible accuracy (%)"
    assert figure.points[0].value is None
    assert figure.points[-1].value is not None


def test_predictions_are_compared_on_the_scale_they_were_made_on(run: Run) -> None:
    accuracy, latency = prediction_figures(run)
    assert (accuracy.metric, accuracy.unit) == (ACCURACY, "%")
    assert (latency.metric, latency.unit) == ("latency_ms[host]", "ms")
    assert [quality.round for quality in latency.quality] == [1, 2, None]
    assert latency.quality[-1].count == len(latency.points) == 11
    assert sum(quality.count for quality in latency.quality[:-1]) == 11
    assert latency.quality[-1].within_90 <= latency.quality[-1].within_95 <= 11
    for point in latency.points:
        low, value, high = point.predicted.low, point.predicted.value, point.predicted.high
        assert value / low == pytest.approx(high / value)
        assert math.log(high / value) >= 1.96 * 0.06  # the measurement's own variance widens it
    correlation = latency.quality[-1].spearman
    assert correlation is not None
    assert correlation > 0.8


def test_spearman_is_that_of_the_literature() -> None:
    # Ties share their mean rank; value from the definition, Pearson's correlation of (1, 2.5, 2.5, 4) and (2, 1, 3, 4).
    assert spearman([1, 2, 2, 3], [2, 1, 3, 4]) == pytest.approx(np.corrcoef([1, 2.5, 2.5, 4], [2, 1, 3, 4])[0, 1])
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None


def test_blocks_show_rejected_ones_with_their_reason(run: Run) -> None:
    figure = blocks_figure(run, "host")
    assert len(figure.measurements) == 21  # 19 while searching, 2 to verify
    assert [measured.purpose for measured in figure.measurements][-2:] == ["verify", "verify"]
    rejected = [block for measured in figure.measurements for block in measured.blocks if block.rejected]
    assert rejected
    assert {block.rejected for block in rejected} == {"not_steady"}
    assert all(block.deviation > 0.4 for block in rejected)
    for measured in figure.measurements:
        used = [block for block in measured.blocks if not block.rejected]
        assert abs(np.mean([np.log1p(block.deviation) for block in used])) < 1e-9


def test_tables_count_what_happened(run: Run) -> None:
    (device,) = device_rows(run)
    assert (device.measured, device.failed, device.epochs) == (21, 1, 1)
    assert device.info.runtime == "ai-edge-litert 2.3.0"
    assert sum(device.grades.values()) == 21
    assert device.half_width is not None
    assert 0 < device.half_width < 0.1
    assert [(row.candidate, row.metric, row.failure.code) for row in failure_rows(run)] == [
        (8, "latency_ms[host]", "crash"),
        (11, "accuracy", "diverged"),
    ]
    rounds = round_rows(run)
    assert [(row.measured, row.failed, row.running) for row in rounds] == [(8, 0, 0), (2, 2, 0), (8, 0, 0)]
    assert rounds[1].generator["utility_calls"] == 1024
    assert ("libraries torch", "2.13.0") in environment_rows(run)


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, make_config())
    candidates = writer.propose(8)
    writer.finish(candidates[:2])
    writer.accuracy(2, failure=DIVERGED)
    run = read_run(writer.close())
    assert run.stop_reason is None
    assert run.state.counts == {"measured": 2, "failed": 0, "running": 6}
    assert "first round" in progress_figure(run).missing
    assert prediction_figures(run) == ()


def test_a_run_continued_with_a_larger_budget_is_not_finished(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, make_config())
    writer.store.set_meta("finished", {"at": 1.0, "reason": "the budget is spent"})
    writer.finish(writer.propose(8))
    assert read_run(writer.close()).stop_reason is None


def test_a_moved_run_folder_is_read_without_the_files_its_configuration_names(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("arch,phone\n")
    config = make_config(devices=[{"kind": "table", "path": str(table), "column": "phone"}])
    RunWriter(tmp_path / "run", config).close()
    table.unlink()
    assert read_run(tmp_path / "run").devices == ("phone",)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no run folder"), (b"no database " * 100, "not a database"), (b"", "no such table")]
)
def test_what_is_no_run_is_a_clear_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "campaign.sqlite").write_bytes(content)
    with pytest.raises(RunFolderError, match=message) as caught:
        read_run(tmp_path)
    assert caught.value.hint


def test_a_damaged_value_is_a_clear_error(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, make_config())
    writer.propose(2)
    writer.store.add_accuracy(0, {"unknown": 1})
    writer.close()
    with pytest.raises(RunFolderError, match="cannot be read"):
        read_run(tmp_path)


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_numbers_keep_four_digits(value: float) -> None:
    assert float(readable.number(value).replace(",", "")) == pytest.approx(value, rel=6e-4)


def test_readable_forms() -> None:
    assert readable.number(None) == readable.number(math.nan) == "–"
    assert readable.number(math.inf) == "∞"
    assert readable.latency(Interval(3.2144, 3.19, 3.2391)) == "3.214 ms [3.190,\u00a03.239]"
    assert readable.compact_latency(Interval(3.2144, 3.19, 3.2391)) == "3.214 ± 0.8 %"
    assert readable.compact_latency(Interval(3.2, 0.0, math.inf)) == "3.200 ± ∞"
    assert readable.accuracy(91.2, 0.853, "%") == "91.20 ± 0.85 %"
    assert readable.duration(3725) == "1 h 2 min"
    assert readable.duration(59.6) == "1 min 0 s"
    assert readable.count(10_657_920) == "10.66 M"
    assert readable.moment(0.0) == "1970-01-01 00:00:00 UTC"
