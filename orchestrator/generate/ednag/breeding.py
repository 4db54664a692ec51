"""What evolution adds to denoising: polynomial mutation, and selection by elitism, diversity and roulette."""

from __future__ import annotations

import math

import numpy as np

from orchestrator.generate.ednag.codec import Latents
from orchestrator.generate.ednag.denoise import log_fitness_probability
from orchestrator.space.base import BoolArray, FloatArray, IntArray

_LAST_INDEX = 1.5  # the distribution index grows by this factor towards the end, so that mutations get smaller


def polynomial_mutation(
    latents: Latents, mutated: BoolArray, spans: FloatArray, index: float, rng: np.random.Generator
) -> Latents:
    """Deb's polynomial mutation: x + delta * span, delta in (-1, 1) of density (index + 1) / 2 (1 - |delta|)^index.

    Every entry has a delta of its own. (The original draws one for all entries of an individual, which shifts them
    together: argmax hardly notices.)

    Args:
        latents: (`B`, `S`, `V`).
        mutated: (`B`, `S`) slots whose entries change.
        spans: (`S`,) range of the entries of each slot.
        index: Distribution index, at least 0; the higher, the smaller the changes.
        rng: Draws delta.
    """
    rows, slots = np.nonzero(mutated)
    draws = rng.random((len(rows), latents.shape[2]))
    root = 1 / (index + 1)
    deltas = np.where(draws < 0.5, (2 * draws) ** root - 1, 1 - (2 * (1 - draws)) ** root)
    changed = latents.copy()
    changed[rows, slots] += (deltas * spans[slots, None]).astype(np.float32)
    return changed


def mutation_index(index: float, progress: float) -> float:
    """The distribution index at a progress from 0 to 1: largest, so that mutations are smallest, at the end.

    (The original means to; but as its time counts down, it makes the mutations of the *first* step smaller.)
    """
    return index * (1 + (_LAST_INDEX - 1) * progress)


def select(
    slots: IntArray,
    scores: FloatArray,
    size: int,
    rng: np.random.Generator,
    *,
    elite: float,
    diverse: float,
    pressure: float,
) -> IntArray:
    """(`size`,) rows that survive, best first; all of them if there are no more.

    First the best, then those of the better half that differ most from all chosen so far, then by roulette without
    replacement. Rows are different architectures, so elites are. (The original tells elites apart by their fitness.)

    Args:
        slots: (`N`, `S`) different architectures.
        scores: (`N`,), higher is better.
        size: How many survive.
        rng: Spins the wheel.
        elite: Share of the survivors that are the best, at least one.
        diverse: Share that are the most different.
        pressure: Of the roulette, as in `log_fitness_probability`.
    """
    order = np.argsort(-scores, kind="stable")
    size = min(size, len(order))
    best = min(max(round(elite * size), 1), size)
    chosen = [*range(best), *_different(slots[order], best, min(round(diverse * size), size - best))]
    rest = np.setdiff1d(np.arange(len(order)), chosen)
    # The largest of log g plus Gumbel noise are draws without replacement in proportion to g.
    luck = log_fitness_probability(scores[order][rest], pressure) + rng.gumbel(size=len(rest))
    chosen += rest[np.argsort(-luck, kind="stable")[: size - len(chosen)]].tolist()
    return np.asarray(order[np.sort(chosen)])


def _different(slots: IntArray, best: int, count: int) -> list[int]:
    """Rows in the better half of (`N`, `S`), best first: those farthest from the first `best` and from each other."""
    candidates = np.arange(best, max(math.ceil(len(slots) / 2), best))
    if not count or not len(candidates):
        return []
    apart = (slots[candidates][:, None] != slots[None, :best]).sum(axis=2).min(axis=1)
    chosen: list[int] = []
    for _ in range(min(count, len(candidates))):
        farthest = int(apart.argmax())
        chosen.append(int(candidates[farthest]))
        apart = np.minimum(apart, (slots[candidates] != slots[candidates[farthest]]).sum(axis=1))
        apart[farthest] = -1
    return chosen
