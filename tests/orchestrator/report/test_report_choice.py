"""The final choice: predicted, measured, measured again; how often bounds are broken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.campaign.warm_start import Verdict
from orchestrator.report.choice import choice_rows, choice_section
from orchestrator.report.page import render
from orchestrator.report.run import read_run
from tests.orchestrator.report.runs import RunWriter, make_config

BOUND_MS = 0.05


def test_winners_stand_with_their_prediction_and_both_measurements(pareto_run: Path) -> None:
    run = read_run(pareto_run)
    rows = choice_rows(run)
    assert {row.candidate.row.id for row in rows} == {candidate for candidate, _ in run.verified}
    for row in rows:
        assert row.measured.value == row.candidate.latencies["host"].latency_ms
        assert row.again is not None
        assert row.again.value == run.verified[row.candidate.row.id, "host"].latency_ms
        assert row.bound_ms is row.trusted is row.breaks_bound is None
        if row.candidate.row.round == 0:
            assert row.predicted is None
        else:
            assert row.predicted is not None
            assert row.predicted.low < row.predicted.value < row.predicted.high


def test_a_broken_bound_is_counted_and_what_the_predictor_expected(constrained_run: Path) -> None:
    run = read_run(constrained_run)
    (row,) = choice_rows(run)
    assert row.bound_ms == BOUND_MS
    assert row.breaks_bound is False
    assert "0 of 1 (0 %) broke a bound" in choice_section(run).text
    assert row.again is not None
    tighter = replace(row, bound_ms=0.99 * row.again.value)
    assert tighter.breaks_bound is True
    if row.predicted is not None:
        assert row.trusted is not None
        assert 0 <= row.trusted <= 1


def test_blocks_over_the_bound_are_those_that_were_used(constrained_run: Path) -> None:
    run = read_run(constrained_run)
    (row,) = choice_rows(run)
    records = [r for r in run.latencies if r.purpose == "verify" and r.candidate == row.candidate.row.id]
    used = [block for block in records[0].blocks if block.status == "ok"]
    assert row.blocks_over == (sum(block.value_ms > BOUND_MS for block in used), len(used))


def test_without_measuring_again_it_says_so(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", make_config())
    writer.finish(writer.propose(8))
    run = read_run(writer.close(reference=[40.0, -2.0]))
    assert "No winner was measured again" in choice_section(run).text
    assert all(row.again is None for row in choice_rows(run))


def test_a_run_without_winners_has_a_choice_section(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", make_config())
    assert "Nothing has been chosen yet" in choice_section(read_run(writer.close())).text


def test_a_warm_start_is_told(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", make_config())
    writer.finish(writer.propose(8))
    kept = {
        "runs": ["/runs/a"],
        "verdicts": [Verdict("/runs/a", "latency_ms[host]", 12, 3, "3 of a system <A>, which now is B").to_json()],
    }
    writer.store.set_meta("warm_start", kept)
    page = render(read_run(writer.close()))
    assert "Predictors began with 12 values and 3 values as a hint only of latency_ms[host] from /runs/a" in page
    assert "&lt;A&gt;" in page
