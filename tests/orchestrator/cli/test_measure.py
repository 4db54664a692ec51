"""`nag measure` on devices that do what a test says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.device_agent.scripted import ScriptedDevice
from tests.orchestrator.cli.command import Nag


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> ScriptedDevice:
    """What --device names: its first two blocks are rejected."""
    scripted = ScriptedDevice([-10.0, -10.0, 10.0, 10.0, 10.0, 10.0])

    @contextmanager
    def opened(name: str, **_: Any) -> Iterator[ScriptedDevice]:
        yield scripted

    monkeypatch.setattr("orchestrator.cli.measure.open_device", opened)
    return scripted


def test_rejected_blocks_do_not_count(nag: Nag, device: ScriptedDevice, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"model")
    done = nag("measure", "model.tflite")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("10.0000 ms  [10.0000, 10.0000] (95 %)\ngrade C, 4 of 6 blocks used, on scripted\n")
    assert json.loads(nag("measure", "model.tflite", "--json").stdout)["latency_ms"] == pytest.approx(10.0)


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_without_any_usable_block_there_is_no_latency(
    nag: Nag, device: ScriptedDevice, tmp_path: Path, as_json: tuple[str, ...]
) -> None:
    (tmp_path / "model.tflite").write_bytes(b"model")
    done = nag("measure", "model.tflite", "--max-blocks", "2", *as_json)
    assert (done.returncode, done.stdout) == (3, "")
    assert "model.tflite on scripted: no latency: no block could be used (throttled: 2)" in done.stderr
    assert "--max-blocks" in done.stderr
