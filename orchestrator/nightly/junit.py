"""JUnit XML of a night: a suite for each phone, a case for each model, as CI servers read it.

The format has no specification; this keeps to what the schema of Jenkins' xunit plugin and GitHub's, GitLab's and
Azure's readers have in common: `testsuites > testsuite > properties, testcase > failure | error | skipped, system-out`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from orchestrator.nightly.result import ALARMS, CampaignResult, ModelResult, NightResult, PhoneResult, change_text

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2
_SKIPPED = {"missing": "the phone was not there, or did not get to it"}


def junit_xml(night: NightResult) -> str:
    """The document."""
    root = ET.Element("testsuites", name=_clean(night.name))
    for phone in night.phones:
        cases = [_whole(phone), *(_case(phone, model) for model in phone.models)]
        root.append(_suite(f"{phone.device.name} ({phone.setting})", cases, night, list(_properties(phone))))
    if night.campaigns:
        root.append(_suite("campaigns", [_campaign(each) for each in night.campaigns], night, []))
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    root.set("time", f"{night.ended_at - night.started_at:.3f}")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(name: str, cases: Sequence[ET.Element], night: NightResult, properties: list[tuple[str, str]]) -> ET.Element:
    started = datetime.fromtimestamp(night.started_at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    suite = ET.Element("testsuite", name=_clean(name), timestamp=started, time="0")
    if properties:
        holder = ET.SubElement(suite, "properties")
        for key, value in properties:
            ET.SubElement(holder, "property", name=_clean(key), value=_clean(value))
    suite.extend(cases)
    suite.set("tests", str(len(cases)))
    for count, child in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(sum(case.find(child) is not None for case in cases)))
    return suite


def _properties(phone: PhoneResult) -> Iterator[tuple[str, str]]:
    yield "device", phone.device.name
    yield "device model", phone.device.model
    yield "build", phone.device.epoch
    yield "runtime", phone.device.runtime
    if phone.detectable is not None:
        yield "detectable slow-down", f"{phone.detectable - 1:.1%}"
    if phone.passes_missed:
        yield "missing measurements", str(phone.passes_missed)
    for change in phone.other_system:
        yield f"other {change.what} than the baseline's", f"{change.before} -> {change.now}"


def _whole(phone: PhoneResult) -> ET.Element:
    """The case of what all models of a phone share."""
    case = _element(phone, "all models")
    if phone.status == "slower" and phone.shift is not None:
        _tell(case, "failure", "slower", f"all models: {change_text(phone.shift)}")
    elif phone.status == "missing":
        _tell(case, "skipped", "", "the phone was not there")
    elif phone.shift is not None:
        ET.SubElement(case, "system-out").text = f"{phone.status}: {change_text(phone.shift)}"
    return case


def _case(phone: PhoneResult, model: ModelResult) -> ET.Element:
    case = _element(phone, model.model)
    if model.now_ms is not None:
        case.set("time", f"{model.now_ms / 1000:.6f}")
    text = f"{model.status}: {change_text(model.own)}" if model.own is not None else model.status
    if model.status in ALARMS:
        _tell(case, "failure", model.status, _failure(model, text))
    elif model.status == "failed":
        why = f"{model.failure.code}: {model.failure.detail}" if model.failure is not None else "it cannot be measured"
        _tell(case, "error", "failed", why)
    elif model.status in _SKIPPED:
        _tell(case, "skipped", "", _SKIPPED[model.status])
    else:
        ET.SubElement(case, "system-out").text = _clean(text)
    return case


def _failure(model: ModelResult, text: str) -> str:
    if model.status == "broken" and model.failure is not None:
        return f"it worked in the baseline, and fails now: {model.failure.code}: {model.failure.detail}"
    return text


def _campaign(campaign: CampaignResult) -> ET.Element:
    case = ET.Element("testcase", classname="campaigns", name=_clean(campaign.name), time="0")
    if campaign.status == "broken":
        _tell(case, "failure", "broken", campaign.detail)
    elif campaign.status == "missing":
        _tell(case, "skipped", "", campaign.detail)
    return case


def _element(phone: PhoneResult, name: str) -> ET.Element:
    # Readers group by the dots of a class name.
    place = f"{phone.device.name} {phone.setting}".replace(".", "_")
    return ET.Element("testcase", classname=_clean(place), name=_clean(name), time="0")


def _tell(case: ET.Element, element: str, kind: str, message: str) -> None:
    found = ET.SubElement(case, element, message=_clean(message))
    if kind:
        found.set("type", kind)
        found.text = _clean(message)


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold, however they are escaped."""
    return _FORBIDDEN.sub("?", text)
