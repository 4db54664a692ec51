"""Temporary folders go away with their owners, also with those that are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from device_agent.scratch import ScratchFolder


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_the_folder_lives_until_closed() -> None:
    scratch = ScratchFolder()
    (scratch.path / "file").write_text("x")
    scratch.close()
    scratch.close()
    assert not scratch.path.exists()


def test_folders_of_killed_owners_are_removed_and_others_kept(tmp_path: Path) -> None:
    script = "from device_agent.scratch import ScratchFolder; s = ScratchFolder(); print(s.path, flush=True); input()"
    owner = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    assert owner.stdin is not None
    theirs = Path(owner.stdout.readline().strip())
    foreign = tmp_path / "devicenag-foreign"  # has no lock: not ours to judge
    foreign.mkdir()
    for folder in (theirs, foreign):
        os.utime(folder, (0, 0))
    ScratchFolder().close()
    assert theirs.exists()
    owner.kill()
    owner.wait()
    owner.stdin.close()
    owner.stdout.close()
    ScratchFolder().close()
    assert not theirs.exists()
    assert foreign.exists()
