"""An exported set is a table: devices look latencies up in it, and predictors learn from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_agent.device import Artifact
from device_agent.errors import TableMiss
from device_agent.table import TableDevice
from orchestrator.errors import DataError
from orchestrator.predict.latency.tables import device_columns, read_latencies
from orchestrator.space.nasbench201 import NASBench201
from profiling.dataset.row import DatasetRow
from profiling.plan import MeasurementPlan
from tests.profiling.dataset.rows import CRASH, phone, row, write_set

SPACE = NASBench201()
TEXTS = [SPACE.at(index).text for index in range(2000, 2006)]


def architecture(number: int, device: str = "Pixel 7", **changes: object) -> DatasetRow:
    failure = CRASH if changes.pop("fails", False) else None
    return replace(row(number, phone(0, device), failure=failure), architecture=TEXTS[number], **changes)


def latencies(rows: list[DatasetRow]) -> dict[str, float]:
    return {each.architecture: each.latency_ms for each in rows if each.latency_ms is not None}


def test_a_set_is_a_table_device(tmp_path: Path) -> None:
    rows = [architecture(number, fails=number == 2) for number in range(4)]
    write_set(tmp_path / "set", rows)
    device = TableDevice.of_column(tmp_path / "set", "Pixel 7")
    assert device.info.properties["architectures"] == 3
    block = device.run_block(Artifact("", b"", TEXTS[3]), MeasurementPlan(), 0)
    assert block.value_ms == pytest.approx(rows[3].latency_ms)
    with pytest.raises(TableMiss):
        device.deploy(Artifact("", b"", TEXTS[2]))


def test_a_set_trains_a_latency_predictor(tmp_path: Path) -> None:
    slow = [architecture(number, "slow", fails=number == 1) for number in range(6)]
    fast = [architecture(number, "fast", fails=number == 4) for number in reversed(range(6))]
    write_set(tmp_path / "set", [*slow, *fast])
    assert device_columns(tmp_path / "set") == ("fast", "slow")
    table = read_latencies(tmp_path / "set", ["slow", "fast"], SPACE)
    texts = [SPACE.architecture(tuple(slots)).text for slots in table.slots.tolist()]
    assert sorted(texts) == sorted(TEXTS[number] for number in (0, 2, 3, 5))
    for device, rows in (("slow", slow), ("fast", fast)):
        known = latencies(rows)
        np.testing.assert_allclose(table.latency_ms[device], [known[text] for text in texts])


def test_devices_with_nothing_in_common_cannot_be_trained_on_together(tmp_path: Path) -> None:
    write_set(tmp_path / "set", [architecture(0, "one"), architecture(1, "two")])
    with pytest.raises(DataError, match="no architecture has a latency on all of one, two"):
        read_latencies(tmp_path / "set", ["one", "two"], SPACE)
