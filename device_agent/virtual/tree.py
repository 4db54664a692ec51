"""What the shell's grammar makes of a text: the tree that `device_agent.virtual.shell` executes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """Literal characters; quoted ones are never split or globbed."""

    text: str
    quoted: bool


@dataclass(frozen=True)
class Variable:
    """`$NAME` or `${NAME:-default}`."""

    name: str
    quoted: bool
    default: str | None = None


@dataclass(frozen=True)
class Substitution:
    """`$(...)`."""

    script: Script
    quoted: bool


Word = tuple[Text | Variable | Substitution, ...]


@dataclass(frozen=True)
class Redirect:
    """`2>file`, `<file`, `>>file`; for `2>&1` the target is the text `1` and the operator `>&`."""

    descriptor: int
    operator: str
    target: Word


@dataclass(frozen=True)
class Simple:
    """Assignments, a command with its arguments, redirections."""

    assignments: tuple[tuple[str, Word], ...]
    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...]


@dataclass(frozen=True)
class Compound:
    """`( list )` or `{ list; }`."""

    body: Script
    subshell: bool
    redirects: tuple[Redirect, ...]


@dataclass(frozen=True)
class If:
    """`if` with its `elif`s and `else`."""

    branches: tuple[tuple[Script, Script], ...]
    otherwise: Script | None
    redirects: tuple[Redirect, ...]


@dataclass(frozen=True)
class For:
    """`for NAME in WORDS; do ...; done`."""

    name: str
    words: tuple[Word, ...]
    body: Script
    redirects: tuple[Redirect, ...]


@dataclass(frozen=True)
class While:
    """`while` or `until`."""

    condition: Script
    body: Script
    until: bool
    redirects: tuple[Redirect, ...]


Command = Simple | Compound | If | For | While


@dataclass(frozen=True)
class Pipeline:
    """Commands connected by `|`."""

    commands: tuple[Command, ...]
    negated: bool


@dataclass(frozen=True)
class AndOr:
    """Pipelines connected by `&&` and `||`; the first one's connector is `&&`."""

    pipelines: tuple[tuple[str, Pipeline], ...]
    background: bool


@dataclass(frozen=True)
class Script:
    """A list of commands."""

    items: tuple[AndOr, ...]
