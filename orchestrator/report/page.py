"""The report: one HTML file that needs nothing but itself."""

from __future__ import annotations

import os
from pathlib import Path

from plotly.offline import get_plotlyjs

from orchestrator.errors import RunFolderError
from orchestrator.optimize.goal import Goal
from orchestrator.report import readable
from orchestrator.report.markup import Html, html, join, tag
from orchestrator.report.run import Run, read_run
from orchestrator.report.sections import SECTIONS
from orchestrator.report.style import CSS, SCRIPT

REPORT = "report.html"

# The browser itself enforces that nothing is loaded from anywhere.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run folder; a campaign may be working in it.

    Returns:
        The file. It appears whole or not at all.

    Raises:
        RunFolderError: The run cannot be read, or the file cannot be written.
    """
    path = folder / REPORT
    text = render(read_run(folder))
    draft = path.with_name(path.name + ".part")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise RunFolderError(f"{path}: {error.strerror}", "free some space or make the folder writable") from error
    return path


def render(run: Run) -> str:
    """The page."""
    name = run.state.config.name
    links = join(tag("a", title, href=f"#{anchor}") for anchor, title, _ in SECTIONS)
    sections = join(
        (tag("section", join([tag("h2", title), section(run)]), id=anchor) for anchor, title, section in SECTIONS), "\n"
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html(name)}: DeviceNAG report</title>
<link rel="icon" href="data:,">
<style>{CSS}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
{_header(run).text}
<nav><div class="top">{links.text}</div></nav>
<main>
<noscript><p class="notice">The pictures need JavaScript; the tables do not.</p></noscript>
{sections.text}
<footer>DeviceNAG report of {html(str(run.folder.resolve().name))}, made {readable.moment(run.read_at)}.</footer>
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _header(run: Run) -> Html:
    config = run.state.config
    facts = [
        f"space {config.space.kind}",
        f"generator {config.generator.label}",
        f"accuracy: {config.accuracy.kind}",
        f"devices: {', '.join(run.devices)}",
        f"seed {config.seed}",
    ]
    badges = [_state_badge(run), *(tag("span", fact, class_="badge") for fact in facts)]
    parts = [
        tag("h1", config.name),
        tag("div", goal_sentence(run.state.goal), class_="soft"),
        tag("div", join(badges), class_="badges"),
    ]
    return tag("header", tag("div", join(parts), class_="top"))


def goal_sentence(goal: Goal) -> str:
    """The goal in words."""
    bounds = " and ".join(f"{constraint.metric} ≤ {constraint.bound:g}" for constraint in goal.subject_to)
    wanted = f"Highest {goal.maximize}"
    if goal.minimize:
        wanted = f"Pareto front of high {goal.maximize} and low {' and low '.join(goal.minimize)}"
    return f"{wanted}, subject to {bounds}" if bounds else wanted


def _state_badge(run: Run) -> Html:
    if run.stop_reason is not None:
        return tag("span", f"finished: {run.stop_reason}", class_="badge good")
    last = max((candidate.finished_at for candidate in run.state.candidates), default=0.0)
    since = f"last result {readable.moment(last)}" if last else "no result yet"
    state = "running" if run.busy else "interrupted"
    return tag("span", f"{state}, {since}", class_="badge warn")
