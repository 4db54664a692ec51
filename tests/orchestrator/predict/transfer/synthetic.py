"""Tasks whose best architectures depend on what the images look like, made without any training."""

from __future__ import annotations

import numpy as np

from orchestrator.predict.transfer.tasks import LabelledImages, Task
from orchestrator.space.nasbench201 import NASBench201

SPACE = NASBench201()
_CONV, _POOL = 3, 4


def images(broad: bool, classes: int, seed: int, per_class: int = 30) -> LabelledImages:
    """Broad stripes under noise, or fine ones; the classes differ in their direction."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), per_class)
    angles, phases = np.pi * y / classes, rng.uniform(0, 2 * np.pi, len(y))
    rows, columns = np.mgrid[:16, :16]
    along = np.cos(angles)[:, None, None] * columns + np.sin(angles)[:, None, None] * rows
    x = 128 + 50 * np.sin((0.7 if broad else 2.4) * along + phases[:, None, None]) + rng.normal(0, 80, (len(y), 16, 16))
    return LabelledImages(np.clip(x, 0, 255).astype(np.uint8)[..., None], y)


def accuracies(slots: np.ndarray, broad: bool, classes: int) -> np.ndarray:
    """On broad stripes pooling helps, on fine ones convolutions do."""
    skill = 0.3 + 0.1 * (slots == (_POOL if broad else _CONV)).sum(axis=1)
    return 100 / classes + skill * (100 - 100 / classes)


def task(number: int, broad: bool) -> Task:
    """One task of 12 architectures."""
    rng = np.random.default_rng([7, number])
    classes = int(rng.integers(2, 6))
    slots = SPACE.sample(12, rng)
    return Task(f"task{number}", images(broad, classes, number), slots, accuracies(slots, broad, classes))
