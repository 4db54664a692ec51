"""Fixed features of images: what a data set looks like, before anything was trained on it.

Random convolutions are a fair basis for telling data sets apart (what needs colour, what needs fine strokes, what can
be told by brightness alone), and a fixed one cannot overfit to the few tasks that a predictor is trained on. Two
resolutions are looked at, each by oriented random filters whose rectified answers are pooled over a coarse grid: the
pooled mean says *where* something is, its mean over the grid *that* it is anywhere.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

FEATURES_VERSION = 1  # grows when the features change: a predictor must see those it was trained on

_SIZE = 16
_FILTERS = 12
_GRID = 2
_SCALES = (16, 8)
_SEED = 2023


def image_features(images: NDArray[np.uint8]) -> Tensor:
    """(images, `F`) features of (images, height, width, channels) pictures; the same for the same pictures."""
    x = torch.from_numpy(np.ascontiguousarray(images)).float().permute(0, 3, 1, 2) / 255
    x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
    x = functional.interpolate(x, size=(_SIZE, _SIZE), mode="bilinear", antialias=True, align_corners=False)
    mean, spread = x.mean((2, 3)), x.std((2, 3))
    parts = [mean, spread]
    with torch.no_grad():
        for size in _SCALES:
            scaled = functional.interpolate(x, size=(size, size), mode="area")
            # Without its mean a filter answers to structure, whatever the brightness.
            answers = functional.conv2d(scaled - scaled.mean((2, 3), keepdim=True), _filters(), padding=1).relu()
            grid = functional.adaptive_avg_pool2d(answers, _GRID)
            parts += [grid.flatten(1), answers.mean((2, 3)), answers.amax((2, 3))]
    return torch.cat(parts, dim=1)


def feature_count() -> int:
    """`F`."""
    return 2 * 3 + len(_SCALES) * _FILTERS * (_GRID**2 + 2)


@cache
def _filters() -> Tensor:
    """(filters, 3, 3, 3) random filters of unit length; half of them look at brightness alone."""
    drawn = np.random.default_rng(_SEED).standard_normal((_FILTERS, 3, 3, 3))
    drawn[::2] = drawn[::2].mean(axis=1, keepdims=True)
    drawn /= np.linalg.norm(drawn.reshape(_FILTERS, -1), axis=1)[:, None, None, None]
    return torch.from_numpy(drawn).float()
