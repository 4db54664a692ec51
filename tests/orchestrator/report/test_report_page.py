"""The report page: complete, self-contained, escaped, and drawn by a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from plotly.offline import get_plotlyjs

from orchestrator.errors import RunFolderError
from orchestrator.report.markup import Cell, code, number_cell, script_json, table, tag
from orchestrator.report.page import write_report
from tests.orchestrator.report.runs import CRASH, DIVERGED, RunWriter, make_config

VOID = {"meta", "link", "wbr", "br"}


@dataclass
class Page(HTMLParser):
    """What a page loads, shows and draws; raises where tags do not match."""

    text: str
    loads: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    headings: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[tuple[str, dict[str, str | None]]] = []
        # The bundle itself is no mark-up of ours, and slow to parse.
        self.feed(self.text.replace(get_plotlyjs(), ""))
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.loads += [value for name in ("src", "href", "srcset", "data", "action") if (value := values.get(name))]
        if values.get("id"):
            self.ids.append(values["id"])
        if tag not in VOID:
            self._open.append((tag, values))

    def handle_endtag(self, tag: str) -> None:
        opened, _ = self._open.pop()
        assert opened == tag

    def handle_data(self, data: str) -> None:
        if not self._open:
            return
        tag, values = self._open[-1]
        if tag == "script" and "data-figure" in values:
            self.figures[str(values["data-figure"])] = json.loads(data)
        elif tag == "h2":
            self.headings.append(data)
        elif tag not in ("script", "style"):
            self.words.append(data)

    @property
    def prose(self) -> str:
        """Everything that is shown."""
        return " ".join(" ".join(self.words).split())


def page_of(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(pareto_run: Path) -> Page:
    return page_of(pareto_run)


def test_the_page_has_every_section_and_figure(page: Page) -> None:
    assert page.headings == [
        "Result",
        "Accuracy against latency",
        "Progress",
        "Predicted against measured",
        "Final choice",
        "Measurement quality",
        "Drift and quality",
        "Candidates",
        "Failures",
        "Environment and configuration",
    ]
    assert set(page.figures) == {
        "figure-front-0",
        "figure-progress",
        "figure-predictions-0",
        "figure-predictions-1",
        "figure-blocks-0",
        "figure-rejected",
        "figure-grades",
    }
    assert "finished: the budget of 20 candidates is spent" in page.prose
    assert "Pareto front of high accuracy and low latency_ms[host]" in page.prose
    assert "18 measured, 2 failed" in page.prose
    assert "not_steady" in page.prose


def test_the_page_loads_nothing(page: Page) -> None:
    assert [target for target in page.loads if not target.startswith(("#", "data:,"))] == []
    ours = page.text.replace(get_plotlyjs(), "")
    assert not re.search(r"https?:|@import|url\(", ours)
    assert "default-src 'none'" in ours
    assert page.text.count("plotly.js v") == get_plotlyjs().count("plotly.js v")  # inlined once


def test_ids_are_unique_and_links_lead_somewhere(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    anchors = [target[1:] for target in page.loads if target.startswith("#")]
    assert set(anchors) <= set(page.ids)
    assert len(anchors) == 10


def test_hover_tells_everything_of_a_point(page: Page) -> None:
    traces = {trace["name"]: trace for trace in page.figures["figure-front-0"]["data"]}
    assert set(traces) >= {"frontier", "dominated", "on the front", "verified again"}
    hover = traces["verified again"]["hovertext"][0]
    for part in ("nor_conv", "accuracy", "latency", "grade A", "round", "verified", "["):
        assert part in hover


def test_foreign_text_is_escaped(page: Page) -> None:
    assert "<script>alert" not in page.text
    assert "Segmentation fault <script>alert(1)</script>" in page.prose  # shown as text
    assert "Linux-6.1 <x86_64>" in page.prose


def test_markup_escapes_texts_attributes_and_script_data() -> None:
    assert tag("b", "<i>", title='"x"').text == '<b title="&quot;x&quot;">&lt;i&gt;</b>'
    assert code("<a>+b").text == "<code>&lt;a&gt;+<wbr>b</code>"
    assert "</script" not in script_json({"x": "</script><script>"})
    assert json.loads(script_json({"x": "</script>"})) == {"x": "</script>"}
    shown = table(["a", "b"], [[Cell("<", "<"), number_cell("2", 2.0)]], sortable=True).text
    assert 'data-key="&lt;">&lt;<' in shown
    assert '<td class="number" data-key="2.0">2</td>' in shown


def test_a_constrained_goal_draws_its_budget(constrained_run: Path) -> None:
    page = page_of(constrained_run)
    layout = page.figures["figure-front-0"]["layout"]
    assert layout["shapes"][0]["x0"] == layout["shapes"][0]["x1"] == 0.05
    assert layout["annotations"][0]["text"] == "budget 0.05 ms"
    assert {"best", "feasible", "infeasible"} <= {trace["name"] for trace in page.figures["figure-front-0"]["data"]}
    assert "Best within the constraints" in page.prose
    assert "Hypervolume" not in page.prose


def test_every_device_has_a_front_and_blocks(two_device_run: Path) -> None:
    page = page_of(two_device_run)
    assert {"figure-front-0", "figure-front-1", "figure-blocks-0", "figure-blocks-1"} <= set(page.figures)
    assert "slow phone (ms)" in page.prose


def test_nothing_feasible_is_said(tmp_path: Path) -> None:
    goal = {"maximize": "accuracy", "subject_to": ["latency_ms[host] <= 0.0001"]}
    writer = RunWriter(tmp_path, make_config(goal=goal))
    writer.finish(writer.propose(3))
    page = page_of(writer.close())
    assert "None of the 3 measured candidates meets the constraints" in page.prose
    assert "figure-progress" not in page.figures


def test_an_empty_run_is_said(tmp_path: Path) -> None:
    page = page_of(RunWriter(tmp_path, make_config()).close())
    assert "Nothing has been proposed yet" in page.prose
    assert "interrupted, no result yet" in page.prose
    assert page.figures == {}


def test_a_run_of_failures_is_said(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, make_config())
    for candidate in writer.propose(3):
        writer.accuracy(candidate, failure=DIVERGED)
        writer.latency(candidate, "host", failure=CRASH)
    page = page_of(writer.close())
    assert "All 3 candidates failed" in page.prose
    assert "the runner died with signal 11" in page.prose


def test_a_running_campaign_can_be_looked_at(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, make_config())
    candidates = writer.propose(4)
    writer.finish(candidates[:2])
    page = page_of(tmp_path)  # while the store is open for writing
    writer.finish(candidates[2:])
    writer.close()
    assert "2 measured, 2 running" in page.prose
    assert "interrupted, last result" in page.prose


def test_the_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    RunWriter(tmp_path, make_config()).close()
    (tmp_path / "report.html").mkdir()  # cannot be replaced by a file
    with pytest.raises(RunFolderError, match=r"report\.html"):
        write_report(tmp_path)
    assert not list(tmp_path.glob("*.part"))


def test_a_browser_draws_every_figure(two_device_run: Path, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium or chrome on this machine")
    report = write_report(two_device_run)
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --enable-logging=stderr --virtual-time-budget=5000 --dump-dom"
    done = subprocess.run(
        [chromium, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", report.as_uri()],
        capture_output=True,
        text=True,
        timeout=280,
    )
    drawn = done.stdout.count('class="main-svg"')
    figures = len(page_of(two_device_run).figures)
    assert figures == 9
    assert drawn >= figures
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert console == []  # neither script errors nor anything refused by the policy
