"""Models out of spaces, lists and folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agent.reference import reference_artifact
from orchestrator.collect.models import corruption, find_models
from orchestrator.errors import ConfigError
from tests.orchestrator.collect.test_config import SPACE, collection

FIRST = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
SECOND = "|nor_conv_1x1~0|+|nor_conv_1x1~0|none~1|+|none~0|none~1|nor_conv_1x1~2|"


def test_a_list_of_architectures(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"# chosen by hand\n{FIRST}\n\n{SECOND}\n{FIRST}\n")
    (tmp_path / "list.csv").write_text(f"arch,note\n{SECOND},x\n")
    sources = [{"kind": "file", "space": SPACE, "path": str(tmp_path / name)} for name in ("list.txt", "list.csv")]
    models = find_models(collection(models=sources))
    assert [(model.id, model.source, model.architecture) for model in models] == [
        (0, 0, FIRST), (1, 0, SECOND), (2, 1, SECOND),
    ]  # fmt: skip


def test_wrong_lines_are_told_with_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{FIRST}\nnonsense\n|nor_conv_9x9~0|\n")
    (tmp_path / "empty.txt").touch()
    sources = [{"kind": "file", "space": SPACE, "path": str(tmp_path / name)} for name in ("list.txt", "empty.txt")]
    with pytest.raises(ConfigError) as caught:
        find_models(collection(models=sources))
    assert "line 2: nonsense" in str(caught.value)
    assert "line 3" in str(caught.value)
    assert "models[1].path" in str(caught.value)


def test_a_folder_with_corrupt_files(tmp_path: Path) -> None:
    whole = reference_artifact().data
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "whole.tflite").write_bytes(whole)
    (tmp_path / "half.tflite").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.tflite").touch()
    (tmp_path / "text.tflite").write_text("this is no model at all")
    (tmp_path / "notes.txt").touch()
    models = {m.name: m for m in find_models(collection(models={"kind": "folder", "path": str(tmp_path)}))}
    assert models.keys() == {"empty.tflite", "half.tflite", "sub/whole.tflite", "text.tflite"}
    assert models["sub/whole.tflite"].failure is None
    assert models["sub/whole.tflite"].sha256 == reference_artifact().sha256
    for name in ("empty.tflite", "half.tflite", "text.tflite"):
        failure = models[name].failure
        assert failure is not None
        assert (failure.kind, failure.code) == ("user", "corrupt_model")


def test_damage_anywhere_is_found_or_harmless() -> None:
    data = bytearray(reference_artifact().data)
    data[100:140] = b"\xff" * 40
    assert corruption(bytes(data)) is not None
