"""Sets on disk: whole or not at all, loadable by others, with a card that tells the truth."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds
import pytest
import yaml

from profiling.dataset.errors import DatasetError
from profiling.dataset.files import Dataset, device_key, writing
from profiling.dataset.schema import COLUMNS
from tests.profiling.dataset.rows import CRASH, SOURCE, phone, row, write_set

KILLED = """
import os, sys
from pathlib import Path
from profiling.dataset.files import writing
from tests.profiling.dataset.rows import SOURCE, row
with writing(Path(sys.argv[1]), name="killed", replaces=SOURCE.id) as writer:
    writer.add_source(SOURCE)
    for number in range(600):
        writer.add(row(number % 5))
    print("half", flush=True)
    os.kill(os.getpid(), 9)
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_killed_export_leaves_the_old_set_and_the_next_one_clears_up(tmp_path: Path) -> None:
    out = tmp_path / "set"
    write_set(out, [row(0)])
    before = contents(out)
    done = subprocess.run([sys.executable, "-c", KILLED, str(out)], capture_output=True, text=True, timeout=280)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "half\n"), done.stderr
    assert contents(out) == before
    assert len(list(tmp_path.iterdir())) == 2  # the set, and what the killed one had begun
    write_set(out, [row(1)])
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert [each.architecture for each in Dataset.open(out).rows()] == [row(1).architecture]


def test_an_old_set_that_was_moved_aside_is_put_back(tmp_path: Path) -> None:
    write_set(tmp_path / "set", [row(0)])
    os.replace(tmp_path / "set", tmp_path / ".set.old")  # killed between two renames
    with pytest.raises(RuntimeError), writing(tmp_path / "set", name="next", replaces=SOURCE.id):
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert Dataset.open(tmp_path / "set").manifest.rows == 1


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_set(tmp_path / "set", (row(number // number) for number in (1, 0)))
    with pytest.raises(DatasetError, match="no data set"), writing(tmp_path / "set", name="set"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_batch", full)
    with pytest.raises(DatasetError, match="No space left on device; nothing was written"):
        write_set(tmp_path / "set", [row(0)])
    assert list(tmp_path.iterdir()) == []


def test_only_a_set_of_the_same_source_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    write_set(tmp_path / "other", [row(0)], sources=[replace(SOURCE, id="0dd1ab"), SOURCE])
    for name, says in (("mine", "is not empty"), ("file", "is a file"), ("other", "is not empty")):
        with pytest.raises(DatasetError, match=says):
            write_set(tmp_path / name, [row(0)])
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    assert write_set(tmp_path / "empty", [row(0)]).rows == 1


def test_pandas_and_arrow_read_all_devices_at_once(tmp_path: Path) -> None:
    names = ["Pixel 7", "Galaxy S23 Ultra", "小米 12", "小米 13", "pixel-7", "default", "a/b %20 ..\\c"]
    write_set(tmp_path / "set", [row(number, phone(0, name)) for number, name in enumerate(names)])
    frame = pd.read_parquet(tmp_path / "set" / "data")
    assert sorted(frame.device) == sorted(names)
    assert set(frame.columns) == {name for name, _, _ in COLUMNS} | {"device_key"}
    assert ds.dataset(tmp_path / "set" / "data", partitioning="hive").count_rows() == len(names)
    assert frame.device_key.nunique() == len(names)
    assert all(key.replace("-", "").isalnum() and key.isascii() for key in frame.device_key)


def test_keys_of_devices() -> None:
    assert device_key("Pixel 7 Pro", set()) == "pixel-7-pro"
    assert device_key("Pixel-7 pro", {"pixel-7-pro"}).startswith("pixel-7-pro-")
    assert device_key("…", set()).startswith("device-")
    assert device_key("小米 12", set()).startswith("12-")


def test_the_card_tells_the_truth(tmp_path: Path) -> None:
    hostile = "evil | <script>alert(1)</script> `x` & ]]>"
    rows = [row(number, phone(number % 2, hostile)) for number in range(8)]
    rows += [row(100 + number, failure=CRASH) for number in range(3)]
    rows.append(row(7, drift_suspect=True))
    write_set(tmp_path / "set", rows, sources=[replace(SOURCE, missing_count=1200)])
    text = (tmp_path / "set" / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    values = yaml.safe_load(front)
    assert values["license"] == "cc-by-4.0"
    assert values["size_categories"] == ["n<1K"]
    for config in values["configs"]:
        (entry,) = config["data_files"]
        assert list((tmp_path / "set").glob(entry["path"])), entry
    assert "12 rows: 9 latencies" in body
    assert "**Partial**: 1,200 measurements of pixels" in body
    assert "3 `model/crash`" in body
    assert "2 phones shared the work and nothing was measured on two" in body
    assert "around 1 rows its reference model drifted" in body
    assert "<script>" not in body
    assert all(f"| `{name}` |" in body for name, _, _ in COLUMNS)
    pictures = sorted((tmp_path / "set" / "plots").iterdir())
    assert [picture.name for picture in pictures] == ["half_width.svg", "latency.svg", "outcome.svg"]
    for picture in pictures:
        assert ET.fromstring(picture.read_text()).tag.endswith("svg")
        assert f"plots/{picture.name}" in body
        assert picture.stat().st_size < 50_000


def test_a_set_of_failures_has_a_card_too(tmp_path: Path) -> None:
    write_set(tmp_path / "set", [row(0, failure=CRASH)])
    assert "0 latencies with their 95 % intervals, and 1 failures" in (tmp_path / "set" / "README.md").read_text()
