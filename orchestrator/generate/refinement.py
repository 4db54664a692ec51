"""Refinement: breed from the best architectures met, where their gradients say which children are worth a call.

A gradient at an architecture predicts, to first order, what every combination of changes is worth (exactly, for single
changes of a multilinear utility). So a brood is the best of very many children by what their mothers' gradients say
of them; each limit is predicted apart from the score, so that children lie within it. A part of the brood is taken
blindly: predictions that are wrong all the same way must not rule alone. Without gradients, all of it is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.generate.evolution import crossover, mutate
from orchestrator.generate.pool import draw_distinct, keys
from orchestrator.space.base import IntArray, Space

if TYPE_CHECKING:
    from orchestrator.generate.memory import Memory

_BROODS = 32  # there are at least so many, so that there are generations
_BROOD = (4, 128)  # smallest and largest: a utility is best called for several architectures at once
_CROSSED = 0.6  # share of the children with two parents
_SCREENED = 64  # children that are imagined for each one evaluated
_BLIND = 0.25  # share of a brood that no prediction has chosen
_FRUITLESS_BROODS = 8  # broods without a new architecture after which fresh blood is drawn


def refine(memory: Memory, space: Space, rng: np.random.Generator) -> None:
    """Spend what is left of a memory's budget on children of the best that it has met.

    Args:
        memory: Has met at least one architecture.
        space: What the architectures are from.
        rng: All randomness.
    """
    brood = min(max(memory.budget // _BROODS, _BROOD[0]), _BROOD[1])
    fruitless = 0
    while not memory.exhausted:
        children = _brood(memory, space, brood, rng)
        fruitless = 0 if len(children) else fruitless + 1
        if fruitless >= _FRUITLESS_BROODS:
            children = draw_distinct(space, brood, rng, keys(memory.slots))
            if not len(children):
                return  # the whole space has been met
        memory.rows(children)


def population(calls: int) -> int:
    """How many of the best may breed, in a search of so many calls."""
    return max(math.isqrt(calls), 2)


def _brood(memory: Memory, space: Space, size: int, rng: np.random.Generator) -> IntArray:
    """(`B`, `S`): up to `size` architectures not met before."""
    best = np.argsort(-memory.values, kind="stable")[: population(memory.budget)]
    imagined = size * (_SCREENED if memory.differentiable else 1)
    mothers, fathers = best[_ranks(len(best), (2, imagined), rng)]
    crossed = rng.random(imagined) < _CROSSED
    parents = memory.slots[mothers]
    children = np.where(crossed[:, None], crossover(space, parents, memory.slots[fathers], rng), parents)
    children = mutate(space, children, rng, rng.geometric(0.5, imagined) - crossed)
    if not memory.differentiable:
        return memory.unmet(children)
    predicted = np.nan_to_num(memory.predict(mothers, children), nan=-np.inf)
    chosen = memory.unmet(children[np.argsort(-predicted, kind="stable")])[: math.ceil((1 - _BLIND) * size)]
    return memory.unmet(np.concatenate([chosen, children]))[:size]


def _ranks(count: int, shape: tuple[int, int], rng: np.random.Generator) -> IntArray:
    """Ranks below `count`, the better the more often: half of them are of the best quarter."""
    return np.asarray(count * rng.random(shape) ** 2, dtype=np.int64)
