from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from orchestrator.errors import DataError
from orchestrator.objective.dataset import Dataset, load_dataset
from orchestrator.objective.pixels import read_pixels

SHAPE = (1, 8, 8, 1)


def save(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def grey(count: int = 30, size: int = 8) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, size, size), dtype=np.uint8)


def test_digits_are_split_alike_in_every_class() -> None:
    data = load_dataset("digits", SHAPE, 10, validation=0.2, test=0.2)
    assert len(data.train) + len(data.validation) + len(data.test) == 1797
    for part in (data.train, data.validation, data.test):
        share = part.labels.bincount(minlength=10) / len(part)
        assert share.min() > 0.09
        assert share.max() < 0.11
        assert part.images.dtype == torch.float32
        assert part.labels.dtype == torch.int64
    assert data.class_names == tuple("0123456789")
    assert data.train.images.mean().abs() < 1e-4
    assert data.train.images.std() == pytest.approx(1, abs=1e-3)


def test_no_image_is_in_two_parts(tmp_path: Path) -> None:
    images = np.repeat(np.arange(90, dtype=np.uint8), 64).reshape(90, 8, 8)  # each image has a value of its own
    data = load_dataset(save(tmp_path / "x.npz", x=images, y=np.arange(90) % 3), SHAPE, 3, validation=0.3, test=0.2)
    values = [
        {round(v, 4) for v in part.images[:, 0, 0, 0].tolist()} for part in (data.train, data.validation, data.test)
    ]
    assert [len(part) for part in values] == [45, 27, 18]
    assert len(set.union(*values)) == 90


def test_the_split_is_the_seeds_alone() -> None:
    def rows(seed: int) -> tuple[str, list[int]]:
        data = load_dataset("digits", SHAPE, 10, seed=seed)
        return data.fingerprint, data.validation.labels.tolist()

    assert rows(3) == rows(3)
    assert rows(3)[0] != rows(4)[0]


def test_digits_take_the_input_shape() -> None:
    data = load_dataset("digits", (1, 16, 12, 3), 10)
    assert data.test.images.shape[1:] == (3, 16, 12)
    assert torch.equal(data.test.images[:, 0], data.test.images[:, 2])
    assert len(data.mean) == len(data.std) == 3
    assert data.fingerprint != load_dataset("digits", SHAPE, 10).fingerprint


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_meets_grey(tmp_path: Path, channels: int) -> None:
    colour = np.zeros((30, 8, 8, 3), np.uint8)
    colour[..., 0] = 255
    colour[:, :4] = 0
    spec = save(tmp_path / "x.npz", x=colour, y=np.arange(30) % 3)
    data = load_dataset(spec, (1, 8, 8, channels), 3)
    assert data.mean == pytest.approx((0.1495,) if channels == 1 else (0.5, 0, 0), abs=1e-4)


def test_own_test_set_is_kept(tmp_path: Path) -> None:
    x, y = grey(), np.arange(30) % 3
    spec = save(tmp_path / "x.npz", x_train=x, y_train=y, x_test=x[:6], y_test=y[:6, None])
    data = load_dataset(spec, SHAPE, 3)
    assert (len(data.train), len(data.validation), len(data.test)) == (27, 3, 6)
    assert data.test.labels.tolist() == [0, 1, 2, 0, 1, 2]


def folder_of_pictures(root: Path, classes: str = "ab", count: int = 5) -> Path:
    for name in classes:
        (root / name).mkdir(parents=True)
        for index, image in enumerate(grey(count, size=10)):
            Image.fromarray(image).save(root / name / f"{index}.png")
    return root


def test_folder_of_pictures(tmp_path: Path) -> None:
    root = folder_of_pictures(tmp_path / "flat")
    (root / "a" / "notes.txt").write_text("not a picture")
    data = load_dataset(str(root), (1, 6, 8, 3), 2)
    assert data.class_names == ("a", "b")
    assert data.train.images.shape == (6, 3, 6, 8)
    folder_of_pictures(tmp_path / "parted" / "train")
    folder_of_pictures(tmp_path / "parted" / "test", count=2)
    parted = load_dataset(str(tmp_path / "parted"), (1, 6, 8, 3), 2)
    assert (len(parted.train), len(parted.validation), len(parted.test)) == (8, 2, 4)


def test_palettes_are_read(tmp_path: Path) -> None:
    root = folder_of_pictures(tmp_path)
    palette = Image.fromarray(grey(1, size=10)[0]).convert("P")
    palette.info["transparency"] = b"\x00\x80"
    palette.save(root / "a" / "0.png")
    assert isinstance(load_dataset(str(root), (1, 8, 8, 1), 2), Dataset)


