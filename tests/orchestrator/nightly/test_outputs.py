"""JUnit, Prometheus, JSON and the page of a night."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.compare.changes import Change
from orchestrator.nightly.junit import junit_xml
from orchestrator.nightly.page import render
from orchestrator.nightly.prometheus import prometheus_text
from orchestrator.nightly.result import CampaignResult, ModelResult, NightResult, PhoneResult, change_text
from orchestrator.nightly.write import write_night
from profiling.compare import Effect
from profiling.records import DeviceInfo, Failure

PHONE = DeviceInfo("Pixel 7 aaaa", "adb", "Pixel 7", "aaaa", "build-2", "arm64-v8a", "benchmark_model 1111")
GONE = DeviceInfo("Pixel 8 bbbb", "adb", "Pixel 8", "bbbb", "build-8")
SLOW, CALM = Effect(0.0488, 0.006, 40), Effect(0.001, 0.004, 40)
NASTY = 'a"b\\c\n<script>&\x00\x1b'

NIGHT = NightResult(
    name="farm",
    run="runs/farm/2",
    baseline=("runs/farm/1",),
    started_at=1000.0,
    ended_at=1090.5,
    margin=0.015,
    phones=(
        PhoneResult(
            PHONE,
            "original, cpu, 1 thread",
            "same",
            (
                ModelResult("slow.tflite", "slower", "ab", 10.5, 10.0, SLOW, SLOW, measured_again=True),
                ModelResult("calm.tflite", "same", "cd", 3.0, 3.0, CALM, CALM),
                ModelResult("crash.tflite", "broken", failure=Failure("model", "crash", "it crashed")),
                ModelResult("corrupt.tflite", "failed", failure=Failure("user", "corrupt_model", "it is empty")),
                ModelResult(NASTY, "new", "ef", 1.0),
            ),
            CALM,
            1.034,
            (Change("build", "build-1", "build-2", True), Change("temp c", "30", "35")),
        ),
        PhoneResult(GONE, "original, cpu, 1 thread", "missing", (ModelResult("calm.tflite", "missing"),)),
    ),
    campaigns=(CampaignResult("quick", "same", {"accuracy": 91.0}, 12.5, 12.0),),
    notes=("something to know",),
)


def test_exit_codes() -> None:
    assert NIGHT.exit_code == 1
    (phone, gone) = NIGHT.phones
    calm = dataclasses.replace(phone, models=phone.models[1:2])
    assert dataclasses.replace(NIGHT, phones=(calm, gone)).exit_code == 3
    assert dataclasses.replace(NIGHT, phones=(calm,)).exit_code == 0


def test_alarms_say_which_where_how_much_and_how_sure() -> None:
    slow, broken = NIGHT.alarms
    assert slow.startswith("slow.tflite on Pixel 7 aaaa (original, cpu, 1 thread): 5.0% slower, 95 % interval [3.7%, ")
    assert "p = " in slow
    assert "crash.tflite" in broken
    assert "it crashed" in broken
    assert change_text(CALM) == "0.1% slower, 95 % interval [-0.7%, +0.9%], p = 0.8"


def _check(suite: ET.Element) -> None:
    """The structure that readers of JUnit's XML rely on."""
    cases = suite.findall("testcase")
    assert int(suite.attrib["tests"]) == len(cases)
    for attribute, child in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.attrib[attribute]) == sum(case.find(child) is not None for case in cases)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    assert [child.tag for child in suite] == ["properties"] * (suite.find("properties") is not None) + (
        ["testcase"] * len(cases)
    )
    for case in cases:
        assert case.attrib["name"]
        assert case.attrib["classname"]
        assert float(case.attrib["time"]) >= 0
        assert len([child for child in case if child.tag in ("failure", "error", "skipped")]) <= 1
        assert {child.tag for child in case} <= {"failure", "error", "skipped", "system-out"}


def test_junit_is_what_servers_read() -> None:
    root = ET.fromstring(junit_xml(NIGHT))
    assert root.tag == "testsuites"
    phone, gone, campaigns = root
    for suite in root:
        assert suite.tag == "testsuite"
        _check(suite)
    assert {key: root.attrib[key] for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "9",
        "failures": "2",
        "errors": "1",
        "skipped": "2",
    }
    cases = {case.attrib["name"]: case for case in phone.findall("testcase")}
    failure = cases["slow.tflite"].find("failure")
    assert failure is not None
    assert "5.0% slower" in failure.attrib["message"]
    assert all(case.find("skipped") is not None for case in gone.findall("testcase"))
    assert gone.attrib["failures"] == gone.attrib["errors"] == "0"
    assert campaigns.attrib["name"] == "campaigns"
    properties = {item.attrib["name"]: item.attrib["value"] for item in phone.iter("property")}
    assert properties["other build than the baseline's"] == "build-1 -> build-2"


@given(st.text(max_size=40))
def test_junit_holds_any_name(name: str) -> None:
    models = (ModelResult(name, "same"), ModelResult("b", "failed", failure=Failure("model", "crash", name)))
    phones = (dataclasses.replace(NIGHT.phones[0], models=models),)
    root = ET.fromstring(junit_xml(dataclasses.replace(NIGHT, phones=phones)))
    assert len(list(root.iter("testcase"))) == 4


_SAMPLE = re.compile(r'([a-z_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (-?[0-9.e+-]+)')


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in text.splitlines():
        if not line.startswith("#"):
            match = _SAMPLE.fullmatch(line)
            assert match, line
            labels = dict(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', match[2]))
            yield match[1], labels, float(match[3])


def test_prometheus_reads_it() -> None:
    text = prometheus_text(NIGHT)
    assert text.endswith("\n")
    samples = list(_samples(text))
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    assert {name for name, _, _ in samples} == set(families)
    assert [line.split()[2] for line in text.splitlines() if line.startswith("# HELP")] == families
    assert len({(name, *sorted(labels.items())) for name, labels, _ in samples}) == len(samples)  # each series once
    found = {(name, labels.get("model", "")): value for name, labels, value in samples if "Pixel 7 aaaa" in str(labels)}
    assert found["devicenag_nightly_latency_seconds", "slow.tflite"] == pytest.approx(0.0105)
    assert found["devicenag_nightly_model_alarm", "slow.tflite"] == 1.0
    assert found["devicenag_nightly_model_alarm", "calm.tflite"] == 0.0
    assert found["devicenag_nightly_phone_other_system", ""] == 1.0
    assert 'a\\"b\\\\c\\n<script>' in text


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.outside: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.outside += [value or "" for name, value in attributes if name in ("src", "href") and value != "data:,"]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_needs_nothing_but_itself_and_escapes_names() -> None:
    page = _Page()
    page.feed(render(NIGHT))
    assert page.scripts == 1
    assert page.outside == []
    text = " ".join(page.texts)
    assert "2 regressions" in text
    assert "Another system than the baseline's: build was build-1, is build-2." in text
    assert "The phone was in the baseline, and was not there tonight." in text
    assert "something to know" in text


def test_everything_is_written(tmp_path: Path) -> None:
    files = write_night(NIGHT, tmp_path)
    assert sorted(path.name for path in files.values()) == sorted(
        ["report.html", "junit.xml", "result.json", "nightly.prom"]
    )
    values = json.loads((tmp_path / "result.json").read_text())
    assert values["exit_code"] == 1
    assert values["counts"]["missing"] == 2
    assert values["phones"][0]["models"][0]["own_change"]["ratio"] == pytest.approx(1.05, abs=1e-4)
