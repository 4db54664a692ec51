"""Reference architectures: what to measure on a new device, so that least is left unknown of all the others."""

from __future__ import annotations

import numpy as np
import torch

from orchestrator.errors import ConfigError, Problem
from orchestrator.generate.pool import draw_distinct, width
from orchestrator.predict.latency.beliefs import overall
from orchestrator.predict.latency.inference import LEAST
from orchestrator.predict.latency.prior import LatencyPrior
from orchestrator.predict.latency.structures import Structures, relaxed
from orchestrator.space.base import FloatArray, IntArray, Space

_POOL, _TARGETS = 400, 600
_NOISE = 0.07  # relative sd of a measurement, as it is in tables of phones
_STRAY = 0.03  # of the residual of similar architectures


def choose_references(
    space: Space,
    structures: Structures,
    prior: LatencyPrior,
    count: int,
    *,
    seed: int = 0,
    pool: IntArray | None = None,
) -> IntArray:
    """(`N`, `S`) architectures, the most telling first.

    A-optimal (Atkinson & Donev, "Optimum Experimental Designs", 1992): each is the one that lowers the mean relative
    variance of all latencies the most, given those before it. Nothing measured enters: prior and seed fix the set.

    Args:
        space: Where architectures come from.
        structures: What the model sees.
        prior: What is known of other devices.
        count: How many, `N`.
        seed: Of the random architectures that are considered.
        pool: (`B`, `S`) choose out of these instead, e.g. the rows of a table.

    Raises:
        ConfigError: There are fewer architectures than asked for.
    """
    rng = np.random.default_rng(seed)
    targets = _connected(space, space.sample(_TARGETS, rng))
    if pool is None:
        candidates = _connected(space, draw_distinct(space, _POOL, rng))
    else:
        candidates = _connected(space, pool[rng.permutation(len(pool))[: 2 * _POOL]])[:_POOL]
    if len(candidates) < count:
        raise ConfigError("references", [Problem("samples", count, f"at most {len(candidates)}: there are no more")])
    return candidates[_greedy(structures, prior, space, candidates, targets, count)]


def random_references(space: Space, count: int, *, seed: int = 0, pool: IntArray | None = None) -> IntArray:
    """(`N`, `S`) architectures at random, of those whose output depends on their input. Raises ConfigError."""
    rng = np.random.default_rng(seed)
    if pool is None:
        pool = draw_distinct(space, max(2 * count, _POOL), rng)
    chosen = _connected(space, pool[rng.permutation(len(pool))[: max(4 * count, _POOL)]])[:count]
    if len(chosen) < count:
        raise ConfigError("references", [Problem("samples", count, f"at most {len(chosen)}: there are no more")])
    return chosen


def _connected(space: Space, slots: IntArray) -> IntArray:
    """Those that are networks at all: a constant is never worth measuring."""
    kept = space.encoding().connected(relaxed(slots, width(space))).numpy() > 0
    return np.asarray(slots[kept])


def _greedy(
    structures: Structures, prior: LatencyPrior, space: Space, candidates: IntArray, targets: IntArray, count: int
) -> IntArray:
    """(`N`,) rows of the candidates."""
    belief = overall(prior)
    first, second = (relaxed(slots, width(space)) for slots in (candidates, targets))
    with torch.no_grad():
        near, far = (structures.kinship(first, each).numpy() for each in (first, second))
        ours, theirs = (structures.amounts(each).numpy() for each in (first, second))
    within, across = [], []  # by structure, covariance of candidates with each other and with targets
    for our, their in zip(ours, theirs, strict=True):
        expected, meant = (np.maximum(each @ belief.mean, LEAST)[:, None] for each in (our, their))
        within.append(our / expected @ belief.covariance @ (our / expected).T + _STRAY**2 * near)
        across.append(our / expected @ belief.covariance @ (their / meant).T + _STRAY**2 * far)
    shares = np.array(structures.shares)
    a, b = np.stack(within), np.stack(across)
    chosen: list[int] = []
    for _ in range(count):
        total = np.diagonal(a, axis1=1, axis2=2) + _NOISE**2
        gain = shares @ ((b**2).mean(-1) / total)
        gain[chosen] = -np.inf
        best = int(np.argmax(gain))
        chosen.append(best)
        column: FloatArray = a[:, :, best] / total[:, best, None]
        b = b - column[:, :, None] * b[:, best, None, :]
        a = a - column[:, :, None] * a[:, best, None, :]
    return np.array(chosen, dtype=np.int64)
