"""Data sets drawn by program: letters, textures, grains, layouts, each asking something else of a network.

For measurements that need many small data sets; nothing is downloaded. A *kind* of picture is what tells its classes
apart (strokes, direction, grain, place, number, layout); its variants differ in scale, noise or contrast. What a
network needs differs between kinds: pooling destroys grain and helps against heavy noise, layouts need reach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIZE = 16
PER_CLASS = 200
_CLASSES = 8
_ROWS, _COLUMNS = np.mgrid[:SIZE, :SIZE]

Picture = NDArray[np.uint8]  # (SIZE, SIZE)
Values = NDArray[np.float64]  # (SIZE, SIZE), around 0 where not said otherwise
Draw = Callable[[int, np.random.Generator], Picture]  # of a class


def letters(
    label: int,
    rng: np.random.Generator,
    *,
    size: float,
    shift: float,
    turn: float,
    noise: float,
    polarity: bool = False,
) -> Picture:
    """Letters: their strokes decide. `polarity`: light on dark or dark on light, at any contrast."""
    large = Image.new("L", (64, 64))
    ImageDraw.Draw(large).text((32, 32), "AEHKNRSX"[label], fill=255, font=ImageFont.load_default(size), anchor="mm")
    dx, dy = rng.uniform(-shift, shift, 2).round().astype(int).tolist()
    turned = large.rotate(rng.uniform(-turn, turn), translate=(dx, dy), resample=Image.Resampling.BILINEAR)
    strokes = np.asarray(turned.resize((SIZE, SIZE), Image.Resampling.BOX), dtype=np.float64)
    if polarity:
        strokes = rng.choice([-1.0, 1.0]) * rng.uniform(0.2, 0.8) * (strokes - 128) + 128
    return _grey(strokes - 128 + noise * rng.standard_normal(strokes.shape))


def shuffled(label: int, rng: np.random.Generator, *, noise: float) -> Picture:
    """Letters whose pixels changed places, in all pictures alike: neighbours have nothing to do with one another."""
    order = np.random.default_rng(1).permutation(SIZE**2)
    drawn = letters(label, rng, size=52, shift=3, turn=5, noise=noise)
    return drawn.ravel()[order].reshape(SIZE, SIZE)


def stripes(label: int, rng: np.random.Generator, *, waves: tuple[float, float], noise: float) -> Picture:
    """Stripes of eight directions at any phase: a texture, its place says nothing; `waves` in radians per pixel."""
    angle, phase = np.pi * label / _CLASSES, rng.uniform(0, 2 * np.pi)
    wave = np.sin((_COLUMNS * np.cos(angle) + _ROWS * np.sin(angle)) * rng.uniform(*waves) + phase)
    return _grey(60 * wave + noise * rng.standard_normal(wave.shape))


def bands(label: int, rng: np.random.Generator, *, span: tuple[float, float], noise: float) -> Picture:
    """Random textures of the same variance, each class of wave numbers of its own within `span` (1: finest)."""
    edges = np.linspace(*span, _CLASSES + 1)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE), indexing="ij")) * 2
    spectrum = np.fft.fft2(rng.standard_normal((SIZE, SIZE)))
    centre = (edges[label] + edges[label + 1]) / 2
    texture = np.fft.ifft2(spectrum * np.exp(-0.5 * ((radius - centre) / 0.08) ** 2)).real
    return _grey(40 * texture / texture.std() + noise * rng.standard_normal(texture.shape))


def grain(label: int, rng: np.random.Generator, *, cell: int, mean_spread: float) -> Picture:
    """Squares of independent brightness: classes differ in its distribution (skewed, heavy tails), not its mean."""
    count = SIZE // cell
    values = rng.gamma(_SHAPES[label][0], size=(count, count))
    values = (values - values.mean()) / values.std() * _SHAPES[label][1]
    return _grey(45 * np.kron(values, np.ones((cell, cell))) + mean_spread * rng.standard_normal())


_SHAPES = tuple((shape, scale) for shape in (0.3, 1.0, 4.0, 50.0) for scale in (-1.0, 1.0))


def signs(label: int, rng: np.random.Generator, *, noise: float) -> Picture:
    """Black and white pixels whose 2 x 2 neighbours multiply to 1 more or less often: no filter alone can tell."""
    lattice = np.where(rng.random((SIZE, SIZE)) < 0.5, -1.0, 1.0)
    chance = label / (_CLASSES - 1)
    for row in range(1, SIZE):
        for column in range(1, SIZE):
            others = lattice[row - 1, column] * lattice[row, column - 1] * lattice[row - 1, column - 1]
            lattice[row, column] = others if rng.random() < chance else -others
    return _grey(70 * lattice + noise * rng.standard_normal(lattice.shape))


def places(label: int, rng: np.random.Generator, *, radius: tuple[float, float], noise: float) -> Picture:
    """A blob in one of eight places: only its place matters."""
    row, column = divmod(label + (label >= 4), 3)
    at = np.array([row, column]) * 5 + 3 + rng.uniform(-1.5, 1.5, 2)
    return _grey(160 * _blob(at, rng.uniform(*radius)) - 80 + noise * rng.standard_normal((SIZE, SIZE)))


def layouts(label: int, rng: np.random.Generator, *, reach: float, noise: float) -> Picture:
    """Two blobs, anywhere, one in one of eight directions from the other: what matters is far apart."""
    angle = 2 * np.pi * label / _CLASSES + rng.uniform(-0.2, 0.2)
    step = reach * np.array([np.sin(angle), np.cos(angle)])
    at = rng.uniform(np.maximum(1, 1 - step), np.minimum(SIZE - 2, SIZE - 2 - step))
    picture = 150 * _blob(at, 1.3) - 150 * _blob(at + step, 1.3)
    return _grey(picture + noise * rng.standard_normal(picture.shape))


def counts(label: int, rng: np.random.Generator, *, noise: float) -> Picture:
    """One to eight dots: how many, wherever they are, however bright."""
    picture = np.full((SIZE, SIZE), -90.0)
    for cell in rng.permutation(25)[: label + 1]:
        row, column = divmod(int(cell), 5)
        picture[row * 3 + 1 : row * 3 + 3, column * 3 + 1 : column * 3 + 3] = rng.uniform(0, 110)
    return _grey(picture + noise * rng.standard_normal(picture.shape))


def motifs(label: int, rng: np.random.Generator, *, distractors: int, noise: float) -> Picture:
    """One of eight 3 x 3 motifs somewhere, among others that are of no class."""
    known = np.where(np.random.default_rng(2).random((_CLASSES + 8, 3, 3)) < 0.5, -1.0, 1.0)
    picture = noise * rng.standard_normal((SIZE, SIZE))
    chosen = [label, *(rng.integers(_CLASSES, len(known), distractors).tolist())]
    for which, cell in zip(chosen, rng.permutation(16), strict=False):
        row, column = divmod(int(cell), 4)
        picture[row * 4 : row * 4 + 3, column * 4 : column * 4 + 3] += 90 * known[which]
    return _grey(picture)


def _blob(at: NDArray[np.float64], radius: float) -> Values:
    return np.asarray(np.exp(-((_ROWS - at[0]) ** 2 + (_COLUMNS - at[1]) ** 2) / (2 * radius**2)))


def _grey(values: Values) -> Picture:
    return np.clip(values + 128, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Kind:
    """A kind of picture.

    Attributes:
        draw: A picture of a class.
        variants: Keyword arguments of `draw`, by the variant's name.
    """

    draw: Callable[..., Picture]
    variants: Mapping[str, Mapping[str, object]]


KINDS: Mapping[str, Kind] = {
    "letters": Kind(
        letters,
        {
            "drowned": {"size": 52, "shift": 4, "turn": 5, "noise": 120},
            "scattered": {"size": 34, "shift": 15, "turn": 30, "noise": 40},
            "polarity": {"size": 44, "shift": 6, "turn": 15, "noise": 25, "polarity": True},
        },
    ),
    "shuffled": Kind(shuffled, {"clean": {"noise": 30}, "noisy": {"noise": 70}}),
    "stripes": Kind(
        stripes, {"broad": {"waves": (0.5, 0.8), "noise": 100}, "fine": {"waves": (2.0, 2.6), "noise": 90}}
    ),
    "bands": Kind(bands, {"broad": {"span": (0.1, 0.5), "noise": 30}, "fine": {"span": (0.5, 1.1), "noise": 40}}),
    "grain": Kind(
        grain,
        {
            "pixels": {"cell": 1, "mean_spread": 15},
            "pixels-uneven": {"cell": 1, "mean_spread": 40},
            "squares": {"cell": 2, "mean_spread": 15},
        },
    ),
    "signs": Kind(signs, {"clean": {"noise": 5}, "noisy": {"noise": 25}}),
    "places": Kind(
        places, {"small": {"radius": (0.8, 1.3), "noise": 80}, "large": {"radius": (1.8, 2.8), "noise": 130}}
    ),
    "layouts": Kind(layouts, {"near": {"reach": 4, "noise": 70}, "far": {"reach": 8, "noise": 70}}),
    "counts": Kind(counts, {"clean": {"noise": 10}, "noisy": {"noise": 25}}),
    "motifs": Kind(motifs, {"alone": {"distractors": 0, "noise": 30}, "few": {"distractors": 2, "noise": 10}}),
}


def write_sets(folder: Path, seed: int = 0) -> list[Path]:
    """One `.npz` for each variant of each kind, KIND-VARIANT.npz, as `accuracy.dataset` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [
        (f"{name}-{variant}", partial(kind.draw, **arguments))
        for name, kind in KINDS.items()
        for variant, arguments in kind.variants.items()
    ]
    paths = []
    for number, (name, draw) in enumerate(drawn):
        rng = np.random.default_rng([seed, number])
        labels = np.repeat(np.arange(_CLASSES), PER_CLASS)
        images = np.stack([draw(int(label), rng) for label in labels])[..., None]
        paths.append(folder / f"{name}.npz")
        np.savez_compressed(paths[-1], x=images, y=labels)
    return paths
