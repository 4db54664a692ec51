"""Configuration and models of a night."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agent.phone_identity import serial_hash
from orchestrator.errors import ConfigError
from orchestrator.nightly.config import load_nightly
from orchestrator.nightly.models import stage
from profiling.records import DeviceInfo

TEXT = """
name: farm
models: {kind: folder, path: models}
devices: [{kind: host}]
"""


def write(folder: Path, text: str = TEXT, **files: bytes) -> Path:
    (folder / "models").mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / "models" / f"{name}.tflite").write_bytes(data)
    path = folder / "nightly.yaml"
    path.write_text(text)
    return path


def test_one_pass_is_a_collection_of_every_model_on_every_phone(tmp_path: Path) -> None:
    config = load_nightly(write(tmp_path, a=b"1"), ["passes.night=3", "measure.blocks=[2, 4]"])
    assert config.passes.night == 3
    collection = config.collection("farm-1", tmp_path / "models", seed=5)
    assert (collection.overlap.share, collection.measure.blocks, collection.seed) == (1.0, (2, 4), 5)


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = TEXT.replace("path: models", "path: nowhere") + "baseline: gone\ncampaigns: [other.yaml]\n"
    with pytest.raises(ConfigError) as caught:
        load_nightly(write(tmp_path, text))
    fields = " ".join(problem.field for problem in caught.value.problems)
    assert all(word in fields for word in ("models", "baseline", "other.yaml"))
    with pytest.raises(ConfigError, match="table"):
        load_nightly(write(tmp_path, TEXT.replace("kind: host", "kind: table, path: x, column: y")))
    with pytest.raises(ConfigError, match="at least one source of models"):
        load_nightly(write(tmp_path, "name: farm\ndevices: [{kind: host}]\n"))


def test_models_are_staged_under_names_that_stay(tmp_path: Path) -> None:
    text = TEXT.replace(
        "models: {kind: folder, path: models}",
        """models:
  - {kind: folder, path: models}
  - {kind: space, count: 2, space: {kind: nasbench201, input: [1, 8, 8, 3], channels: 4, cells: 1}}
references: 2""",
    )
    config = load_nightly(write(tmp_path, text, a=b"", b=b"\0\0\0\0TFL3 broken"))
    first, second = stage(config, tmp_path / "one"), stage(config, tmp_path / "two")
    assert first == second
    assert len(first) == 6
    assert first["a.tflite"] == "a.tflite"
    assert {"reference 1", "reference 2"} < set(first.values())
    for file in first:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
        assert all(character.isalnum() or character in "._-" for character in file)


def test_which_devices_a_night_is_for(tmp_path: Path) -> None:
    pixel = DeviceInfo("Pixel 7 aaaa", "adb", "Pixel 7", serial_hash("R58M"))
    other = DeviceInfo("Pixel 8 bbbb", "adb", "Pixel 8", serial_hash("R59N"))
    host = DeviceInfo("host", "host", "some processor")
    asked = {
        "kind: adb": [pixel, other],
        "kind: adb, model: Pixel 7": [pixel],
        "kind: adb, serial: R59N": [other],
        "kind: host": [host],
    }
    for text, devices in asked.items():
        config = load_nightly(write(tmp_path, TEXT.replace("kind: host", text)))
        assert [device for device in (pixel, other, host) if config.asks_for(device)] == devices
