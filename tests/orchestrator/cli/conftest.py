"""What tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.orchestrator.cli.command import Done, Nag, run_nag


@pytest.fixture
def nag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Nag:
    """Runs a command in this process, in a folder and with a home of its own, on a wide terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEVICENAG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Done:
        return run_nag(monkeypatch, capfd, *arguments)

    return run
