"""The shell's grammar."""

from __future__ import annotations

import contextlib
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.virtual.syntax import ShellSyntaxError, parse
from device_agent.virtual.tree import Simple, Text


def _literal_words(text: str) -> list[str]:
    """The words of a script that is one simple command without expansions."""
    (item,) = parse(text).items
    command = item.pipelines[0][1].commands[0]
    assert isinstance(command, Simple)
    assert all(isinstance(part, Text) for word in command.words for part in word)
    return ["".join(part.text for part in word if isinstance(part, Text)) for word in command.words]


@given(st.lists(st.text(), min_size=1))
def test_what_shlex_quotes_is_read_back(words: list[str]) -> None:
    assert _literal_words(shlex.join(["echo", *words])) == ["echo", *words]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo a\\ b 'c  d'\"e f\"g", ["echo", "a b", "c  de fg"]),
        ("echo a # b", ["echo", "a"]),
        ("echo a#b", ["echo", "a#b"]),
        ("echo a\\\n b", ["echo", "a", "b"]),
        ("echo if then done }", ["echo", "if", "then", "done", "}"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert _literal_words(text) == words


@pytest.mark.parametrize(
    "text",
    [
        "'",
        '"',
        "`",
        "$(",
        "${a",
        "(",
        "a |",
        "a &&",
        "if true",
        "for x",
        "while true; do",
        "fi",
        ")",
        "a > ;",
        "&",
        "| a",
    ],
)
def test_what_is_no_script(text: str) -> None:
    with pytest.raises(ShellSyntaxError):
        parse(text)


@given(st.text(alphabet="ab '\"$()`{}|&;<>\\\n!#2=if", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ShellSyntaxError):
        parse(text)
