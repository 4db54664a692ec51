"""Tasks whose best architectures depend on what the images look like, made without any training."""

from __future__ import annotations

import numpy as np

from orchestrator.predict.transfer.tasks import LabelledImages, Task
from orchestrator.space.nasbench201 import NASBench201

SPACE = NASBench201()
_CONV, _POOL = 3, 4


def images(bright: bool, classes: int, seed: int, per_class: int = 12) -> LabelledImages:
    """Bright images of large blobs, or dark ones of fine stripes; the classes differ in grey."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), per_class)
    base = (170 if bright else 40) + 10 * y[:, None, None]
    stripes = 0 if bright else 30 * (np.arange(16) % 2)[None, None]
    x = base + stripes + rng.normal(0, 8, (len(y), 16, 16))
    return LabelledImages(np.clip(x, 0, 255).astype(np.uint8)[..., None], y)


def accuracies(slots: np.ndarray, bright: bool, classes: int) -> np.ndarray:
    """On bright images pooling helps, on dark ones convolutions do."""
    skill = 0.3 + 0.1 * (slots == (_POOL if bright else _CONV)).sum(axis=1)
    return 100 / classes + skill * (100 - 100 / classes)


def task(number: int, bright: bool) -> Task:
    """One task of 12 architectures."""
    rng = np.random.default_rng([7, number])
    classes = int(rng.integers(2, 6))
    slots = SPACE.sample(12, rng)
    return Task(f"task{number}", images(bright, classes, number), slots, accuracies(slots, bright, classes))
