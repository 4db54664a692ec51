"""Devices of kind `lut`: the contract, what configurations may say, and a campaign on one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from device_agent.device import Artifact
from device_agent.errors import TableMiss
from device_agent.table import TableDevice
from orchestrator.campaign.config import parse_config
from orchestrator.campaign.device_config import LutDeviceConfig
from orchestrator.campaign.loop import run_campaign
from orchestrator.campaign.lut import lut_device
from orchestrator.errors import ConfigError, DataError
from orchestrator.predict.block_table import BlockTable
from orchestrator.space.base import NetworkOptions
from orchestrator.space.mobilenetv3 import MobileNetV3
from profiling.plan import MeasurementPlan
from tests.contracts.device_contract import DeviceContract
from tests.orchestrator.predict.block_tables import block_latencies, write_block_table

ARCHITECTURE = "k3e6,k5e4|k3e3,k7e6,k3e4|k3e3,k3e3|k5e6,k5e6|k7e6,k3e3,k3e4,k5e6"
LATENCIES = block_latencies()
OPTIONS = NetworkOptions((1, 64, 64, 3), 10)
SCORE = "import json, sys; job = json.load(sys.stdin); print(json.dumps({'accuracy': 50 + sum(job['slots']) / 10}))"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_block_table(tmp_path / "phone.csv", LATENCIES)


def device(path: Path, **options: Any) -> TableDevice:
    config = LutDeviceConfig.model_validate({"kind": "lut", "path": path, **options})
    return lut_device(config, MobileNetV3(), OPTIONS, seed=1)


def values(path: Path, **changes: Any) -> dict[str, Any]:
    """A small campaign on a block table."""
    return {
        "name": "lut",
        "space": {"kind": "mobilenetv3", "input": [1, 64, 64, 3], "classes": 10},
        "generator": {"kind": "random", "pool": 16},
        "accuracy": {"kind": "command", "argv": [sys.executable, "-I", "-S", "-c", SCORE]},
        "devices": [{"kind": "lut", "path": str(path)}],
        "budget": {"candidates": 6, "batch": 2, "initial": 4},
        **changes,
    }


class TestLutContract(DeviceContract):
    @pytest.fixture
    def device(self, path: Path) -> TableDevice:
        return device(path, noise=0.02)

    @pytest.fixture
    def artifact(self) -> Artifact:
        return Artifact("", b"", ARCHITECTURE)

    @pytest.fixture
    def unusable(self) -> Artifact:
        return Artifact("", b"", "k3e6|k3e6")


def test_its_name_is_the_file_s_unless_given(path: Path) -> None:
    assert device(path).info.name == "phone"
    assert device(path, name="Note 10").info.name == "Note 10"
    assert device(path).info.kind == "lut"


def test_its_epoch_follows_what_the_table_says(path: Path, tmp_path: Path) -> None:
    reordered = write_block_table(tmp_path / "other.csv", dict(reversed(LATENCIES.items())))
    assert device(path).info.epoch == device(reordered).info.epoch
    changed = write_block_table(tmp_path / "changed.csv", block_latencies(seed=1))
    assert device(path).info.epoch != device(changed).info.epoch


def test_a_miss_names_the_file(path: Path) -> None:
    with pytest.raises(TableMiss, match=r"phone\.csv"):
        device(path).deploy(Artifact("", b"", "|nor_conv_3x3~0|"))


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"space": {"kind": "nasbench201"}}, "devices[0].kind", "space.kind mobilenetv3"),
        (
            {"space": {"kind": "mobilenetv3", "input": [1, 64, 64, 3], "classes": 10, "width": 1.2}},
            "devices[0].path",
            "it has width 1; classes 10; resolutions 64",
        ),
        (
            {"space": {"kind": "mobilenetv3", "input": [1, 96, 96, 3], "classes": 10}},
            "devices[0].path",
            "resolutions 64",
        ),
        ({"space": {"kind": "mobilenetv3", "input": [1, 64, 64, 3], "classes": 7}}, "devices[0].path", "classes 10"),
        (
            {"space": {"kind": "mobilenetv3", "input": [1, 64, 96, 3], "classes": 10}},
            "space.input",
            "height = width",
        ),
    ],
)
def test_a_table_of_other_networks_is_refused(path: Path, changes: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(values(path, **changes), source="test")
    (problem,) = caught.value.problems
    assert problem.field == field
    assert said in problem.allowed


def test_a_width_beside_the_space_s_is_refused(path: Path) -> None:
    parse_config(values(path, devices=[{"kind": "lut", "path": str(path), "width": 1}]), source="test")
    with pytest.raises(ConfigError, match=r"devices\[0\]\.width: got 1\.2; allowed: .*space\.width = 1"):
        parse_config(values(path, devices=[{"kind": "lut", "path": str(path), "width": 1.2}]), source="test")


def test_fields_and_files_that_do_not_exist_are_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"devices\.0\.widht.*path, width, name, noise"):
        parse_config(values(path, devices=[{"kind": "lut", "path": str(path), "widht": 1.2}]), source="test")
    with pytest.raises(ConfigError, match=r"devices\[0\]\.path"):
        parse_config(values(tmp_path / "none.csv"), source="test")
    with pytest.raises(DataError, match="cannot be read"):
        device(tmp_path / "none.csv")


def test_a_campaign_finds_latencies_in_the_table(path: Path, tmp_path: Path) -> None:
    state = run_campaign(parse_config(values(path), source="test"), tmp_path / "run", lambda _: None)
    assert state.counts == {"measured": 6, "failed": 0, "running": 0}
    table = BlockTable(LATENCIES, MobileNetV3(), width=1.0, resolution=64, classes=10)
    for candidate in state.candidates:
        latency = candidate.metrics["latency_ms[phone]"]
        assert latency.value == pytest.approx(table.look_up(candidate.row.architecture))
        assert latency.variance == 0


def test_a_searched_resolution_is_looked_up(tmp_path: Path) -> None:
    latencies = block_latencies(resolutions=(64, 96))
    path = write_block_table(tmp_path / "phone.csv", latencies)
    space = {"kind": "mobilenetv3", "resolutions": [64, 96], "classes": 10}
    config = parse_config(values(path, space=space), source="test")
    found = lut_device(config.devices[0], config.make_space(), config.space.network_options(), 0)  # type: ignore[arg-type]
    small, large = (
        found.run_block(Artifact("", b"", f"{ARCHITECTURE}@{size}"), MeasurementPlan(), 0).value_ms for size in (64, 96)
    )
    assert small < large
    with pytest.raises(ConfigError, match=r"lacks 96 of the 192 parts .* at 96, 128"):
        parse_config(values(path, space={**space, "resolutions": [96, 128]}), source="test")
