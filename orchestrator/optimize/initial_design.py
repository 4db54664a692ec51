"""The first architectures: spread over amounts of computation and unlike one another, before anything is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch

from orchestrator.generate.pool import draw_distinct, width
from orchestrator.space.base import FloatArray, IntArray, Space, one_hot

_DRAWN = 4096


Promise = Callable[[IntArray], FloatArray]


def initial_design(
    space: Space, bins: int, rng: np.random.Generator, promise: Promise | None = None
) -> Iterator[tuple[int, ...]]:
    """Yields different architectures: one from each of `bins` equal ranges of log work, then another round, and so on.

    The smallest and the largest range come first, then always the middle of the widest gap, so a design cut short
    still spans the sizes. Out of a range comes the architecture farthest from those before it, in features of
    accuracy; where something is believed of accuracies, the most promising of the farther half. Constants, and
    architectures with choices that do nothing, come only when all others are used up.

    Args:
        space: Where architectures come from.
        bins: Ranges of log work; how many architectures will probably be asked for.
        rng: All randomness.
        promise: (`B`, `S`) architectures -> (`B`,), greater is better; None: all are alike.
    """
    drawn = draw_distinct(space, _DRAWN, rng)
    relaxed = torch.as_tensor(one_hot(drawn, width(space)))
    encoding = space.encoding()
    lean = ((encoding.waste(relaxed) < 0.5) & (encoding.connected(relaxed) > 0.5)).numpy()
    yield from _spread(space, drawn[lean], bins, promise)
    yield from _spread(space, drawn[~lean], bins, promise)


def _spread(space: Space, pool: IntArray, bins: int, promise: Promise | None) -> Iterator[tuple[int, ...]]:
    """All rows of (`B`, `S`), farthest first within each range of work, or the most promising of the farther half."""
    if not len(pool):
        return
    encoding, relaxed = space.encoding(), torch.as_tensor(one_hot(pool, width(space)))
    features = encoding.accuracy(relaxed).numpy()
    features = (features - features.mean(0)) / features.std(0).clip(1e-9)
    log_work = encoding.work(relaxed).log().numpy()
    range_of = np.digitize(log_work, np.linspace(log_work.min(), log_work.max(), bins + 1)[1:-1])
    distance = np.full(len(pool), np.inf)
    taken = np.zeros(len(pool), dtype=bool)
    promised = None if promise is None else promise(pool)
    while not taken.all():
        for index in _widest_gap_first(bins):
            free = np.flatnonzero((range_of == index) & ~taken)
            if len(free):
                if promised is not None:
                    free = free[distance[free] >= np.median(distance[free])]
                chosen = free[(distance if promised is None else promised)[free].argmax()]
                taken[chosen] = True
                distance = np.minimum(distance, np.linalg.norm(features - features[chosen], axis=1))
                yield tuple(pool[chosen].tolist())


def _widest_gap_first(count: int) -> list[int]:
    """0..count-1: the ends first, then always the middle of the widest gap."""
    order = [0, count - 1][:count]
    while len(order) < count:
        known = sorted(order)
        gap, left = max((right - left, -left) for left, right in pairwise(known))
        order.append(gap // 2 - left)
    return order
