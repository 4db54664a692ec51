"""Where the verbs print for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console

PIPE_WIDTH = 200


def output(**options: Any) -> Console:
    """Standard output; wide where it is no terminal, so that rows of tables stay whole in logs, files and pipes."""
    console = Console(**options)
    return console if console.is_terminal else Console(width=PIPE_WIDTH, **options)
