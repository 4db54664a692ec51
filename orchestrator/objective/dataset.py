"""Dataset: labelled images, resized, normalised and split once, the same for every candidate of a campaign."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from orchestrator.errors import DataError
from orchestrator.objective.pixels import Pixels, check_memory, read_pixels


@dataclass(frozen=True)
class Split:
    """Images and labels.

    Attributes:
        images: (B, channels, height, width) float32, normalised.
        labels: (B,) int64.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, size: tuple[int, int]) -> Split:
        """The same with images of this (height, width): architectures may have resolutions of their own."""
        return Split(_scaled(self.images, size), self.labels)

    def to(self, device: torch.device) -> Split:
        """The same on another device; images channels-last, which convolutions prefer."""
        return Split(
            self.images.to(device, memory_format=torch.channels_last),
            self.labels.to(device),
        )


@dataclass(frozen=True)
class Dataset:
    """A data set at one input shape.

    Attributes:
        name: As the config gave it.
        train, validation, test: Disjoint, each with every class.
        class_names: Name of each label.
        mean, std: Per channel of the training images; an image in 0..1 (or in the user's own float range) is
            normalised as (image - mean) / std, on the phone too.
        fingerprint: Sha256 over pixels, labels, names, input shape and split.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str


def load_dataset(
    spec: str,
    input_shape: tuple[int, int, int, int],
    classes: int,
    *,
    seed: int = 0,
    validation: float = 0.1,
    test: float = 0.1,
) -> Dataset:
    """Read, resize, split (stratified) and normalise a data set.

    Args:
        spec: `digits` (scikit-learn's), a `.npz` (x, y; or x_train, y_train, x_test, y_test), or a folder with one
            sub-folder of pictures per class (or train/ and test/ of those).
        input_shape: (batch, height, width, channels) of the network.
        classes: Of the network.
        seed: Of the split.
        validation, test: Share of each class's images; `test` is ignored when the source brings its own test set.

    Raises:
        DataError: Missing, unreadable or unsuitable; says where and what is allowed.
    """
    _, height, width, channels = input_shape
    if channels not in (1, 3):
        raise DataError(f"input {list(input_shape)} has {channels} channels", "images have 1 or 3")
    pixels = read_pixels(spec, (height, width), channels)
    _check_classes(spec, pixels, classes)
    count = len(pixels.labels) + (0 if pixels.test_labels is None else len(pixels.test_labels))
    check_memory(spec, count, (height, width), channels)
    rng = np.random.default_rng(seed)
    shares = (validation, test) if pixels.test_labels is None else (validation,)
    rows = _stratified(spec, pixels.labels, shares, rng)
    images = _resized(pixels.images, (height, width), channels)
    labels = torch.from_numpy(pixels.labels)
    parts = [Split(images[index], labels[index]) for index in map(torch.from_numpy, rows)]
    if pixels.test_images is not None and pixels.test_labels is not None:
        parts.append(
            Split(_resized(pixels.test_images, (height, width), channels), torch.from_numpy(pixels.test_labels))
        )
    mean = parts[0].images.mean(dim=(0, 2, 3))
    std = parts[0].images.std(dim=(0, 2, 3)).clamp_min(1e-6)  # a constant channel stays constant
    shape = (1, channels, 1, 1)
    parts = [Split((part.images - mean.reshape(shape)) / std.reshape(shape), part.labels) for part in parts]
    return Dataset(
        name=spec,
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        class_names=pixels.class_names,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        fingerprint=_fingerprint(pixels, (height, width, channels), rows),
    )


def _check_classes(spec: str, pixels: Pixels, classes: int) -> None:
    """Raises DataError unless every label 0..classes-1 occurs and no other."""
    found = len(pixels.class_names)
    if found != classes:
        names = ", ".join(pixels.class_names[:12]) + (", ..." if found > 12 else "")
        raise DataError(
            f"data set {spec} has {found} classes ({names}), the network has {classes}", f"set space.classes to {found}"
        )
    for labels, part in ((pixels.labels, ""), (pixels.test_labels, " of the test set")):
        if labels is not None and (missing := sorted(set(range(classes)) - set(labels.tolist()))):
            raise DataError(
                f"data set {spec}: no image{part} has label {missing[0]}"
                + (f" (nor {len(missing) - 1} others)" if len(missing) > 1 else ""),
                f"labels count from 0 to {classes - 1} and each occurs",
            )


def _stratified(
    spec: str, labels: NDArray[np.int64], shares: tuple[float, ...], rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Row numbers of the training part and of one further part per share; each class is divided alike."""
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(len(shares) + 1)]
    for label in range(int(labels.max()) + 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        counts = [max(1, round(share * len(rows))) for share in shares]
        if sum(counts) >= len(rows):
            raise DataError(
                f"data set {spec}: class {label} has {len(rows)} images, too few to split",
                f"at least {len(shares) + 1} a class, better hundreds",
            )
        ends = np.cumsum(counts)
        for part, chunk in zip(parts[1:] + parts[:1], np.split(rows, ends), strict=True):
            part.append(chunk)
    return [np.sort(np.concatenate(part)) for part in parts]


def _resized(images: NDArray[np.uint8] | NDArray[np.float32], size: tuple[int, int], channels: int) -> torch.Tensor:
    """(B, channels, height, width) float32; uint8 becomes 0..1, grey is repeated, colour becomes luminance."""
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    if images.dtype == np.uint8:
        tensor = tensor / 255
    if tensor.shape[1] == 3 and channels == 1:
        tensor = (tensor * torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)).sum(1, keepdim=True)  # ITU-R 601
    return _scaled(tensor, size).expand(-1, channels, -1, -1).contiguous()


def _scaled(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(B, channels, height, width) float images at another size."""
    return images if images.shape[2:] == size else interpolate(images, size=size, mode="bilinear", antialias=True)


def _fingerprint(pixels: Pixels, shape: tuple[int, int, int], rows: list[NDArray[np.int64]]) -> str:
    digest = hashlib.sha256(repr((pixels.class_names, shape)).encode())
    arrays = (pixels.images, pixels.labels, pixels.test_images, pixels.test_labels, *rows)
    for array in arrays:
        if array is not None:
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
