"""Reference architectures: what to measure on a new device, so that least is left unknown of all the others."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import ConfigError, Problem
from orchestrator.generate.pool import draw_distinct, width
from orchestrator.predict.latency.beliefs import beliefs
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
    considered = max(_POOL, 2 * count)
    if pool is None:
        candidates = _connected(space, draw_distinct(space, considered, rng))
    else:
        candidates = _connected(space, pool[rng.permutation(len(pool))[: 2 * considered]])[:considered]
    if len(candidates) < count:
        raise ConfigError("references", [Problem("samples", count, f"at most {len(candidates)}: there are no more")])
    first, second = (relaxed(slots, width(space)) for slots in (candidates, targets))
    return candidates[telling_rows(structures, prior, first, second, count)]


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


def telling_rows(
    structures: Structures, prior: LatencyPrior, candidates: Tensor, targets: Tensor, count: int
) -> IntArray:
    """(`N`,) rows of the candidates that leave least in doubt about the targets, the most telling first.

    All beliefs together, by their first two moments, are one Gaussian process. It is in doubt where they disagree, so
    what tells structures apart is worth measuring, too.

    Args:
        structures: What the model sees.
        prior: What is known of other devices.
        candidates: (`B`, ...) what may be measured.
        targets: (`M`, ...) what is to be known.
        count: `N`, at most `B`.
    """
    with torch.no_grad():
        near, far = (structures.kinship(candidates, each).numpy() for each in (candidates, targets))
        ours, theirs = (structures.amounts(each).numpy() for each in (candidates, targets))
    ways = beliefs(prior, structures)
    shares = np.array([each.share for each in ways])
    our_means, their_means = (np.stack([a[each.structure] @ each.mean for each in ways]) for a in (ours, theirs))
    our_centre, their_centre = (np.maximum(shares @ means, LEAST) for means in (our_means, their_means))
    within, across = _STRAY**2 * near, _STRAY**2 * far  # relative covariance of candidates, and with targets
    for each, our_mean, their_mean in zip(ways, our_means, their_means, strict=True):
        our, our_off = ours[each.structure] / our_centre[:, None], our_mean / our_centre - 1
        their, their_off = theirs[each.structure] / their_centre[:, None], their_mean / their_centre - 1
        within = within + each.share * (our @ each.covariance @ our.T + np.outer(our_off, our_off))
        across = across + each.share * (our @ each.covariance @ their.T + np.outer(our_off, their_off))
    chosen: list[int] = []
    for _ in range(count):
        total = np.diagonal(within) + _NOISE**2
        gain = (across**2).mean(-1) / total
        gain[chosen] = -np.inf
        best = int(np.argmax(gain))
        chosen.append(best)
        column: FloatArray = within[:, best] / total[best]
        across = across - np.outer(column, across[best])
        within = within - np.outer(column, within[best])
    return np.array(chosen, dtype=np.int64)
