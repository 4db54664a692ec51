"""Pools of architectures: distinct rows, scores, topping up.

A pool is an integer array of shape (`B`, `S`). Generators agree here on what distinct means, how a utility sees an
architecture, and what happens when a space runs out of architectures.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.generate.base import Terms, Utility, terms_of
from orchestrator.space.base import FloatArray, IntArray, Space, one_hot

if TYPE_CHECKING:
    from torch import Tensor

_ENUMERABLE = 200_000  # largest product of choices that is listed instead of sampled; well under a second
_FRUITLESS_ROUNDS = 64  # draws without a new architecture after which an unlisted space counts as exhausted


def width(space: Space) -> int:
    """`V`: the most choices that any slot of the space has."""
    return max(len(choices) for choices in space.choices)


def keys(slots: IntArray) -> list[bytes]:
    """A hashable key of each row of (`B`, `S`), cheaper than tuples of integers."""
    return [row.tobytes() for row in np.ascontiguousarray(slots, dtype=np.int64)]


def distinct(slots: IntArray, seen: Iterable[bytes] = ()) -> IntArray:
    """The rows of (`B`, `S`) at their first occurrence, in order, without those whose key is in `seen`."""
    known = set(seen)
    first = []
    for row, key in enumerate(keys(slots)):
        if key not in known:
            known.add(key)
            first.append(row)
    return np.asarray(slots[first], dtype=np.int64)


def enumerate_space(space: Space) -> IntArray | None:
    """Every legal architecture, (`N`, `S`) in lexicographic order; None where there are too many to list."""
    sizes = [len(choices) for choices in space.choices]
    if np.prod(sizes, dtype=float) > _ENUMERABLE:
        return None
    listed = np.array(list(itertools.product(*map(range, sizes))), dtype=np.int64)
    return np.asarray(listed[space.is_legal(listed)], dtype=np.int64)


def draw_distinct(space: Space, count: int, rng: np.random.Generator, seen: Iterable[bytes] = ()) -> IntArray:
    """(`B`, `S`): `count` different uniform draws outside `seen`; fewer only if the space has no more."""
    known = set(seen)
    everything = enumerate_space(space) if space.size is None or count + len(known) > space.size // 2 else None
    if everything is not None:  # rejection would be slow where most of the space is wanted
        return distinct(rng.permutation(everything), known)[:count]
    found: list[IntArray] = []
    missing, fruitless = count, 0
    while missing > 0 and fruitless < _FRUITLESS_ROUNDS:
        fresh = distinct(space.sample(max(2 * missing, 16), rng), known)[:missing]
        known.update(keys(fresh))
        found.append(fresh)
        missing -= len(fresh)
        fruitless = 0 if len(fresh) else fruitless + 1
    return np.concatenate(found) if found else np.zeros((0, len(space.choices)), dtype=np.int64)


def top_up(space: Space, slots: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    """Distinct rows of (`B`, `S`), cut or filled with uniform draws to `count`."""
    pool = distinct(slots)[:count]
    return np.concatenate([pool, draw_distinct(space, count - len(pool), rng, keys(pool))])


class Ledger:
    """Wraps a utility and writes down every architecture evaluated, so that nobody pays for one twice."""

    def __init__(self, utility: Utility) -> None:
        """Args:
        utility: What is evaluated.
        """
        self._utility = utility
        self._slots: list[IntArray] = []
        self._scores: list[FloatArray] = []
        self.calls = 0

    @property
    def differentiable(self) -> bool:
        """As the wrapped utility."""
        return self._utility.differentiable

    def __call__(self, slots: Tensor) -> Tensor:
        """(`B`,) scores of (`B`, `S`, `V`); relaxed architectures are evaluated too, but not written down."""
        scores = self._utility(slots)
        self._write(slots.detach(), scores.detach())
        return scores

    def terms(self, slots: Tensor) -> Terms:
        """Score and excesses of (`B`, `S`, `V`), for the price of a call."""
        terms = terms_of(self._utility, slots)
        self._write(slots.detach(), terms.utility.detach())
        return terms

    def entries(self) -> tuple[IntArray, FloatArray]:
        """(`N`, `S`) distinct architectures evaluated and their scores (`N`,), oldest first."""
        slots, scores = np.concatenate(self._slots), np.concatenate(self._scores)
        first = np.sort(np.unique(slots, axis=0, return_index=True)[1])
        return slots[first], scores[first]

    def _write(self, slots: Tensor, scores: Tensor) -> None:
        self.calls += len(slots)
        discrete = (slots.amax(dim=2) == 1).all(dim=1)
        self._slots.append(slots[discrete].argmax(dim=2).cpu().numpy())
        self._scores.append(_finite(scores[discrete]))


def score(utility: Callable[[Tensor], Tensor], slots: IntArray, space: Space) -> FloatArray:
    """(`B`,) utilities (or predictions) of (`B`, `S`) architectures, without gradients; NaN counts as worst."""
    import torch  # lazily: unguided random draws need no torch

    if not len(slots):
        return np.zeros(0)
    with torch.no_grad():
        return _finite(utility(torch.from_numpy(one_hot(slots, width(space)))))


def _finite(scores: Tensor) -> FloatArray:
    """(`B`,) scores in which NaN counts as worst."""
    return np.asarray(scores.double().nan_to_num(nan=-np.inf, posinf=np.inf, neginf=-np.inf).cpu().numpy())


def best_first(slots: IntArray, scores: FloatArray) -> IntArray:
    """Rows of (`B`, `S`) by falling score, ties in the order given."""
    return np.asarray(slots[np.argsort(-scores, kind="stable")], dtype=np.int64)
