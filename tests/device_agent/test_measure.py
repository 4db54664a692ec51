"""measure() runs blocks until the stop rule is content, and goes on after interruptions."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agent.device import Artifact
from device_agent.errors import CommandTimeout, TableMiss
from device_agent.host import HostDevice
from device_agent.measure import measure
from device_agent.table import TableDevice
from profiling.plan import MeasurementPlan
from profiling.records import Block
from tests.device_agent.models import misbehaving_python, small_artifact
from tests.device_agent.scripted import ScriptedDevice

PLAN = MeasurementPlan()
ARTIFACT = Artifact.of(b"model", "model")


def test_stops_when_the_interval_is_narrow() -> None:
    device = ScriptedDevice([10.0, 10.01, 9.99, 10.0, 77.0])
    measurement = measure(device, ARTIFACT, PLAN)
    assert len(measurement.blocks) == 4
    assert measurement.grade == "A"
    assert measurement.artifact_sha256 == ARTIFACT.sha256
    assert device.deployed == [ARTIFACT.sha256]


def test_stops_at_the_most_blocks() -> None:
    measurement = measure(ScriptedDevice([10.0, 20.0] * 10), ARTIFACT, PLAN)
    assert len(measurement.blocks) == PLAN.max_blocks
    assert measurement.grade == "C"


def test_goes_on_from_earlier_blocks() -> None:
    values = [10.0, 10.01, 9.99, 10.0]
    whole = measure(ScriptedDevice(values), ARTIFACT, PLAN)
    new: list[Block] = []
    resumed = measure(ScriptedDevice(values), ARTIFACT, PLAN, earlier_blocks=whole.blocks[:2], on_block=new.append)
    assert resumed == whole
    assert [block.index for block in new] == [2, 3]


def test_a_finished_measurement_touches_no_device() -> None:
    whole = measure(ScriptedDevice([10.0, 10.01, 9.99, 10.0]), ARTIFACT, PLAN)
    device = ScriptedDevice([])
    assert measure(device, ARTIFACT, PLAN, earlier_blocks=whole.blocks) == whole
    assert device.deployed == []


def test_hooks_surround_each_block() -> None:
    events: list[str] = []
    measure(
        ScriptedDevice([10.0] * 4),
        ARTIFACT,
        PLAN,
        before_block=lambda: events.append("before"),
        on_block=lambda block: events.append(f"block {block.index}"),
    )
    assert events == ["before", "block 0", "before", "block 1", "before", "block 2", "before", "block 3"]


def test_many_rejected_blocks_lower_the_grade() -> None:
    device = ScriptedDevice([-10.0, -10.0, 10.0, 10.0, 10.0, 10.0])  # negative: the script rejects the block
    measurement = measure(device, ARTIFACT, PLAN)
    assert [block.status for block in measurement.blocks] == ["rejected"] * 2 + ["ok"] * 4
    assert measurement.grade == "C"
    assert measurement.reasons == ("2 of 6 blocks rejected (throttled: 2)",)


def test_a_device_that_only_rejects_gives_no_estimate() -> None:
    measurement = measure(ScriptedDevice([-10.0] * 20), ARTIFACT, PLAN)
    assert measurement.grade == "F"
    assert len(measurement.blocks) == PLAN.max_blocks


def test_the_device_s_reproducibility_bounds_the_error() -> None:
    device = ScriptedDevice([10.0] * 4, properties={"reproducibility_sd_log": 0.004})
    assert measure(device, ARTIFACT, PLAN).standard_error_log == 0.004


def test_blocks_before_an_error_are_kept() -> None:
    kept: list[Block] = []
    device = ScriptedDevice([10.0, 10.0, CommandTimeout("no end", device="scripted")])
    with pytest.raises(CommandTimeout):
        measure(device, ARTIFACT, PLAN, on_block=kept.append)
    assert [block.index for block in kept] == [0, 1]


def test_a_table_is_looked_up_once(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("arch,ms\nx,5\n")
    device = TableDevice.of_column(tmp_path / "t.csv", "ms", noise=0.3)
    measurement = measure(device, Artifact("", b"", "x"), PLAN)
    assert len(measurement.blocks) == 1
    with pytest.raises(TableMiss):
        measure(device, Artifact("", b"", "y"), PLAN)


def test_unsteady_blocks_of_a_real_process_are_kept_with_their_reason(tmp_path: Path) -> None:
    device = HostDevice(python=misbehaving_python(tmp_path, "time.sleep(0.002 * count)"))
    plan = MeasurementPlan(min_blocks=1, max_blocks=2, min_runs=30, block_seconds=0.01, warmup_seconds=0.0)
    measurement = measure(device, small_artifact(), plan)
    device.close()
    assert [block.reason for block in measurement.blocks] == ["not_steady", "not_steady"]
    assert measurement.grade == "F"
