"""What the README and the documentation say can be typed, read and followed: commands, Python, YAML, paths, links."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from orchestrator.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
OURS = ("profiling", "device_agent", "orchestrator")

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.M | re.S)
_INLINE = re.compile(r"`(nag [^`]+)`")
_LINE = re.compile(r"^\s*(?:\$ )?(?:\.venv/bin/)?(nag .*)$", re.M)
_COMMENT = re.compile(r"\s+#.*$|\s{3,}.*$")  # explanations stand behind some space
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_PATH = re.compile(r"\b(?:configs|benchmarks|docs|tests|scripts)/[\w./-]+\.(?:py|yaml|md|png)\b")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks of a language."""
    for indent, language, body in _FENCE.findall(text_of(page)):
        if language in languages:
            yield re.sub(f"^{indent}", "", body, flags=re.M)


def commands(page: Path) -> Iterator[list[str]]:
    """Every `nag ...` of a page as words: without explanations, brackets of what may be left out, and dots for more."""
    text = re.sub(r"\\\n\s*", "", text_of(page))
    fenced = "\n".join(body for _, _, body in _FENCE.findall(text))
    indented = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    typed = [_COMMENT.sub("", line) for line in _LINE.findall(fenced + "\n" + indented)]
    for command in dict.fromkeys([*typed, *_INLINE.findall(_FENCE.sub("", text))]):
        plain = command.replace("\\|", "|")
        plain = re.sub(r"\[(?=-)|(?<=\w)\](?=\s|$)|\[(?=[A-Z])", "", plain)
        words = takewhile(lambda word: word not in ("|", "||", "&&", ";", ">"), shlex.split(plain))
        yield from alternatives([word for word in words if word != "..."][1:])


def alternatives(words: list[str]) -> Iterator[list[str]]:
    """`dataset validate|merge` is two commands; `FILE|URL` and values of options are not."""
    for number, word in enumerate(words[:2]):
        if re.fullmatch(r"[a-z]+(\|[a-z]+)+", word):
            for each in word.split("|"):
                yield [*words[:number], each, *words[number + 1 :]]
            return
    yield words


@cache
def nag() -> Any:
    return typer.main.get_command(app)


def problem(words: list[str]) -> str:
    """What is wrong with a command as far as that can be told without running it; empty: nothing.

    A last option may stand without its value: sentences speak of options.
    """
    command = nag()
    context = command.context_class(command, info_name="nag")
    rest = list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in command.commands:
            return f"there is no {name!r}"
        command = command.commands[name]
        context = command.context_class(command, info_name=name, parent=context)
    if rest and rest[-1].startswith("--"):
        (takes_value,) = {not p.is_flag for p in command.params if rest[-1] in p.opts} or {False}
        rest += ["VALUE"] * takes_value
    try:
        _, left, _ = command.make_parser(context).parse_args(rest)
    except Exception as error:  # one of Click's: no such option, or one without its value
        return str(error)
    return f"unexpected: {' '.join(left)}" if left and not hasattr(command, "commands") else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_those_of_the_program(page: Path) -> None:
    wrong = {shlex.join(words): why for words in commands(page) if (why := problem(words))}
    assert wrong == {}


def test_wrong_commands_would_be_found() -> None:
    assert len([words for page in PAGES for words in commands(page)]) > 100
    assert problem(["run", "CONFIG", "--out", "RUN"]) == ""
    for words in (["fly"], ["run", "CONFIG", "--outt", "RUN"], ["run", "A", "B"], ["lut", "bild"], ["run", "A", "-x"]):
        assert problem(words), words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_is_python_and_imports_what_is_there(page: Path) -> None:
    for code in blocks(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS:
                module = importlib.import_module(node.module or "")
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_is_yaml(page: Path) -> None:
    for text in blocks(page, "yaml", "yml"):
        assert yaml.safe_load(text) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = text_of(page)
    links = [link for link in _LINK.findall(text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert [path for path in _PATH.findall(text) if not (ROOT / path).exists()] == []
