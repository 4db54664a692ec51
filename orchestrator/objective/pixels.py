"""Where images come from: scikit-learn's digits, a user's `.npz`, or a folder of pictures.

Every reader gives `Pixels`: arrays as they were found, checked for all that can be wrong with them. Resizing,
splitting and normalising is `orchestrator.objective.dataset`.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.errors import DataError

DIGITS = "digits"
MEMORY_LIMIT_BYTES = 4 << 30
EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")

# What zipfile and numpy raise for broken archives; RuntimeError is an encrypted one, or an unknown compression.
_BROKEN_NPZ = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_NPZ_HINT = (
    "save it with numpy.savez(path, x=images, y=labels), or with x_train, y_train, x_test, y_test; "
    "images are uint8 or float of shape (images, height, width) or (images, height, width, channels)"
)
_FOLDER_HINT = (
    f"make one sub-folder per class with pictures in it ({', '.join(EXTENSIONS)}), or train/ and test/ of those"
)


@dataclass(frozen=True)
class Pixels:
    """Labelled images as they were found.

    Attributes:
        images: (N, height, width, channels) uint8, or float32 in the user's own range; 1 or 3 channels.
        labels: (N,) int64, 0..classes-1.
        test_images, test_labels: The test set where the source brings its own, else None.
        class_names: Name of each label.
    """

    images: NDArray[np.uint8] | NDArray[np.float32]
    labels: NDArray[np.int64]
    test_images: NDArray[np.uint8] | NDArray[np.float32] | None
    test_labels: NDArray[np.int64] | None
    class_names: tuple[str, ...]


def read_pixels(spec: str, size: tuple[int, int], channels: int) -> Pixels:
    """Images and labels of `digits`, of a `.npz` or of an image folder.

    Args:
        spec: `digits`, or a path.
        size: (height, width) that pictures of a folder, which differ in size, are brought to.
        channels: 1 or 3; what pictures of a folder are converted to.

    Raises:
        DataError: Nothing there, or something wrong with it.
    """
    if spec == DIGITS:
        return _digits()
    path = Path(spec).expanduser()
    if path.is_dir():
        return _folder(path, size, channels)
    if not path.exists():
        raise DataError(f"data set {spec!r}: no such file or folder", f"give {DIGITS!r}, a .npz file or a folder")
    if path.suffix.lower() != ".npz":
        raise DataError(
            f"data set {spec!r} is a {path.suffix or 'nameless'} file", f"give {DIGITS!r}, a .npz file or a folder"
        )
    return _npz(path)


def check_memory(spec: str, count: int, size: tuple[int, int], channels: int) -> None:
    """Raises DataError if this many images are too many to keep in memory as float32."""
    needed = 4 * count * size[0] * size[1] * channels
    if needed > MEMORY_LIMIT_BYTES:
        raise DataError(
            f"data set {spec}: {count} images of {size[0]}x{size[1]}x{channels} take {needed / 2**30:.1f} GiB",
            f"at most {MEMORY_LIMIT_BYTES >> 30} GiB fit in memory; take a part of it, or the `command` objective",
        )


def _digits() -> Pixels:
    """1,797 handwritten digits of 8 x 8 pixels with 17 grey levels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.asarray(bunch.images / 16 * 255, dtype=np.uint8)[..., None]
    names = tuple(str(name) for name in bunch.target_names)
    return Pixels(images, np.asarray(bunch.target, dtype=np.int64), None, None, names)


def _npz(path: Path) -> Pixels:
    try:
        # The file is opened here because numpy leaves it open when the archive is broken.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"data set {path} is a single array, not a .npz archive", _NPZ_HINT)
            arrays = [(name, archive[name]) for name in _wanted(path, archive.files)]
    except _BROKEN_NPZ as error:
        reason = "holds Python objects" if "allow_pickle" in str(error) else f"cannot be read: {error}"
        raise DataError(f"data set {path} {reason}", _NPZ_HINT) from error
    images, labels = _checked_pair(path, *arrays[:2])
    every, test_images, test_labels = labels, None, None
    if len(arrays) == 4:
        test_images, test_labels = _checked_pair(path, *arrays[2:])
        if test_images.shape[1:] != images.shape[1:]:
            raise DataError(
                f"data set {path}: an image of x_train is {images.shape[1:]}, one of x_test {test_images.shape[1:]}",
                _NPZ_HINT,
            )
        every = np.concatenate([labels, test_labels])
    if (classes := int(every.max()) + 1) > len(every):
        raise DataError(
            f"data set {path}: label {classes - 1} among {len(every)} images", "count labels from 0, no gaps"
        )
    names = tuple(str(label) for label in range(classes))
    return Pixels(images, labels, test_images, test_labels, names)


