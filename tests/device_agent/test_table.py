"""TableDevice replays a column: exactly, or with reproducible noise."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_agent.device import Artifact
from device_agent.errors import TableMiss
from device_agent.measure import measure
from device_agent.table import TableDevice
from profiling.plan import MeasurementPlan
from profiling.table import TableError
from tests.contracts.device_contract import DeviceContract

ROWS = {f"|op~{i}|": 1.0 + 0.25 * i for i in range(200)}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "latency.csv"
    path.write_text("arch,pixel,other\n" + "".join(f"{arch},{ms},3\n" for arch, ms in ROWS.items()))
    return path


def architecture(label: str) -> Artifact:
    return Artifact("", b"", label)


class TestTableContract(DeviceContract):
    @pytest.fixture
    def device(self, table: Path) -> TableDevice:
        return TableDevice.of_column(table, "pixel", noise=0.02)

    @pytest.fixture
    def artifact(self) -> Artifact:
        return architecture("|op~3|")

    @pytest.fixture
    def unusable(self) -> Artifact:
        return architecture("|op~999|")


def test_without_noise_it_is_the_table(table: Path) -> None:
    device = TableDevice.of_column(table, "pixel")
    for label, latency_ms in ROWS.items():
        measurement = measure(device, architecture(label), MeasurementPlan())
        assert measurement.latency_ms == pytest.approx(latency_ms)
        assert measurement.standard_error_log == 0
        assert measurement.grade == "A"
        assert len(measurement.blocks) == 1


def test_noise_is_log_normal_reproducible_and_independent(table: Path) -> None:
    def logs(seed: int, column: str = "pixel", index: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        device = TableDevice.of_column(table, column, noise=0.05, seed=seed)
        plan = MeasurementPlan()
        truth = ROWS if column == "pixel" else dict.fromkeys(ROWS, 3.0)
        values = [device.run_block(architecture(a), plan, index).value_ms / ms for a, ms in truth.items()]
        return np.log(values)

    first = logs(seed=1)
    assert np.array_equal(first, logs(seed=1))
    assert first.std() == pytest.approx(0.05, rel=0.15)
    assert abs(first.mean()) < 0.015
    for other in (logs(seed=2), logs(seed=1, column="other"), logs(seed=1, index=1)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.25


def test_noise_reaches_the_standard_error(table: Path) -> None:
    measurement = measure(TableDevice.of_column(table, "pixel", noise=0.05), architecture("|op~0|"), MeasurementPlan())
    assert measurement.standard_error_log == 0.05
    assert measurement.half_width == pytest.approx(1.96 * 0.05, rel=1e-4)
    assert math.isfinite(measurement.latency_ms)


def test_noisy_blocks_are_measured_as_on_a_device_that_runs(table: Path) -> None:
    device = TableDevice.of_column(table, "pixel", block_noise=0.03)
    plan = MeasurementPlan(min_blocks=3, max_blocks=12, target_half_width=0.02)
    measurement = measure(device, architecture("|op~0|"), plan)
    values = [block.value_ms for block in measurement.blocks]
    assert 3 < len(values) == len(set(values))
    assert all(block.statistic == "median" and block.duration_s > plan.block_seconds for block in measurement.blocks)
    assert [device.run_block(architecture("|op~0|"), plan, index).value_ms for index in range(len(values))] == values
    assert len(measure(device, architecture("|op~0|"), replace(plan, target_half_width=0.2)).blocks) == 3
    assert device.info.epoch != TableDevice.of_column(table, "pixel").info.epoch


def test_a_miss_names_device_table_and_architecture(table: Path) -> None:
    device = TableDevice.of_column(table, "pixel", name="Pixel 3")
    with pytest.raises(TableMiss) as caught:
        device.deploy(architecture("|nowhere|"))
    assert "[Pixel 3]" in str(caught.value)
    assert "|nowhere|" in str(caught.value)
    assert "latency.csv" in str(caught.value)
    assert caught.value.failure().code == "not_in_table"


def test_the_epoch_follows_content_and_noise(table: Path, tmp_path: Path) -> None:
    epoch = TableDevice.of_column(table, "pixel").info.epoch
    assert TableDevice.of_column(table, "pixel", seed=5).info.epoch == epoch
    assert TableDevice.of_column(table, "pixel", noise=0.1).info.epoch != epoch
    edited = tmp_path / "edited.csv"
    edited.write_text(table.read_text().replace("1.25", "1.26"))
    assert TableDevice.of_column(edited, "pixel").info.epoch != epoch


def test_unusable_tables_and_noise_are_refused(table: Path) -> None:
    with pytest.raises(TableError, match="no column 'pixel4'"):
        TableDevice.of_column(table, "pixel4")
    with pytest.raises(ValueError, match="noise"):
        TableDevice.of_column(table, "pixel", noise=-0.1)
    with pytest.raises(ValueError, match="noise"):
        TableDevice.of_column(table, "pixel", block_noise=1.0)
