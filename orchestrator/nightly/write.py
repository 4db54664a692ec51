"""What a night leaves behind: files made from its result, each whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.nightly.junit import junit_xml
from orchestrator.nightly.night import write_whole
from orchestrator.nightly.page import render
from orchestrator.nightly.prometheus import prometheus_text
from orchestrator.nightly.result import NightResult

REPORT, JUNIT, RESULT, PROMETHEUS = "report.html", "junit.xml", "result.json", "nightly.prom"


def write_night(night: NightResult, folder: Path) -> dict[str, Path]:
    """Write the four files into the run folder. Raises RunFolderError.

    Returns:
        What each is -> its path.
    """
    texts = {
        REPORT: render(night),
        JUNIT: junit_xml(night),
        RESULT: json.dumps(night.to_json(), indent=2, allow_nan=False) + "\n",
        PROMETHEUS: prometheus_text(night),
    }
    for name, text in texts.items():
        write_whole(folder / name, text)
    return {
        "page": folder / REPORT,
        "JUnit": folder / JUNIT,
        "JSON": folder / RESULT,
        "Prometheus": folder / PROMETHEUS,
    }