def _wanted(path: Path, names: list[str]) -> tuple[str, ...]:
    """Which of the archive's arrays to read."""
    for wanted in (("x_train", "y_train", "x_test", "y_test"), ("x", "y")):
        if set(wanted) <= set(names):
            return wanted
    raise DataError(
        f"data set {path}: no arrays named x and y (found: {', '.join(sorted(names)) or 'none'})", _NPZ_HINT
    )


def _checked_pair(
    path: Path, named_images: tuple[str, NDArray[Any]], named_labels: tuple[str, NDArray[Any]]
) -> tuple[NDArray[np.uint8] | NDArray[np.float32], NDArray[np.int64]]:
    """(N, height, width, channels) images and (N,) labels."""
    (x, images), (y, labels) = named_images, named_labels
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or images.size == 0:
        raise DataError(
            f"data set {path}: {x} has shape {named_images[1].shape}; allowed: 1 or 3 channels, last", _NPZ_HINT
        )
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"data set {path}: {x} is {images.dtype}; allowed: uint8 (0..255) or float", _NPZ_HINT)
    if images.dtype != np.uint8:
        images = images.astype(np.float32)
        if not np.isfinite(images).all():
            raise DataError(f"data set {path}: {x} holds NaN or infinite values", "replace or drop those images")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"data set {path}: {y} is {labels.dtype} of shape {labels.shape}; allowed: whole numbers, one per image",
            _NPZ_HINT,
        )
    if len(labels) != len(images):
        raise DataError(f"data set {path}: {x} has {len(images)} images and {y} {len(labels)} labels", _NPZ_HINT)
    if labels.min() < 0:
        raise DataError(f"data set {path}: {y} holds the label {labels.min()}", "labels count from 0 to classes-1")
    return np.ascontiguousarray(images), labels.astype(np.int64)


def _folder(root: Path, size: tuple[int, int], channels: int) -> Pixels:
    if (root / "train").is_dir() and (root / "test").is_dir():
        names = _sub_folders(root / "train")
        if names != _sub_folders(root / "test"):
            raise DataError(f"data set {root}: train/ and test/ have different classes", _FOLDER_HINT)
        return Pixels(
            *_pictures(root / "train", names, size, channels), *_pictures(root / "test", names, size, channels), names
        )
    names = _sub_folders(root)
    return Pixels(*_pictures(root, names, size, channels), None, None, names)


def _sub_folders(root: Path) -> tuple[str, ...]:
    names = tuple(sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if not names:
        raise DataError(f"data set {root} has no sub-folders", _FOLDER_HINT)
    return names


def _pictures(
    root: Path, names: tuple[str, ...], size: tuple[int, int], channels: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(N, height, width, channels) pictures and (N,) labels, in the order of class and file name."""
    found = [
        (path, label)
        for label, name in enumerate(names)
        for path in sorted((root / name).rglob("*"))
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")
    ]
    labels = np.array([label for _, label in found], dtype=np.int64)
    for label, name in enumerate(names):
        if not (labels == label).any():
            raise DataError(f"data set {root}: no pictures in {root / name}", _FOLDER_HINT)
    check_memory(str(root), len(found), size, channels)
    images = np.empty((len(found), *size, channels), dtype=np.uint8)
    for row, (path, _) in enumerate(found):
        images[row] = _picture(path, size, channels)
    return images, labels


def _picture(path: Path, size: tuple[int, int], channels: int) -> NDArray[np.uint8]:
    """(height, width, channels) of one file, scaled to the size without regard to its aspect."""
    try:
        with Image.open(path) as image:
            # Palettes with transparency only convert well by way of RGBA.
            picture = image.convert("RGBA") if image.mode == "P" else image
            picture = picture.convert("L" if channels == 1 else "RGB")
            picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            return np.asarray(picture, dtype=np.uint8).reshape(*size, channels)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        # Pillow reports broken files with any of these (SyntaxError for broken PNG chunks).
        raise DataError(
            f"picture {path} cannot be read: {error}", "repair it or take it out of the data set"
        ) from error
