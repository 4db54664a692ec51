"""OFA's predictor against its definition in numpy, and files that hold no predictor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.errors import ConfigError, DataError
from orchestrator.predict.ofa_accuracy import OfaAccuracy
from orchestrator.space.base import one_hot
from orchestrator.space.mobilenetv3 import FIRST_BLOCK, MobileNetV3

WEIGHTS = Path(__file__).resolve().parents[4] / "shared" / "data" / "ofa_acc_predictor_weights.npz"
SPACE = MobileNetV3()


def write_predictor(path: Path, **changes: Any) -> Path:
    """A small predictor of random weights; a change of None leaves that array out."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "0.weight": rng.normal(size=(12, 128)) / 8,
        "0.bias": rng.normal(size=12),
        "2.weight": rng.normal(size=(1, 12)) / 100,
        "2.bias": np.array([0.75]),
    }
    arrays.update(changes)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def by_definition(path: Path, ofa: Mapping[str, Any], resolution: int) -> float:
    """Percent, as OFA's tutorial encodes one of its dictionaries."""
    x = np.zeros(128)
    for block in range(20):
        if block % 4 < ofa["d"][block // 4]:
            x[3 * block + (3, 5, 7).index(ofa["ks"][block])] = 1
            x[60 + 3 * block + (3, 4, 6).index(ofa["e"][block])] = 1
    x[120 + (resolution - 112) // 16] = 1
    with np.load(path, allow_pickle=False) as file:
        for layer in sorted({int(name.split(".")[0]) for name in file.files}):
            x = file[f"{layer}.weight"] @ (np.maximum(x, 0) if layer else x) + file[f"{layer}.bias"]
    return 100 * float(x.item())


def check(path: Path) -> None:
    slots = SPACE.sample(20, np.random.default_rng(1))
    ofa = [SPACE.to_ofa(SPACE.architecture(row)) for row in slots]
    for resolution in (160, 176, 190, 224):
        expected = [by_definition(path, each, resolution) for each in ofa]
        np.testing.assert_allclose(OfaAccuracy(path, SPACE, resolution=resolution).of(slots), expected, rtol=1e-6)
    searched = MobileNetV3(resolutions=(160, 192, 224))
    slots = searched.sample(20, np.random.default_rng(2))
    ofa = [searched.to_ofa(searched.architecture(row)) for row in slots]
    expected = [by_definition(path, each, each["r"]) for each in ofa]
    np.testing.assert_allclose(OfaAccuracy(path, searched).of(slots), expected, rtol=1e-6)


def test_is_the_perceptron_of_ofas_encoding(tmp_path: Path) -> None:
    check(write_predictor(tmp_path / "weights.npz"))


@pytest.mark.skipif(not WEIGHTS.exists(), reason=f"OFA's weights {WEIGHTS.name} are not here")
def test_with_ofas_own_weights() -> None:
    check(WEIGHTS)
    rows = [[0] * 25, [2] * 5 + [8] * 20]
    small, large = OfaAccuracy(WEIGHTS, SPACE).of(np.array(rows))
    assert 70 < small < large < 90


def test_inactive_blocks_and_gradients(tmp_path: Path) -> None:
    accuracy = OfaAccuracy(write_predictor(tmp_path / "weights.npz"), SPACE)
    slots = SPACE.sample(4, np.random.default_rng(3))
    slots[:, 0], slots[:, FIRST_BLOCK + 3] = 0, 0
    other = slots.copy()
    other[:, FIRST_BLOCK + 3] = 7
    assert (accuracy.of(slots) == accuracy.of(other)).all()
    relaxed = torch.from_numpy(one_hot(slots, 9)).requires_grad_()
    (gradient,) = torch.autograd.grad(accuracy(relaxed).sum(), relaxed)
    assert gradient[:, 0].abs().max() > 0, "a deeper stage would change the accuracy"


@pytest.mark.parametrize(
    "changes",
    [
        {"0.weight": np.zeros((12, 127))},
        {"2.weight": np.zeros((1, 11))},
        {"2.weight": np.zeros((2, 12)), "2.bias": np.zeros(2)},
        {"2.bias": None},
        {"2.bias": np.array([np.nan])},
        {"0.weight": np.array(["a"])},
        {"0.weight": np.array([{}], dtype=object)},
        dict.fromkeys(("0.weight", "0.bias", "2.weight", "2.bias")) | {"x": np.zeros(3)},
    ],
)
def test_other_arrays_are_no_predictor(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = write_predictor(tmp_path / "weights.npz", **changes)
    with pytest.raises(DataError, match=r"weights\.npz") as caught:
        OfaAccuracy(path, SPACE)
    assert caught.value.hint


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04broken", json.dumps({"a": 1}).encode(), b"\x93NUMPY"])
def test_other_files_are_no_predictor(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "weights.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"weights\.npz"):
        OfaAccuracy(path, SPACE)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"array\.npy"):
        OfaAccuracy(tmp_path / "array.npy", SPACE)


@pytest.mark.parametrize("resolution", [96, 111, 240])
def test_resolutions_that_it_does_not_know(tmp_path: Path, resolution: int) -> None:
    path = write_predictor(tmp_path / "weights.npz")
    with pytest.raises(ConfigError, match=str(resolution)):
        OfaAccuracy(path, SPACE, resolution=resolution)
    with pytest.raises(ConfigError, match=str(resolution)):
        OfaAccuracy(path, MobileNetV3(resolutions=(resolution, 224)))
