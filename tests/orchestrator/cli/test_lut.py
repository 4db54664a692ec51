"""`nag lut`, as its users meet it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from device_agent.errors import InfrastructureError
from tests.orchestrator.cli.command import Done, Nag, run_nag
from tests.orchestrator.lut.phones import TARGET, TruePhone
from tests.orchestrator.predict.block_tables import block_latencies, write_block_table

BUILD = ("lut", "build", "--width", "0.35", "--resolution", "32", "--classes", "10", "--blocks", "1,1")


@pytest.fixture
def nag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Nag:
    """Runs a command in this process, in a folder of its own; with `phone`, that is what --device names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("orchestrator.lut.items.random_weights", lambda network: network)
    monkeypatch.setattr("orchestrator.lut.items.emit", lambda network, weights: network.name.encode())

    def run(*arguments: str, phone: TruePhone | None = None) -> Done:
        @contextmanager
        def opened(name: str, **_: Any) -> Iterator[TruePhone]:
            assert phone is not None, f"--device {name} was opened"
            yield phone

        monkeypatch.setattr("orchestrator.cli.measure.open_device", opened)
        return run_nag(monkeypatch, capfd, *arguments)

    return run


def test_a_table_is_built_tested_and_shown(nag: Nag, tmp_path: Path) -> None:
    done = nag(*BUILD, "--validate", "8", "--out", "phone.csv", phone=TruePhone(overhead_ms=0.02, scale=1.2))
    assert done.returncode == 0, done.stderr
    assert "tested on 4 networks that fitted nothing" in done.stdout
    assert "calibrated" in done.stdout
    assert "done" in done.stderr
    about = json.loads((tmp_path / "phone.json").read_text())
    assert about["device"]["model"] == "True Phone"
    assert about["calibration"]["scale"] == pytest.approx(1.2)
    assert about["validation"]["calibrated"]["within_5_percent"] == 100
    shown = nag("lut", "show", "phone.csv", "--json")
    assert shown.returncode == 0, shown.stderr
    values = json.loads(shown.stdout)
    assert values["classes"] == [10]
    assert 0.35 in values["widths"]
    (row,) = values["resolutions"]
    assert row["smallest_ms"] < row["median_ms"] < row["largest_ms"]
    assert "resolution   smallest" in nag("lut", "show", "phone.csv").stdout


def test_json_is_the_story_of_the_table(nag: Nag, tmp_path: Path) -> None:
    done = nag(*BUILD, "--validate", "0", "--out", "phone.csv", "--json", phone=TruePhone())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((tmp_path / "phone.json").read_text())
    assert json.loads(done.stdout)["validation"] == {}


def test_a_table_that_ranks_badly_misses_its_threshold(nag: Nag, tmp_path: Path) -> None:
    done = nag(*BUILD, "--validate", "8", "--out", "phone.csv", "--min-within-10", "100", phone=TruePhone(noise=0.5))
    assert done.returncode == 1
    assert "missed: " in done.stderr
    assert "% of networks within 10 %, wanted 100 %" in done.stderr
    assert (tmp_path / "phone.csv").exists()


def test_ctrl_c_and_going_on(nag: Nag, tmp_path: Path) -> None:
    def pace(count: int) -> float:
        if count == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return 1.0

    stopped = nag(*BUILD, "--validate", "0", "--out", "phone.csv", phone=TruePhone(pace=pace))
    assert stopped.returncode == 130
    assert "--resume goes on" in stopped.stderr
    assert not (tmp_path / "phone.csv").exists()
    again = nag(*BUILD, "--validate", "0", "--out", "phone.csv", phone=TruePhone())
    assert again.returncode == 2
    assert "--resume" in again.stderr
    phone = TruePhone()
    resumed = nag(*BUILD, "--validate", "0", "--out", "phone.csv", "--resume", phone=phone)
    assert resumed.returncode == 0, resumed.stderr
    assert len(phone.ran) < 97


def test_a_device_that_goes_is_exit_code_3(nag: Nag) -> None:
    def pace(count: int) -> float:
        raise InfrastructureError("unplugged", device="phone")

    done = nag(*BUILD, "--validate", "0", "--out", "phone.csv", phone=TruePhone(pace=pace))
    assert done.returncode == 3
    assert "unplugged" in done.stderr
    assert "--resume" in done.stderr


def test_every_wrong_option_is_named_before_the_device_is_opened(nag: Nag) -> None:
    done = nag(
        "lut", "build", "--space", "nasbench201", "--device", "table:a:b", "--resolution", "8,x", "--blocks", "3",
        "--validate", "5", "--out", "phone.txt", "--clock", "cpu", "--threads", "2",
    )  # fmt: skip
    assert done.returncode == 2
    for option in ("--space", "--device", "--resolution", "--blocks", "--validate", "--clock", "--out"):
        assert f"{option}: got" in done.stderr


def test_a_file_that_is_no_table_is_refused(nag: Nag, tmp_path: Path) -> None:
    assert nag("lut", "show", "none.csv").returncode == 2
    partial = dict(list(block_latencies(width=TARGET.width, resolutions=(32,)).items())[:50])
    write_block_table(tmp_path / "partial.csv", partial)
    done = nag("lut", "show", "partial.csv")
    assert done.returncode == 2
    assert "for no network" in done.stderr
