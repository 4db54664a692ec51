"""Tasks: small classification problems with the accuracies of a few architectures on each.

A folder of tasks holds one folder per task:

TASK/images.npz        x: (images, height, width[, channels]) uint8, y: (images,) class numbers 0, 1, ...
TASK/accuracies.csv    arch,accuracy: an architecture in the space's notation, and its accuracy in percent
TASK/source.txt        may be absent: where the images come from; training treats tasks of one source as relatives

`nag tasks collect` writes such folders; users may write them by any other means.
"""

from __future__ import annotations

import csv
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DataError, IllegalArchitecture
from orchestrator.objective.pixels import read_pixels
from orchestrator.space.base import FloatArray, IntArray, Space

IMAGES = "images.npz"
ACCURACIES = "accuracies.csv"
SOURCE = "source.txt"
_FEWEST_ACCURACIES = 2
_PICTURE = 16  # size that pictures of a folder are read at, which is what a predictor looks at


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images of a few classes; equal only to itself, as comparing them would mean comparing every pixel.

    Attributes:
        x: (images, height, width, channels) uint8; 1 or 3 channels.
        y: (images,) class numbers from 0 without gaps.
    """

    x: NDArray[np.uint8]
    y: NDArray[np.int64]

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(self.y.max()) + 1


@dataclass(frozen=True)
class Task:
    """A data set, and architectures with their accuracies on it.

    Attributes:
        name: Of its folder.
        images: What the classes look like.
        slots: (`N`, `S`) architectures.
        accuracies: (`N`,) percent.
        source: Where the images come from; empty where unknown.
    """

    name: str
    images: LabelledImages
    slots: IntArray
    accuracies: FloatArray
    source: str = ""


def read_tasks(folder: Path, space: Space) -> tuple[Task, ...]:
    """All finished tasks of a folder, by name; a task without accuracies is not finished and left out.

    Raises:
        DataError: Nothing to learn from, or a file that cannot be used.
    """
    hint = "a folder with one folder per task, each with images.npz and accuracies.csv; see docs/transfer.md"
    try:
        names = sorted(path for path in folder.iterdir() if (path / ACCURACIES).is_file())
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}", hint) from error
    if len(names) < 2:
        raise DataError(f"{folder}: {len(names)} finished tasks; what data sets do is learned from 2 or more", hint)
    return tuple(read_task(path, space) for path in names)


def read_task(folder: Path, space: Space) -> Task:
    """One task. Raises DataError."""
    source = folder / SOURCE
    return Task(
        folder.name,
        read_images(folder / IMAGES),
        *_read_accuracies(folder / ACCURACIES, space),
        source.read_text(encoding="utf-8", errors="replace").strip() if source.is_file() else "",
    )


def read_images(path: Path) -> LabelledImages:
    """Images and labels of an `.npz`. Raises DataError."""
    hint = "an .npz with x (images, height, width[, channels]; uint8) and y (class numbers from 0)"
    try:
        with np.load(path, allow_pickle=False) as file:
            x, y = np.asarray(file["x"]), np.asarray(file["y"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read: {error}", hint) from error
    x = x[..., None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or x.dtype != np.uint8 or y.shape != x.shape[:1]:
        raise DataError(f"{path}: x has shape {x.shape} and type {x.dtype}, y has shape {y.shape}", hint)
    if not np.issubdtype(y.dtype, np.integer) or not np.array_equal(np.unique(y), np.arange(y.max(initial=0) + 1)):
        raise DataError(f"{path}: y must name classes 0, 1, ... without a gap", hint)
    if y.max() < 1:
        raise DataError(f"{path}: one class alone is no task", hint)
    return LabelledImages(x, y.astype(np.int64))


def images_of(dataset: str) -> LabelledImages:
    """Images of a data set as campaigns name them: `digits`, an `.npz`, or a folder of pictures. Raises DataError."""
    pixels = read_pixels(dataset, (_PICTURE, _PICTURE), 3)
    if pixels.images.dtype != np.uint8:
        raise DataError(f"{dataset}: images are {pixels.images.dtype}", "a predictor looks at uint8 images")
    return LabelledImages(pixels.images.astype(np.uint8), pixels.labels)


def _read_accuracies(path: Path, space: Space) -> tuple[IntArray, FloatArray]:
    """Architectures and their accuracies. Raises DataError."""
    hint = "a CSV with the columns arch and accuracy (percent)"
    slots, accuracies = [], []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for line, row in enumerate(csv.DictReader(file), start=2):
                accuracy = float(row["accuracy"])
                if not 0 <= accuracy <= 100 or math.isnan(accuracy):
                    raise DataError(f"{path}, line {line}: an accuracy of {accuracy}", hint)
                slots.append(space.parse(row["arch"]).slots)
                accuracies.append(accuracy)
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}", hint) from error
    except IllegalArchitecture as error:
        raise DataError(f"{path}, line {line}: {error.message}", error.hint) from error
    if len(slots) < _FEWEST_ACCURACIES:
        raise DataError(f"{path}: {len(slots)} accuracies; a task needs {_FEWEST_ACCURACIES} or more", hint)
    return np.array(slots, dtype=np.int64), np.array(accuracies)
