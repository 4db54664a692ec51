"""The population that a conditional model learns from: architectures with labels, over the whole range of trade-offs.

Where labels come from tables, it is what all tables list. Where they come from predictors, architectures are chosen
freely, and uniform draws would be a poor choice: on MobileNetV3 one in a thousand is as fast as users ask for, and none
is near the front. So hill climbers set out from uniform draws, each for a device and a trade-off of its own, and the
population is what they were at all stages of their climb: from anywhere to near the front.

Measured latencies are smoothed. "The most accurate of those measured within the budget" prefers architectures that were
lucky when they were measured (some tables err by 10 %), and luck cannot be generated again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from orchestrator.errors import DataError
from orchestrator.generate.dinas.devices import SyntheticDevices, reference_architectures
from orchestrator.generate.dinas.labels import Label, Labels
from orchestrator.generate.evolution import mutate
from orchestrator.generate.pool import distinct, keys, width
from orchestrator.predict.surrogates import Measured, SurrogateFitter
from orchestrator.space.base import BoolArray, FloatArray, IntArray, Space, canonical, one_hot

_STAGES = 16  # of a climb that join the population
_ROUNDS_PER_SLOT = 12  # of a climb
_TRADE_OFFS = (0.03, 10.0)  # standard deviations of accuracy that one of log latency is worth
_SMOOTHED_FROM = 600  # architectures that a surrogate of a noisy latency is fitted on
_AT_ONCE = 1000  # architectures that it predicts at a time
_FEWEST = 50  # architectures that anything can be learned from


@dataclass(frozen=True)
class Population:
    """What a conditional model learns from.

    Attributes:
        slots: (`N`, `S`) different architectures.
        accuracy: (`N`,) any score of quality; only its order matters.
        latencies_ms: (`N`, `D`) on `D` >= 1 known devices, free of measurement errors as far as can be.
        references: (`R`, `S`) architectures that devices are known by.
        references_ms: (`R`, `D`) their latencies on the known devices, as measured: so will a new device's be.
    """

    slots: IntArray
    accuracy: FloatArray
    latencies_ms: FloatArray
    references: IntArray
    references_ms: FloatArray


def make_population(
    space: Space,
    labels: Labels,
    *,
    references: int,
    holdout: float,
    count: int,
    seed: int,
) -> Population:
    """The population that some labels allow.

    Args:
        space: The space.
        labels: What architectures are worth.
        references: `R`.
        holdout: Share of listed architectures kept out, so that novelty has a meaning.
        count: Architectures, where labels are predicted.
        seed: All randomness derives from it.

    Raises:
        DataError: The tables have too few architectures in common.
    """
    rng = np.random.default_rng(seed)
    lists = [label.listed for label in (labels.accuracy, *labels.latencies) if label.listed is not None]
    if lists:
        listed = _in_all(lists)
        candidates: IntArray | None = listed
        slots = listed[np.sort(rng.permutation(len(listed))[: round((1 - holdout) * len(listed))])]
        slots = slots[_computes(space, slots)]
        if len(slots) < max(_FEWEST, references):
            raise DataError(
                f"the tables have {len(listed)} architectures in common, {len(slots)} of them to train on",
                f"at least {max(_FEWEST, references)} are needed; the same architectures must stand in all tables",
            )
    else:
        slots, candidates = climb(space, labels, count, rng), None
    known = reference_architectures(space, references, candidates)
    fitter = SurrogateFitter(space)
    return Population(
        slots,
        labels.accuracy.of(slots),
        np.stack([_smoothed(fitter, label, slots, rng) for label in labels.latencies], axis=1),
        known,
        np.stack([label.of(known) for label in labels.latencies], axis=1),
    )


def _in_all(lists: Sequence[IntArray]) -> IntArray:
    """(`N`, `S`): what stands in every one of some lists."""
    common = set.intersection(*(set(keys(listed)) for listed in lists))
    return np.asarray(lists[0][[key in common for key in keys(lists[0])]])


def _computes(space: Space, slots: IntArray) -> BoolArray:
    """(`B`,): whether an architecture's output depends on its input; a constant is fast, and of no use."""
    relaxed = torch.from_numpy(one_hot(slots, width(space)))
    return np.asarray((space.encoding().connected(relaxed) > 0.5).numpy())


def _smoothed(fitter: SurrogateFitter, label: Label, slots: IntArray, rng: np.random.Generator) -> FloatArray:
    """(`N`,) milliseconds of (`N`, `S`) architectures: of a noisy label, what a surrogate makes of them that was fitted
    on others, and so cannot know their errors."""
    values = label.of(slots)
    if not label.noisy:
        return values
    halves = np.array_split(rng.permutation(len(slots)), 2)
    for rows, others in (halves, halves[::-1]):
        some = slots[others[:_SMOOTHED_FROM]]
        surrogate = fitter.cost(Measured(some, label.of(some), np.full(len(some), np.nan)))
        for part in np.array_split(rows, len(rows) // _AT_ONCE + 1):
            with torch.no_grad():
                values[part] = surrogate.marginal(fitter.relaxed(slots[part]))[0].exp().numpy()
    return values


def climb(space: Space, labels: Labels, count: int, rng: np.random.Generator) -> IntArray:
    """(`N`, `S`): up to `count` different architectures, from uniform draws to near the fronts of many devices.

    Each climber maximises z(accuracy) - w z(log latency) on a synthetic device of its own, z being the standard score
    among uniform draws, and w log-uniform.
    """
    climbers = -(-count // _STAGES)
    state = canonical(space, space.sample(climbers, rng))
    known = np.stack([label.of(state) for label in labels.latencies], axis=1)
    devices = SyntheticDevices(space, state, known)
    prices = devices.draw(climbers, torch.Generator().manual_seed(int(rng.integers(2**31))))
    costs, choices = space.encoding().costs, width(space)
    trade_off = np.exp(rng.uniform(math.log(_TRADE_OFFS[0]), math.log(_TRADE_OFFS[1]), climbers))

    def log_latency(slots: IntArray) -> FloatArray:
        amounts = costs(torch.from_numpy(one_hot(slots, choices)))
        return np.asarray((amounts * prices).sum(-1).log().numpy())

    worth, slowness = labels.accuracy.of(state), log_latency(state)
    # Devices differ in scale, so the spread is that of one device over the others' architectures, not over climbers.
    spread = float(np.std(np.log(devices.typical(state))))
    deviation = float(worth.std()) or 1.0
    utility = worth / deviation - trade_off * slowness / spread
    rounds = _ROUNDS_PER_SLOT * len(space.choices)
    kept_at = set(np.unique(np.geomspace(1, rounds, _STAGES - 1).round().astype(int)))
    kept = [state]
    for done in range(1, rounds + 1):
        tried = mutate(space, state, rng, changes=int(rng.integers(1, 3)))
        better = labels.accuracy.of(tried) / deviation - trade_off * log_latency(tried) / spread
        rises = better > utility
        state, utility = np.where(rises[:, None], tried, state), np.where(rises, better, utility)
        if done in kept_at:
            kept.append(state)
    return distinct(np.concatenate(kept))[:count]
