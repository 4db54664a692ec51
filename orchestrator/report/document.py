"""Document: a page that needs nothing but itself, and the file it is written to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plotly.offline import get_plotlyjs

from orchestrator.errors import RunFolderError
from orchestrator.report import readable
from orchestrator.report.markup import Html, html, join, tag
from orchestrator.report.style import CSS, SCRIPT

REPORT = "report.html"

# The browser itself enforces that nothing is loaded from anywhere.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True)
class Section:
    """A part of a page: where links lead to, its heading, its content."""

    anchor: str
    title: str
    content: Html


def document(name: str, header: Html, sections: Sequence[Section], folder: Path, made_at: float) -> str:
    """The page.

    Args:
        name: Of what it reports on.
        header: What stands above everything.
        sections: In order.
        folder: The run folder.
        made_at: Seconds since the epoch.
    """
    links = join(tag("a", section.title, href=f"#{section.anchor}") for section in sections)
    shown = join(
        (tag("section", join([tag("h2", each.title), each.content]), id=each.anchor) for each in sections), "\n"
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
{header.text}
<nav><div class="top">{links.text}</div></nav>
<main>
<noscript><p class="notice">The pictures need JavaScript; the tables do not.</p></noscript>
{shown.text}
<footer>DeviceNAG report of {html(str(folder.resolve().name))}, made {readable.moment(made_at)}.</footer>
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def page_header(name: str, goal: str, badges: Sequence[Html]) -> Html:
    """Name, what it is about in a sentence, and facts."""
    parts = [tag("h1", name), tag("div", goal, class_="soft"), tag("div", join(badges), class_="badges")]
    return tag("header", tag("div", join(parts), class_="top"))


def write_document(folder: Path, text: str) -> Path:
    """Write `report.html` into a run folder.

    Returns:
        The file. It appears whole or not at all.

    Raises:
        RunFolderError: It cannot be written.
    """
    path = folder / REPORT
    draft = path.with_name(path.name + ".part")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise RunFolderError(f"{path}: {error.strerror}", "free some space or make the folder writable") from error
    return path
