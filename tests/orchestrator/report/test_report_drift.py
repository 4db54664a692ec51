"""Drift as data: planted shifts are marked, on the right phone, at the right moment."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from device_agent.journal import Journal, Reference
from device_agent.lease import Lease
from orchestrator.campaign.jobs import job_name
from orchestrator.errors import RunFolderError
from orchestrator.report.drift import SHOWN, drift_figures
from orchestrator.report.page import write_report
from orchestrator.rig import JOURNAL
from profiling.drift import ControlChart
from profiling.records import DeviceInfo, Measurement
from tests.orchestrator.report.journals import quiet, write_journal
from tests.orchestrator.report.runs import RunWriter, make_config
from tests.orchestrator.report.test_report_page import Page

STEADY = DeviceInfo("Pixel 7 0a1b", "adb", model="Pixel 7", serial_hash="0a1b", epoch="build 1")
DRIFTING = DeviceInfo("Pixel 7 2c3d", "adb", model="Pixel 7", serial_hash="2c3d", epoch="build 1")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def test_a_planted_shift_is_marked_on_its_phone_only(journal: Path) -> None:
    write_journal(journal, "SERIAL1", STEADY, quiet(20, seed=1))
    logs = quiet(20, seed=2)
    logs[12] += 0.3  # a moment's heat
    write_journal(journal, "SERIAL2", DRIFTING, logs)
    steady, drifting = drift_figures(journal)
    assert (steady.phone, drifting.phone) == (STEADY.name, DRIFTING.name)
    assert not steady.events
    assert not any(point.is_alarm for point in steady.points)
    assert [point.is_alarm for point in drifting.points].index(True) == 12
    (event,) = drifting.events
    assert (event.alarms, event.outcome, event.marked) == (1, "came back", 2)
    assert event.log_ratio == pytest.approx(0.3, abs=0.04)
    assert event.since == drifting.points[11].at
    assert event.began == event.ended == drifting.points[12].at
    assert "SERIAL" not in repr((steady, drifting))  # addresses stay in the journal


def test_limits_hold_good_points_and_let_the_shifted_out(journal: Path) -> None:
    logs = quiet(30)
    logs[20] -= 0.2
    write_journal(journal, "one", STEADY, logs)
    (figure,) = drift_figures(journal)
    first, *others = figure.points
    assert (first.verdict, first.low_ms, first.high_ms) == ("starting", None, None)
    assert [index for index, point in enumerate(others, start=1) if point.is_outside] == [20]
    widths = [math.log(point.high_ms / point.low_ms) for point in others if point.high_ms and point.low_ms]
    assert widths[0] > 1.3 * widths[-1]  # the more was seen, the better is known what is usual


def test_a_lasting_shift_becomes_a_new_level(journal: Path) -> None:
    write_journal(journal, "one", STEADY, quiet(12, sd=0.005) + quiet(12, seed=3, level=2.2, sd=0.005))
    (figure,) = drift_figures(journal)
    (event,) = figure.events
    assert (event.began, event.outcome) == (figure.points[12].at, "new level")
    assert event.alarms >= 3
    after = figure.points[12 + event.alarms :]
    assert after
    assert all(point.verdict == "good" for point in after)
    assert after[0].expected_ms == pytest.approx(math.exp(2.2), rel=0.02)


def test_another_system_begins_anew_and_one_that_is_back_goes_on(journal: Path) -> None:
    epochs = ["build 1"] * 8 + ["build 2"] * 8 + ["build 1"] * 4
    logs = quiet(8) + quiet(8, level=2.5) + quiet(4)
    write_journal(journal, "one", STEADY, logs, epochs=epochs)
    (figure,) = drift_figures(journal)
    assert figure.changes == (figure.points[8].at, figure.points[16].at)
    assert [point.verdict for point in figure.points].count("starting") == 2
    assert figure.points[16].expected_ms == pytest.approx(math.exp(2.0), rel=0.02)
    assert not figure.events


def test_a_drift_that_nothing_followed_is_still_one(journal: Path) -> None:
    write_journal(journal, "one", STEADY, [*quiet(10), 2.4], jobs_between=3)
    (figure,) = drift_figures(journal)
    assert [(event.outcome, event.marked) for event in figure.events] == [("still shifted", 3)]


def test_many_references_are_thinned_out_and_alarms_are_kept(journal: Path) -> None:
    logs = quiet(3 * SHOWN)
    logs[700] += 0.5
    write_journal(journal, "one", STEADY, logs, jobs_between=0)
    (figure,) = drift_figures(journal)
    assert figure.count == 3 * SHOWN
    assert len(figure.points) == SHOWN
    assert figure.points[0].verdict == "starting"
    assert max(point.log_ratio for point in figure.points if point.is_alarm) == pytest.approx(0.5, abs=0.05)


def test_a_phone_without_measurements_has_no_name_but_a_chart(journal: Path) -> None:
    write_journal(journal, "SERIAL1", STEADY, quiet(3), jobs_between=0)
    (figure,) = drift_figures(journal)
    assert figure.phone == "phone 1, nothing else measured yet"


def test_without_a_journal_there_is_nothing_and_a_damaged_one_is_named(journal: Path) -> None:
    assert drift_figures(journal) == ()
    journal.write_text("nothing like a database " * 100)
    with pytest.raises(RunFolderError, match=r"journal\.sqlite"):
        drift_figures(journal)


def test_a_campaigns_page_has_its_fleets_references(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, make_config())
    writer.finish(writer.propose(6))
    folder = writer.close()
    with Journal(folder / JOURNAL) as journal:
        lease = Lease("SERIAL1", 1)
        chart = ControlChart()
        for index, value in enumerate([*quiet(6), 2.5]):
            chart, reading = chart.observe(value)
            journal.add_reference(lease, Reference("ab" * 32, "build 1", value, reading.log_ratio, reading.verdict))
            if reading.verdict == "shifted":
                journal.suspect_since_last_good(lease, "it had shifted")
            elif index < 6:
                result = Measurement(2.0, 0.01, 1.9, 2.1, (), "A", (), 0.02, "ab" * 32, STEADY)
                journal.record(job_name(index, "host", "search", continued=index == 5), result, lease)
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "1 drift on 1 device, in 7 references. 1 measurement marked as suspect" in page.prose
    assert "figure-drift-0" in page.figures
    assert STEADY.name in page.prose
    assert "SERIAL1" not in page.text


def test_one_reference_is_no_chart(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, make_config())
    writer.finish(writer.propose(6))
    folder = writer.close()
    write_journal(folder / JOURNAL, "SERIAL1", STEADY, quiet(1))
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "Too few references to see a drift: 1 reference on 1 device." in page.prose
    assert f"nothing to compare yet, on {STEADY.name}" in page.prose
    assert "figure-drift-0" not in page.figures


def test_a_campaign_without_phones_says_what_it_has_not(pareto_run: Path) -> None:
    page = Page(write_report(pareto_run).read_text(encoding="utf-8"))
    assert "There are no references here" in page.prose
    assert {"figure-rejected", "figure-grades"} <= set(page.figures)
    assert not any("drift" in figure or "temperatures" in figure for figure in page.figures)
