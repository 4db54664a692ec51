"""`nag` within this process: quick, and what it prints is seen as its users see it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from orchestrator.cli.main import main


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Nag = Callable[..., Done]


def run_nag(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: str) -> Done:
    """Run a command; what was printed before is forgotten."""
    monkeypatch.setattr(sys, "argv", ["nag", *arguments])
    capfd.readouterr()
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    printed = capfd.readouterr()
    return Done(code, printed.out, printed.err)
