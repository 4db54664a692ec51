"""The page of a collection: complete, escaped, at any moment of a collection's life."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.collect.store import STORE, CollectStore, store_path
from orchestrator.errors import RunFolderError
from orchestrator.report.collection_page import write_collection_report
from orchestrator.rig import JOURNAL
from tests.orchestrator.report.collected import (
    HOSTILE,
    fill_collection,
    make_collection,
    plan_collection,
    write_collection,
)
from tests.orchestrator.report.test_report_page import Page


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_collection(tmp_path_factory.mktemp("collection"))


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return page_of(run)


def page_of(run: Path) -> Page:
    return Page(write_collection_report(run).read_text(encoding="utf-8"))


def test_the_page_has_every_section_and_figure(page: Page) -> None:
    assert page.headings == [
        "Summary",
        "Latencies",
        "Drift and quality",
        "Failures and what is missing",
        "Environment and configuration",
    ]
    assert set(page.figures) == {
        "figure-latencies",
        *(f"figure-{kind}-{number}" for kind in ("drift", "temperatures", "clocks") for number in range(3)),
        "figure-rejected",
        "figure-grades",
        "figure-spread",
    }
    assert "interrupted, last result" in page.prose
    assert "101 measured, 7 failed" in page.prose
    assert "benchmark_model 2.17" in page.prose
    assert "precision:" in page.prose  # the configuration
    assert "Why grades are not A. Galaxy" in page.prose
    assert "blocks were rejected (" in page.prose


def test_the_planted_drift_is_marked(page: Page) -> None:
    assert "2 drifts on 2 devices, in 120 references" in page.prose
    assert "+30.1 %" in page.prose
    by_phone = [{trace.get("name") for trace in page.figures[f"figure-drift-{n}"]["data"]} for n in range(3)]
    assert ["shifted" in names for names in by_phone] == [True, False, True]
    assert "system changed" in by_phone[0]  # of the phone that was updated
    (suspect,) = page.figures["figure-drift-2"]["layout"]["shapes"]
    assert suspect["type"] == "rect"


def test_what_failed_and_what_is_missing_is_said(page: Page) -> None:
    assert "CUSTOM <b>op</b> is not known" in page.prose
    assert "device_lost: the phone <went>" in page.prose
    assert "not tried yet" in page.prose
    assert "it is no flatbuffer" in page.prose


def test_foreign_text_is_escaped_and_nothing_is_loaded(page: Page) -> None:
    assert HOSTILE in page.prose  # shown as text
    assert "<script>alert" not in page.text
    for figure in page.figures.values():
        assert "<script>" not in str(figure["data"])  # Plotly reads a little HTML
    assert [target for target in page.loads if not target.startswith(("#", "data:,"))] == []
    assert len(page.ids) == len(set(page.ids))


def test_serials_stay_in_the_journal(page: Page) -> None:
    assert "SERIAL" not in page.text


def test_a_collection_that_has_just_begun_says_so_and_goes_on(tmp_path: Path) -> None:
    config = make_collection(4)
    with plan_collection(tmp_path, config, 4) as store:
        page = page_of(tmp_path)
        assert "No result has arrived yet" in page.prose
        assert "Nothing has been measured yet" in page.prose
        assert page.figures == {}
        fill_collection(store, config, leave=2)
        page = page_of(tmp_path)  # while the store is open for writing
    assert "There are no references here" in page.prose
    assert "figure-latencies" in page.figures


def test_folders_without_a_plan_or_with_damage_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no collection"):
        write_collection_report(tmp_path)
    CollectStore.create(tmp_path / STORE, {}).close()
    with pytest.raises(RunFolderError, match="not planned yet"):
        write_collection_report(tmp_path)
    (tmp_path / "other").mkdir()
    with plan_collection(tmp_path / "other", make_collection(2), 2):
        (tmp_path / "other" / JOURNAL).write_text("no journal " * 500)
    with pytest.raises(RunFolderError, match=r"journal\.sqlite"):
        write_collection_report(tmp_path / "other")


def test_reading_changes_nothing(run: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.name != "report.html"}
    page_of(run)
    after = {path.name: path.read_bytes() for path in run.iterdir() if path.name != "report.html"}
    assert after == before


def test_nag_report_knows_a_collection(run: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(run)])
    assert (done.exit_code, done.stdout.strip()) == (0, str(run / "report.html"))
    missing = CliRunner().invoke(app, ["report", str(run / "nothing")])
    assert missing.exit_code != 0
    with CollectStore.read(store_path(run)) as store:  # and leaves it as it was
        assert store.planned