def wrong_npz() -> list[Any]:
    x, y = grey(), np.arange(30) % 3
    infinite = x.astype(float)
    infinite[3, 2, 1] = np.inf
    return [
        pytest.param({"a": x, "b": y}, "no arrays named x and y.*a, b", id="names"),
        pytest.param({"x": x[:20], "y": y}, "20 images and y 30 labels", id="lengths"),
        pytest.param({"x": x.astype(np.int32), "y": y}, "int32.*allowed: uint8", id="dtype"),
        pytest.param({"x": x[:, :, 0], "y": y}, r"shape \(30, 8\)", id="dimensions"),
        pytest.param({"x": x[..., None].repeat(4, 3), "y": y}, r"\(30, 8, 8, 4\).*1 or 3 channels", id="channels"),
        pytest.param({"x": x[:0], "y": y[:0]}, "shape", id="empty"),
        pytest.param({"x": infinite, "y": y}, "NaN or infinite", id="infinite"),
        pytest.param({"x": x, "y": y.astype(float)}, "float64.*whole numbers", id="label type"),
        pytest.param({"x": x, "y": np.eye(3)[y]}, "whole numbers, one per image", id="one-hot"),
        pytest.param({"x": x, "y": y - 1}, "label -1", id="negative label"),
        pytest.param({"x": x, "y": y * 2}, "5 classes .*network has 3", id="a label too high"),
        pytest.param({"x": x, "y": y // 2}, "2 classes .*network has 3", id="a class too few"),
        pytest.param({"x": x, "y": np.where(y == 1, 2, y)}, "no image has label 1", id="a gap"),
        pytest.param({"x": x, "y": np.where(y == 1, 10**9, y)}, "label 1000000000", id="a huge label"),
        pytest.param({"x": x, "y": np.array([0] * 14 + [1] * 14 + [2] * 2)}, "class 2 has 2 images", id="too few"),
        pytest.param({"x": x, "y": y.astype(object)}, "holds Python objects", id="pickled"),
        pytest.param(
            {"x_train": x, "y_train": y, "x_test": x[:, :6], "y_test": y}, "one of x_test", id="test of another shape"
        ),
        pytest.param(
            {"x_train": x, "y_train": y, "x_test": x[:1], "y_test": y[:1]}, "of the test set has label 1", id="test gap"
        ),
    ]


@pytest.mark.parametrize(("arrays", "message"), wrong_npz())
def test_wrong_npz(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    spec = save(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=message) as failure:
        load_dataset(spec, SHAPE, 3)
    assert "x.npz" in failure.value.message
    assert failure.value.hint


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        load_dataset(str(tmp_path / "absent.npz"), SHAPE, 10)
    (tmp_path / "x.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"is a \.csv file"):
        load_dataset(str(tmp_path / "x.csv"), SHAPE, 10)
    np.save(tmp_path / "x.npy", grey())
    (tmp_path / "x.npy").rename(tmp_path / "single.npz")
    with pytest.raises(DataError, match="single array"):
        load_dataset(str(tmp_path / "single.npz"), SHAPE, 10)
    with pytest.raises(DataError, match="has 2 channels"):
        load_dataset("digits", (1, 8, 8, 2), 10)
    with pytest.raises(DataError, match=r"10 classes.*network has 7"):
        load_dataset("digits", SHAPE, 7)


def test_a_data_set_that_does_not_fit_in_memory() -> None:
    with pytest.raises(DataError, match="GiB"):
        load_dataset("digits", (1, 2048, 2048, 3), 10)


def test_wrong_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no sub-folders"):
        load_dataset(str(tmp_path / "empty"), SHAPE, 2)
    root = folder_of_pictures(tmp_path / "pictures")
    (root / "c").mkdir()
    with pytest.raises(DataError, match=r"no pictures in .*c"):
        load_dataset(str(root), SHAPE, 3)
    (root / "c").rmdir()
    broken = root / "b" / "2.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(DataError, match=r"b/2\.png cannot be read"):
        load_dataset(str(root), SHAPE, 2)
    folder_of_pictures(tmp_path / "parted" / "train", "ab")
    folder_of_pictures(tmp_path / "parted" / "test", "ac")
    with pytest.raises(DataError, match="different classes"):
        load_dataset(str(tmp_path / "parted"), SHAPE, 2)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 2**16), value=st.integers(0, 255), length=st.none() | st.integers(0, 3000))
@example(position=6, value=1, length=None)  # the flag of an encrypted member
def test_broken_archives_are_data_errors(tmp_path: Path, position: int, value: int, length: int | None) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=grey(), y=np.arange(30) % 3)
    content = bytearray(buffer.getvalue()[:length])
    if content:
        content[position % len(content)] = value
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        assert len(read_pixels(str(path), (8, 8), 1).labels) == 30
