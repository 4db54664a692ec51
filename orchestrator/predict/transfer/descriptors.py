"""Descriptors: a data set as four numbers, each of which says what a network needs to tell its classes apart.

Untrained features are tried on the data set: how well do they tell the class of each image, from all other images?
What is compared are features that differ in one thing (with or without averaging neighbours, one pixel or nine, where
or only that), so their difference is what that thing is worth on these images. A few numbers with a meaning carry over
to kinds of pictures that no task had; what a network learns to see in a handful of data sets does not.

The order of images and of classes does not matter, nor how bright or how contrasted all images are.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.predict.transfer.tasks import LabelledImages

DESCRIPTORS = ("averaging", "neighbours", "place", "told")
DESCRIPTORS_VERSION = 1  # grows when they change: a predictor must see those it was trained on

_SIZE = 16
_FILTERS = 32
_GRID = 4
_IMAGES = 120  # of a class at most
_RIDGE = 0.1
_LEAST = 1e-6
_SEED = 2023


@lru_cache(maxsize=256)
def describe(images: LabelledImages) -> Tensor:
    """(`Z`,) descriptors, by the names above; the same for the same images.

    averaging: what averaging 3 x 3 pixels first adds to features of neighbourhoods (below 0 where it destroys).
    neighbours: what neighbourhoods of 3 x 3 pixels tell beyond single pixels.
    place: what brightness in 4 x 4 places tells beyond neighbourhoods that may be anywhere.
    told: what the best of all these tells: how hard the data set is.
    """
    rows = np.concatenate([np.flatnonzero(images.y == label)[:_IMAGES] for label in range(images.classes)])
    labels = torch.from_numpy(images.y[rows])
    told = torch.stack([_told(features, labels) for features in _features(_pixels(images.x[rows]))])
    pixel, neighbourhood, averaged, place = told
    return torch.stack([averaged - neighbourhood, neighbourhood - pixel, place - neighbourhood, told.max()])


def _pixels(images: np.ndarray) -> Tensor:
    """(images, 3, size, size) of mean 0 and variance 1 over all, as networks are given them."""
    x = torch.from_numpy(np.ascontiguousarray(images)).float().permute(0, 3, 1, 2)
    x = x.expand(-1, 3, -1, -1)
    if x.shape[2:] != (_SIZE, _SIZE):
        x = functional.interpolate(x, size=(_SIZE, _SIZE), mode="bilinear", antialias=True, align_corners=False)
    return (x - x.mean()) / (x.std() + _LEAST)


def _features(x: Tensor) -> Iterator[Tensor]:
    """(images, `F`) of single pixels, of neighbourhoods, of neighbourhoods after averaging, and of places."""
    yield _answers(x, size=1)
    yield _answers(x, size=3)
    yield _answers(functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False), size=3)
    yield functional.adaptive_avg_pool2d(x, _GRID).flatten(1)


def _answers(x: Tensor, size: int) -> Tensor:
    """(images, filters): rectified answers of random filters, each with its own threshold, anywhere in an image."""
    filters, thresholds = _filters(size)
    answers = functional.conv2d(x, filters, padding=size // 2)
    mean, spread = answers.mean((0, 2, 3), keepdim=True), answers.std((0, 2, 3), keepdim=True)
    return ((answers - mean) / (spread + _LEAST) + thresholds).relu().mean((2, 3))


def _told(features: Tensor, labels: Tensor) -> Tensor:
    """Correlation of each image's class with what ridge regression on all other images says of it; 0 where negative.

    Unlike a share of right answers it goes on to tell data sets apart that are all told well, or all badly. Leaving one
    out needs no second fit: the residual grows by 1 / (1 - leverage) (Allen's PRESS, 1974).
    """
    spread = features.std(0, correction=0) + _LEAST
    x = torch.cat([(features - features.mean(0)) / spread, torch.ones_like(features[:, :1])], dim=1).double()
    target = functional.one_hot(labels).double()
    gram = x.T @ x + _RIDGE * x.shape[1] * torch.eye(x.shape[1], dtype=x.dtype)
    solved = torch.linalg.solve(gram, x.T)
    leverage = (x * solved.T).sum(1, keepdim=True)
    missed = (target - x @ (solved @ target)) / (1 - leverage)
    explained = 1 - missed.square().sum() / (target - target.mean(0)).square().sum()
    return explained.clamp_min(0).sqrt()


@cache
def _filters(size: int) -> tuple[Tensor, Tensor]:
    """(filters, 3, size, size) random filters of unit length, and their (1, filters, 1, 1) thresholds."""
    rng = np.random.default_rng([_SEED, size])
    drawn = rng.standard_normal((_FILTERS, 3, size, size))
    drawn /= np.linalg.norm(drawn.reshape(_FILTERS, -1), axis=1)[:, None, None, None]
    thresholds = rng.permutation(np.linspace(-1, 1, _FILTERS)).reshape(1, -1, 1, 1)
    return torch.from_numpy(drawn).float(), torch.from_numpy(thresholds).float()
