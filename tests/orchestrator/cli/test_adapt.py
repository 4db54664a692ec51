"""`nag train latency` and `nag adapt`, as their users meet them."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from device_agent.errors import ModelCrashed
from orchestrator.cli import measure
from orchestrator.cli.main import main
from orchestrator.predict.latency.checkpoint import load_adapted
from tests.device_agent.scripted import ScriptedDevice
from tests.orchestrator.predict.latency.made_up import SPACE, additive, networks

DEVICES = ("gpu_1", "gpu_32", "phone", "server", "tablet")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """200 architectures on five devices."""
    columns = [additive(row)[:200] for row in range(len(DEVICES))]
    return _write(tmp_path / "table.csv", dict(zip(DEVICES, columns, strict=True)))


def _write(path: Path, columns: dict[str, Any]) -> Path:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["arch", *columns])
        for slots, *cells in zip(networks(), *columns.values(), strict=False):
            rows.writerow([SPACE.architecture(slots).text, *cells])
    return path


class Nag:
    """Runs commands in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capfd = monkeypatch, capfd

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        torch.set_num_threads(1)
        self._monkeypatch.setattr(sys, "argv", ["nag", *map(str, arguments)])
        self._capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self._capfd.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err


@pytest.fixture
def nag(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Nag:
    monkeypatch.chdir(tmp_path)
    return Nag(monkeypatch, capfd)


def test_train_then_adapt_on_a_held_out_column(nag: Nag, table: Path) -> None:
    code, out, err = nag(
        "train", "latency", "--space", "nasbench201", "--table", table, "--out", "p.safetensors", "--json"
    )
    assert code == 0, err
    assert [each["device"] for each in json.loads(out)["devices"]] == list(DEVICES)
    assert "device 1/5: gpu_1" in err
    command = ("adapt", "--table", table, "--column", "gpu_32", "--samples", 8, "--prior", "p.safetensors", "--json")
    code, out, err = nag(*command)
    assert code == 0, err
    printed = json.loads(out)
    assert printed["prior"] == {"devices": ["phone", "server", "tablet"], "left_out": ["gpu_1", "gpu_32"]}
    assert "left out of the prior, being gpu_32 or of its family: gpu_1, gpu_32" in err
    assert len(printed["measured"]) == len(set(printed["measured"])) == 8
    assert printed["evaluated"] == 192
    assert printed["spearman"] > 0.95
    assert {"kendall", "within_5_percent", "within_10_percent", "coverage_90", "seconds"} <= printed.keys()
    again = json.loads(nag(*command)[1])
    assert all(again[name] == printed[name] for name in ("spearman", "kendall", "measured", "coverage_90"))
    code, out, err = nag(*command[:-1])
    assert code == 0, err
    assert "gpu_32, from 8 measurements" in out


def test_some_columns_may_be_named(nag: Nag, table: Path) -> None:
    code, out, err = nag("train", "latency", "--space", "nasbench201", "--table", table, "--devices", "phone, tablet")
    assert code == 0, err
    assert "2 devices" in out
    assert Path("latency_nasbench201.safetensors").stat().st_size < 4 * 2**20


class Counting(ScriptedDevice):
    """Each artifact takes as long as it is large."""

    def __init__(self) -> None:
        super().__init__([], name="counted", kind="host")
        self.blocks: list[str] = []
        self.lost_after: int | None = None

    def run_block(self, artifact: Any, plan: Any, index: int) -> Any:
        if len(self.blocks) == self.lost_after:
            raise ModelCrashed("it is gone", device="counted")
        self.blocks.append(artifact.sha256)
        self._steps = [1.0 + len(artifact.data) / 1e6] * (index + 1)
        return super().run_block(artifact, plan, index)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """What `--device host` opens."""
    counting = Counting()

    @contextmanager
    def opened(*_: object, **__: object) -> Iterator[Counting]:
        yield counting

    monkeypatch.setattr(measure, "open_device", opened)
    return counting


def test_no_more_is_measured_than_asked(nag: Nag, table: Path, device: Counting) -> None:
    nag("train", "latency", "--space", "nasbench201", "--table", table, "--out", "p.safetensors")
    code, out, err = nag(
        "adapt", "--device", "host", "--samples", 6, "--prior", "p.safetensors", "--out", "d.safetensors", "--json"
    )
    assert code == 0, err
    printed = json.loads(out)
    assert len(set(device.blocks)) == len(printed["measured"]) == 6
    assert len(printed["measured_ms"]) == 6
    assert printed["evaluated"] == "each of the 6 from the others"
    made = load_adapted(Path("d.safetensors"), SPACE)
    assert made.measured.values.tolist() == printed["measured_ms"]
    assert not list(Path().glob("*.sqlite"))


def test_an_interrupted_command_goes_on(nag: Nag, table: Path, device: Counting) -> None:
    nag("train", "latency", "--space", "nasbench201", "--table", table, "--out", "p.safetensors")
    command = (
        "adapt",
        "--device",
        "host",
        "--samples",
        5,
        "--prior",
        "p.safetensors",
        "--out",
        "d.safetensors",
        "--json",
    )
    device.lost_after = 8
    code, _, err = nag(*command)
    assert code == 3
    assert "Traceback" not in err
    assert Path("d.journal.sqlite").exists()
    device.lost_after = None
    code, out, err = nag(*command)
    assert code == 0, err
    assert len(set(device.blocks)) == len(json.loads(out)["measured"]) == 5
    whole = len(device.blocks)
    device.blocks.clear()
    nag(*command)
    assert whole <= len(device.blocks) + 8  # what was measured before counts


def test_so_few_measurements_are_no_test_of_one_another(nag: Nag, table: Path, device: Counting) -> None:
    nag("train", "latency", "--space", "nasbench201", "--table", table, "--out", "p.safetensors")
    code, out, err = nag("adapt", "--device", "host", "--samples", 3, "--prior", "p.safetensors", "--json")
    assert code == 0, err
    printed = json.loads(out)
    assert len(set(device.blocks)) == 3
    assert printed["spearman"] is None
    assert printed["predictions"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--samples", "3"], "one of them"),
        (["--table", "table.csv"], "a column of --table"),
        (["--table", "table.csv", "--column", "phone", "--samples", "199"], "at most 198"),
        (["--table", "table.csv", "--column", "watch"], "no column 'watch'"),
        (["--table", "table.csv", "--column", "phone", "--references", "best"], "chosen or random"),
        (["--device", "host", "--samples", "0"], "at least 1"),
        (["--device", "table:a.csv:b"], "--table and --column"),
        (["--table", "table.csv", "--column", "phone", "--space", "nasbench301"], "nasbench301"),
        (["--table", "table.csv", "--column", "phone", "--prior", "none.safetensors"], "none.safetensors"),
    ],
)
def test_a_wrong_command_says_what_and_what_to_do(nag: Nag, table: Path, arguments: list[str], said: str) -> None:
    code, out, err = nag("adapt", *arguments)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert not out


@pytest.mark.parametrize("cell", ["", "nan", "-1", "0", "slow"])
def test_a_bad_cell_is_named_by_row_and_column(nag: Nag, tmp_path: Path, cell: str) -> None:
    values: list[object] = [*np.linspace(1, 2, 20)]
    values[6] = cell
    bad = _write(tmp_path / "bad.csv", {"phone": values})
    for command in (
        ("train", "latency", "--space", "nasbench201", "--table", bad),
        ("adapt", "--table", bad, "--column", "phone"),
    ):
        code, _, err = nag(*command)
        assert code == 2
        assert "column 'phone'" in err
        assert "row 7" in err
