"""Descriptors of data sets: what each of them promises to say, on pictures made to say it."""

from __future__ import annotations

import numpy as np
import torch

from orchestrator.predict.transfer.descriptors import DESCRIPTORS, describe
from orchestrator.predict.transfer.tasks import LabelledImages
from tests.orchestrator.predict.transfer.synthetic import images

_COUNT = 40  # of each of two classes


def described(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Descriptors of two classes of (images, 16, 16) pictures around 0."""
    x = np.clip(128 + np.concatenate([first, second]), 0, 255).astype(np.uint8)[..., None]
    y = np.repeat([0, 1], [len(first), len(second)])
    return dict(zip(DESCRIPTORS, describe(LabelledImages(x, y)).tolist(), strict=True))


def noise(seed: int, size: float) -> np.ndarray:
    return size * np.random.default_rng(seed).standard_normal((_COUNT, 16, 16))


def waves(seed: int, *, along: int, frequency: float) -> np.ndarray:
    """Stripes at any phase."""
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, _COUNT)[:, None, None]
    at = np.mgrid[:16, :16][along]
    return np.asarray(50 * np.sin(frequency * at + phases))


def test_averaging_helps_broad_stripes_under_noise_and_destroys_fine_ones() -> None:
    broad = described(waves(0, along=0, frequency=0.7) + noise(2, 80), waves(1, along=1, frequency=0.7) + noise(3, 80))
    fine = described(waves(0, along=0, frequency=2.4) + noise(2, 80), waves(1, along=1, frequency=2.4) + noise(3, 80))
    assert broad["averaging"] > 0.1
    assert fine["averaging"] < -0.1
    assert min(broad["neighbours"], fine["neighbours"]) > 0.2, "directions take more than one pixel to see"


def test_single_pixels_tell_how_brightness_is_distributed() -> None:
    rng = np.random.default_rng(0)
    two_heaps, one_heap = 40 * rng.choice([-1.0, 1.0], (_COUNT, 16, 16)), noise(1, 40)
    assert described(two_heaps, one_heap)["neighbours"] < 0.1
    assert described(two_heaps, one_heap)["told"] > 0.8


def test_places_matter_where_only_the_place_differs() -> None:
    left, right = noise(0, 20), noise(1, 20)
    left[:, 6:10, 2:5] += 60
    right[:, 6:10, 11:14] += 60
    assert described(left, right)["place"] > 0.5


def test_nothing_is_told_where_nothing_differs() -> None:
    assert abs(described(noise(0, 40), noise(1, 40))["told"]) < 0.5


def test_the_order_of_images_and_classes_does_not_matter() -> None:
    drawn = images(True, 4, 0)
    order = np.random.default_rng(0).permutation(len(drawn.y))
    renamed = LabelledImages(drawn.x[order], np.array([2, 0, 3, 1])[drawn.y[order]])
    assert torch.allclose(describe(drawn), describe(renamed), atol=1e-9)


def test_grey_images_are_colour_images_of_equal_channels_and_brightness_is_nothing() -> None:
    drawn = images(False, 3, 1)
    colour = LabelledImages(np.repeat(drawn.x, 3, axis=3), drawn.y)
    assert torch.allclose(describe(drawn), describe(colour), atol=1e-9)
    dark, light = (LabelledImages(drawn.x // 2 + more, drawn.y) for more in (0, 60))
    assert torch.allclose(describe(dark), describe(light), atol=1e-9)


def test_other_sizes_are_brought_to_the_same() -> None:
    drawn = images(True, 3, 2)
    larger = LabelledImages(drawn.x.repeat(2, axis=1).repeat(2, axis=2), drawn.y)
    assert torch.allclose(describe(larger), describe(drawn), atol=0.25)
