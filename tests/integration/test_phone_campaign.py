"""A campaign on phones: virtual ones, behind the real adb server, through the fleet."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agent.virtual import VirtualLab
from orchestrator.campaign.config import Config, parse_config
from orchestrator.campaign.devices import resolve
from orchestrator.campaign.loop import run_campaign
from orchestrator.errors import DevicesMissing


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases and salts of the test stay in the test."""
    monkeypatch.setenv("DEVICENAG_HOME", str(tmp_path / "home"))


def config(*devices: dict[str, object], **changes: object) -> Config:
    values: dict[str, object] = {
        "name": "phones",
        "space": {"kind": "nasbench201", "input": [1, 8, 8, 1], "channels": 4, "cells": 1},
        "generator": {"kind": "random", "pool": 32},
        "accuracy": {"kind": "proxy", "proxy": "jacobian_macs", "batch": 4},
        "devices": list(devices),
        "measure": {"blocks": [2, 3], "block_seconds": 0.02, "warmup_seconds": 0.0, "target_half_width": 0.2},
        "budget": {"candidates": 6, "batch": 2, "initial": 4, "verify": 1},
    }
    return parse_config({**values, **changes}, source="test")


def test_phones_of_one_model_share_its_work_and_each_model_is_an_objective(tmp_path: Path) -> None:
    lab = config({"kind": "virtual", "count": 3, "profiles": ["virtual8", "virtual6"]})
    assert lab.parsed_goal().minimize == ("latency_ms[Virtual 8]", "latency_ms[Virtual 6]")
    state = run_campaign(lab, tmp_path / "run", lambda event: None)
    assert state.counts == {"measured": 6, "failed": 0, "running": 0}
    phones = {m.device.serial_hash for c in state.candidates for m in c.latencies.values()}
    assert len(phones) == 3  # both phones of the first model took part
    for candidate in state.candidates:
        assert {name: m.device.model for name, m in candidate.latencies.items()} == {
            "Virtual 8": "Virtual 8",
            "Virtual 6": "Virtual 6",
        }


def test_every_attached_phone_is_used_where_none_is_named(tmp_path: Path) -> None:
    with VirtualLab(2) as lab:
        asked = config({"kind": "adb", "port": lab.port})
        named = resolve(asked, tmp_path / "run")
        assert named.device_names == ("Virtual 6", "Virtual 8")
        state = run_campaign(named, tmp_path / "run", lambda event: None)
        assert state.counts["measured"] == 6
        assert all(not phone.changes() for phone in lab.phones)  # put back as they were
        lab.phones[0].unplug()
        assert resolve(asked, tmp_path / "run").device_names == named.device_names  # a begun campaign stays itself


def test_no_phone_is_told_before_anything_starts(tmp_path: Path) -> None:
    with VirtualLab(1) as lab:
        lab.phones[0].unplug()
        with pytest.raises(DevicesMissing, match="no phone is attached"):
            resolve(config({"kind": "adb", "port": lab.port}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
