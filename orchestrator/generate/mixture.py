"""Mixture: several generators side by side, each for its share of the architectures."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.generate.base import Generator, Proposal, Request
from orchestrator.generate.pool import Ledger, draw_distinct, keys
from orchestrator.generate.random import RandomGenerator
from orchestrator.space.base import IntArray, Space


@dataclass(frozen=True)
class Part:
    """A generator and how much of the mixture it is for.

    Attributes:
        generator: Makes its part of the architectures, as if it were alone.
        share: Weight above 0; the shares of a mixture need not add up to 1.
    """

    generator: Generator
    share: float


@dataclass(frozen=True)
class _Found:
    """An architecture and who made it.

    Attributes:
        slots: (`S`,).
        origin: Name of its generator.
    """

    slots: IntArray
    origin: str

    @property
    def key(self) -> bytes:
        """As `pool.keys` has it."""
        return np.ascontiguousarray(self.slots, dtype=np.int64).tobytes()


class Mixture:
    """Each part proposes its share, independently of the others; what two of them find counts once.

    With a utility the whole is best first: what the parts evaluated is written down, so that putting them in order
    costs no call. What is missing for want of different architectures is filled with the best that any part has met,
    then with uniform draws. Without a utility the parts take turns by their shares.

    >>> from orchestrator.space.nasbench201 import NASBench201
    >>> mixture = Mixture([Part(RandomGenerator(NASBench201()), 0.7), Part(RandomGenerator(NASBench201()), 0.3)])
    >>> mixture.name, mixture.propose(Request(count=10, seed=1)).slots.shape
    ('random+random', (10, 6))
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        """Args:
        parts: At least one; all of one space.
        """
        self.name = "+".join(part.generator.name for part in parts)
        self.space: Space = parts[0].generator.space
        self._parts = tuple(parts)

    @property
    def parts(self) -> tuple[Generator, ...]:
        """The generators."""
        return tuple(part.generator for part in self._parts)

    def propose(self, request: Request) -> Proposal:
        """`count` different architectures of all parts; says of each which generator made it."""
        started = time.perf_counter()
        asked = self._asked(request)
        ledgers = [None if each.utility is None else Ledger(each.utility) for _, each in asked]
        proposals = [
            generator.propose(replace(each, utility=ledger))
            for (generator, each), ledger in zip(asked, ledgers, strict=True)
        ]
        names = [generator.name for generator, _ in asked]
        found = _in_turns([proposal.slots for proposal in proposals], names)
        if request.utility is not None:
            found = _best_first(found, ledgers, names, request.count)
        found += self._drawn(found, request.count - len(found), request.seed)
        return Proposal(
            np.array([each.slots for each in found], dtype=np.int64).reshape(-1, len(self.space.choices)),
            _mean([(proposal.validity_unprojected, len(proposal.slots)) for proposal in proposals]) or 0.0,
            sum(proposal.utility_calls for proposal in proposals),
            time.perf_counter() - started,
            _mean([(proposal.uniqueness, len(proposal.slots)) for proposal in proposals]),
            _mean([(proposal.novelty, len(proposal.slots)) for proposal in proposals]),
            tuple(each.origin for each in found),
        )

    def _asked(self, request: Request) -> list[tuple[Generator, Request]]:
        """Who is asked for how many; parts too small for a single architecture are not."""
        counts = split([part.share for part in self._parts], request.count)
        seeds = np.random.SeedSequence(request.seed).generate_state(len(self._parts)).tolist()
        return [
            (part.generator, replace(request, count=count, seed=seed))
            for part, count, seed in zip(self._parts, counts, seeds, strict=True)
            if count
        ]

    def _drawn(self, found: Sequence[_Found], count: int, seed: int) -> list[_Found]:
        """Uniform draws in the place of what two parts both found."""
        rng = np.random.default_rng(seed)
        drawn = draw_distinct(self.space, max(count, 0), rng, [each.key for each in found])
        return [_Found(row, RandomGenerator.name) for row in drawn]


def split(shares: Sequence[float], count: int) -> list[int]:
    """A count divided in proportion to shares: whole numbers that add up (largest remainder; ties to the first).

    >>> split([0.7, 0.3], 256), split([1, 1, 1], 4)
    ([179, 77], [2, 1, 1])
    """
    quotas = [share / math.fsum(shares) * count for share in shares]
    counts = [math.floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(shares)), key=lambda part: counts[part] - quotas[part])
    for part in by_remainder[: count - sum(counts)]:
        counts[part] += 1
    return counts


def _in_turns(parts: Sequence[IntArray], names: Sequence[str]) -> list[_Found]:
    """Different architectures of all parts, evenly interleaved: every beginning of them holds about the shares."""
    turns = [
        ((turn + 0.5) / len(slots), _Found(row, name))
        for slots, name in zip(parts, names, strict=True)
        for turn, row in enumerate(slots)
    ]
    return _different(each for _, each in sorted(turns, key=lambda turn: turn[0]))


def _best_first(
    found: Sequence[_Found], ledgers: Sequence[Ledger | None], names: Sequence[str], count: int
) -> list[_Found]:
    """What was found, and the rest of `count` out of everything evaluated; best first, what was not evaluated last."""
    scores: dict[bytes, float] = {}
    met: list[_Found] = []
    for ledger, name in zip(ledgers, names, strict=True):
        if ledger is not None:
            slots, values = ledger.entries()
            scores.update(zip(keys(slots), values.tolist(), strict=True))
            met += [_Found(row, name) for row in slots]

    def fallen(each: _Found) -> float:
        return -scores.get(each.key, -math.inf)

    others = _different([*found, *sorted(met, key=fallen)])[len(found) :]
    return sorted([*found, *others[: max(count - len(found), 0)]], key=fallen)


def _different(found: Iterable[_Found]) -> list[_Found]:
    """Each architecture at its first occurrence."""
    first: dict[bytes, _Found] = {}
    for each in found:
        first.setdefault(each.key, each)
    return list(first.values())


def _mean(values: Sequence[tuple[float | None, int]]) -> float | None:
    """Weighted mean of (value, weight) where there is a value; None where there is none."""
    known = [(value, weight) for value, weight in values if value is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None
