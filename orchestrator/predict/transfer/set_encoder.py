"""SetEncoder: a data set as a few numbers, whatever the order of its images and classes.

In two steps, as MetaD2A (Lee et al., ICLR 2021) and DiffusionNAG's transferable predictor do: the images of a class
become its prototype, the prototypes become the data set. Each step pools by mean and spread; besides, the encoder is
told how far classes lie apart compared with how much images of one class differ, which no pooling of prototypes shows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.predict.transfer.image_features import feature_count, image_features
from orchestrator.predict.transfer.tasks import LabelledImages

IMAGES_PER_CLASS = 20  # as the paper; more tell little
_LEAST = 1e-6
_FACTS = 5  # besides pooled prototypes


class SetEncoder(nn.Module):
    """(classes, images, `F`) image features -> (`Z`,) embedding of the data set."""

    centre: Tensor
    scale: Tensor

    def __init__(self, *, embedding: int = 4, hidden: int = 32) -> None:
        """Args:
        embedding: `Z`. Few, because tasks to learn from are few.
        hidden: Width of the layers.
        """
        super().__init__()
        self.image = nn.Sequential(nn.Linear(feature_count(), hidden), nn.SiLU())
        self.prototype = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.SiLU())
        self.dataset = nn.Linear(2 * hidden + _FACTS, embedding)
        self.register_buffer("centre", torch.zeros(feature_count()))
        self.register_buffer("scale", torch.ones(feature_count()))

    def forward(self, features: Tensor) -> Tensor:
        """(`Z`,) of (classes, images, `F`)."""
        standard = (features - self.centre) / self.scale
        prototypes = self.prototype(_pooled(self.image(standard), dim=1))
        return self.dataset(torch.cat([_pooled(prototypes, dim=0), _facts(standard)]))


def _pooled(values: Tensor, dim: int) -> Tensor:
    """Mean and standard deviation over one axis, side by side on the last."""
    variance = values.var(dim, correction=0)
    return torch.cat([values.mean(dim), (variance + _LEAST).sqrt()], dim=-1)


def _facts(features: Tensor) -> Tensor:
    """(5,): number of classes, spread within and between them, and how well the nearest prototype tells a class."""
    prototypes = features.mean(1)
    within = features.var(1, correction=0).mean()
    between = prototypes.var(0, correction=0).mean()
    distances = torch.cdist(features.flatten(0, 1), prototypes).unflatten(0, features.shape[:2])
    right = torch.diagonal(distances, dim1=0, dim2=2).T  # (classes, images): to the own prototype
    told = (distances <= right.unsqueeze(-1)).sum(-1) == 1
    count = torch.tensor(float(len(features)))
    return torch.stack(
        [
            count.log(),
            (within + _LEAST).log(),
            (between + _LEAST).log(),
            ((between + _LEAST) / (within + _LEAST)).log(),
            told.float().mean(),
        ]
    )


Bank = tuple[Tensor, ...]  # of each class, the (images, `F`) features of its images


def feature_bank(images: LabelledImages, *, at_most: int = 200) -> Bank:
    """Features of the images of each class, the first so many of it."""
    return tuple(image_features(images.x[np.flatnonzero(images.y == c)[:at_most]]) for c in range(images.classes))


def draw_features(bank: Bank, rng: np.random.Generator, count: int = IMAGES_PER_CLASS) -> Tensor:
    """(classes, `count`, `F`): features of random images of each class; with repeats where a class has fewer."""
    return torch.stack(
        [each[torch.from_numpy(rng.choice(len(each), size=count, replace=len(each) < count))] for each in bank]
    )
