"""Which architectures of a space are measured: uniform, stratified by multiply-adds, or unlike one another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.collect.config import SpaceModels
from orchestrator.errors import ConfigError, Problem
from orchestrator.generate.pool import draw_distinct, keys, width
from orchestrator.space.base import Architecture, FloatArray, Space, canonical, one_hot

_OVERSAMPLING = 4  # architectures looked at for each that is chosen
_FEWEST = 512


def choose(source: SpaceModels, at: str, rng: np.random.Generator) -> list[Architecture]:
    """The architectures that a configuration asks for.

    Args:
        source: How many, from where, and how.
        at: The field it stands in, for errors.
        rng: All randomness.

    Raises:
        ConfigError: The space does not have so many.
    """
    space = source.space.make()
    wanted = source.count if source.choose == "uniform" else max(_OVERSAMPLING * source.count, _FEWEST)
    pool = _draw(space, wanted, rng, by_network=source.distinct == "network")
    if len(pool) < source.count:
        what = "networks" if source.distinct == "network" else "architectures"
        raise ConfigError(at, [Problem(f"{at}.count", source.count, f"at most {len(pool)}: it has no more {what}")])
    if source.choose == "stratified":
        work = np.log([max(space.network(a, source.space.network_options()).multiply_adds, 1) for a in pool])
        chosen = stratified(work, source.count, source.strata, rng)
    elif source.choose == "diverse":
        chosen = farthest(_features(space, pool), source.count, rng)
    else:
        chosen = np.arange(source.count)
    return [pool[index] for index in chosen]


def stratified(values: FloatArray, count: int, strata: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """As many from each range of values as from any other, as far as there are so many.

    Args:
        values: (`B`,), split into `strata` ranges of equal width.
        count: How many to choose.
        strata: Ranges.
        rng: Decides which of a range.

    Returns:
        (`count`,) different indices.
    """
    edges = np.linspace(values.min(), values.max(), strata + 1)[1:-1]
    range_of = np.digitize(values, edges)
    members = [rng.permutation(np.flatnonzero(range_of == index)) for index in range(strata)]
    # The n-th of every range before the (n+1)-th of any; which ranges come first in a turn is left to chance.
    turns = [(turn, rng.random(), index) for own in members for turn, index in enumerate(own)]
    return np.array([index for _, _, index in sorted(turns)[:count]], dtype=np.int64)


def farthest(features: FloatArray, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Greedy k-centre: each next one is the farthest from all before (Gonzalez, 1985, within twice the optimum).

    Args:
        features: (`B`, `F`).
        count: How many to choose.
        rng: Chooses the first.

    Returns:
        (`count`,) different indices.
    """
    chosen = [int(rng.integers(len(features)))]
    distance = np.full(len(features), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, np.square(features - features[chosen[-1]]).sum(axis=1))
        distance[chosen[-1]] = -1.0  # equal features must not be chosen twice
        chosen.append(int(distance.argmax()))
    return np.array(chosen, dtype=np.int64)


def _draw(space: Space, count: int, rng: np.random.Generator, *, by_network: bool) -> list[Architecture]:
    """Different uniform draws; fewer only if the space has no more."""
    found: dict[str, Architecture] = {}
    seen: set[bytes] = set()
    while len(found) < count:
        rows = draw_distinct(space, 2 * (count - len(found)), rng, seen)
        if not len(rows):
            break
        seen.update(keys(rows))
        for row in canonical(space, rows):
            architecture = space.architecture(row)
            found.setdefault(space.computation(architecture) if by_network else architecture.text, architecture)
    return list(found.values())[:count]


def _features(space: Space, pool: list[Architecture]) -> FloatArray:
    """(`B`, `F`): logs of the amounts that latency is made of, standardised."""
    import torch

    slots = one_hot(np.array([architecture.slots for architecture in pool], dtype=np.int64), width(space))
    costs = np.log1p(space.encoding().costs(torch.as_tensor(slots)).numpy())
    spread = costs.std(axis=0)
    varying = spread > 1e-9
    return np.asarray((costs[:, varying] - costs[:, varying].mean(axis=0)) / spread[varying])
