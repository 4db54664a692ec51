"""Pieces of HTML: every text that is not ours is escaped here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go

_LONG = 25  # rows


@dataclass(frozen=True)
class Html:
    """Text that is HTML already; anything else is escaped."""

    text: str


@dataclass(frozen=True)
class Cell:
    """A table cell with a sort key of its own.

    Attributes:
        content: What is shown.
        key: What the column sorts by; None sorts last.
        classes: CSS classes.
    """

    content: str | Html
    key: float | str | None = None
    classes: str = ""


Content = str | int | Html | Cell


def html(content: str | int | Html) -> str:
    """The content as HTML."""
    return content.text if isinstance(content, Html) else escape(str(content))


def tag(name: str, content: str | int | Html, **attributes: str) -> Html:
    """`<name ...>content</name>`; attributes are escaped, `class_` is `class`, underscores become dashes."""
    pairs = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{pairs}>{html(content)}</{name}>")


def join(parts: Iterable[str | Html], separator: str = "") -> Html:
    """The parts one after the other; the separator is HTML."""
    return Html(separator.join(html(part) for part in parts))


def code(text: str) -> Html:
    """An architecture or another literal, which may break after `+` and `/`."""
    broken = escape(text).replace("+", "+<wbr>").replace("/", "/<wbr>")
    return Html(f"<code>{broken}</code>")


def table(headings: Sequence[str], rows: Sequence[Sequence[Content]], *, sortable: bool = False) -> Html:
    """A table that scrolls when it is too wide or too long; columns of numbers are aligned to the right."""
    numeric = [
        any(isinstance(cell, Cell) and "number" in cell.classes for cell in column)
        for column in zip(*rows, strict=True)
    ]
    numeric += [False] * (len(headings) - len(numeric))
    head = "".join(_heading(*pair, sortable) for pair in zip(headings, numeric, strict=True))
    body = "\n".join(f"<tr>{''.join(_cell(content) for content in row)}</tr>" for row in rows)
    kind = ' class="sortable"' if sortable else ""
    box = "scroll tall" if len(rows) > _LONG else "scroll"
    return Html(
        f'<div class="{box}"><table{kind}><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
    )


def _heading(text: str, is_number: bool, sortable: bool) -> str:
    content = f'<button type="button">{escape(text)}</button>' if sortable else escape(text)
    return f'<th scope="col"{" class=number" if is_number else ""}>{content}</th>'


def _cell(content: Content) -> str:
    if not isinstance(content, Cell):
        return f"<td>{html(content)}</td>"
    classes = f' class="{escape(content.classes)}"' if content.classes else ""
    key = "" if content.key is None else escape(str(content.key))
    return f'<td{classes} data-key="{key}">{html(content.content)}</td>'


def number_cell(text: str | Html, key: float | None, classes: str = "") -> Cell:
    """A number, aligned to the right and sorted by its value."""
    return Cell(text, key, f"number {classes}".strip())


def figure(name: str, picture: go.Figure, caption: str | Html, description: str) -> Html:
    """A Plotly picture, drawn by the page's script from the JSON that stands beside it."""
    values: dict[str, Any] = json.loads(picture.to_json())
    height = int(values["layout"]["height"])
    anchor = escape(f"figure-{name}")
    return Html(
        f'<figure><div class="plot" id="{anchor}" style="height:{height}px" role="img" '
        f'aria-label="{escape(description)}"></div>'
        f'<script type="application/json" data-figure="{anchor}">{script_json(values)}</script>'
        f"{f'<figcaption>{html(caption)}</figcaption>' if html(caption) else ''}</figure>"
    )


def script_json(values: Any) -> str:
    """JSON that can stand inside a script element: no `<` can end it."""
    return json.dumps(values, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
