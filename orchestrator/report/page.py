"""The report of a campaign: one HTML file that needs nothing but itself."""

from __future__ import annotations

from pathlib import Path

from orchestrator.optimize.goal import Goal
from orchestrator.report import readable
from orchestrator.report.document import Section, document, page_header, write_document
from orchestrator.report.markup import Html, tag
from orchestrator.report.run import Run, read_run
from orchestrator.report.sections import SECTIONS


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run folder; a campaign may be working in it.

    Returns:
        The file. It appears whole or not at all.

    Raises:
        RunFolderError: The run cannot be read, or the file cannot be written.
    """
    return write_document(folder, render(read_run(folder)))


def render(run: Run) -> str:
    """The page."""
    sections = [Section(anchor, title, section(run)) for anchor, title, section in SECTIONS]
    return document(run.state.config.name, _header(run), sections, run.folder, run.read_at)


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
    return page_header(config.name, goal_sentence(run.state.goal), badges)


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
