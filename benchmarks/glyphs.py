"""Data sets drawn by program: letters, shapes and textures, each asking something else of a network.

For measurements that need many small data sets; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIZE = 16
PER_CLASS = 120
_CLASSES = 8

Picture = NDArray[np.uint8]  # (SIZE, SIZE)
Draw = Callable[[int, np.random.Generator], Picture]  # of a class


def _letter(character: str, rng: np.random.Generator, *, shift: float, turn: float, size: float) -> Image.Image:
    large = Image.new("L", (64, 64))
    pen = ImageDraw.Draw(large)
    font = ImageFont.load_default(size)
    pen.text((32, 32), character, fill=255, font=font, anchor="mm")
    dx, dy = rng.uniform(-shift, shift, 2)
    return large.rotate(rng.uniform(-turn, turn), translate=(round(dx), round(dy)), resample=Image.Resampling.BILINEAR)


def _small(picture: Image.Image, rng: np.random.Generator, noise: float) -> Picture:
    values = np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BOX), dtype=np.float64)
    return np.clip(values + noise * rng.standard_normal(values.shape), 0, 255).astype(np.uint8)


def letters(label: int, rng: np.random.Generator) -> Picture:
    """Letters in the middle, clean: their strokes decide."""
    return _small(_letter("ABCDEFGH"[label], rng, shift=3, turn=5, size=52), rng, 10)


def scattered(label: int, rng: np.random.Generator) -> Picture:
    """Small letters anywhere, turned: the same letter never looks the same."""
    return _small(_letter("KMRSTXYZ"[label], rng, shift=16, turn=30, size=34), rng, 15)


def drowned(label: int, rng: np.random.Generator) -> Picture:
    """Letters under heavy noise: averaging helps."""
    return _small(_letter("EFHLNPUW"[label], rng, shift=4, turn=5, size=52), rng, 90)


def stripes(label: int, rng: np.random.Generator) -> Picture:
    """Stripes of eight directions at any phase: a texture, its place says nothing."""
    angle, phase = np.pi * label / _CLASSES, rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:SIZE, :SIZE]
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(1.1, 1.5) + phase)
    return np.clip(128 + 70 * wave + 40 * rng.standard_normal(wave.shape), 0, 255).astype(np.uint8)


def places(label: int, rng: np.random.Generator) -> Picture:
    """A blob in one of eight places: only its place matters."""
    row, column = divmod(label + (label >= 4), 3)
    y, x = np.mgrid[:SIZE, :SIZE]
    at = np.array([row, column]) * 5 + 3 + rng.uniform(-1.5, 1.5, 2)
    blob = 160 * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * rng.uniform(1, 2) ** 2))
    return np.clip(blob + 40 + 45 * rng.standard_normal(blob.shape), 0, 255).astype(np.uint8)


def counts(label: int, rng: np.random.Generator) -> Picture:
    """One to eight dots: how many, wherever they are."""
    picture = np.full((SIZE, SIZE), 20.0)
    for cell in rng.permutation(25)[: label + 1]:
        row, column = divmod(int(cell), 5)
        picture[row * 3 + 1 : row * 3 + 3, column * 3 + 1 : column * 3 + 3] = rng.uniform(140, 230)
    return np.clip(picture + 15 * rng.standard_normal(picture.shape), 0, 255).astype(np.uint8)


SETS: Mapping[str, Draw] = {
    "letters": letters,
    "scattered": scattered,
    "drowned": drowned,
    "stripes": stripes,
    "places": places,
    "counts": counts,
}


def write_sets(folder: Path, seed: int = 0) -> list[Path]:
    """One `.npz` for each kind of picture, as `accuracy.dataset` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (name, draw) in enumerate(SETS.items()):
        rng = np.random.default_rng([seed, number])
        labels = np.repeat(np.arange(_CLASSES), PER_CLASS)
        images = np.stack([draw(int(label), rng) for label in labels])[..., None]
        paths.append(folder / f"{name}.npz")
        np.savez_compressed(paths[-1], x=images, y=labels)
    return paths
