"""Trials: adapt to a device on a few rows of its table, and see how good the predictions of all other rows are."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from orchestrator.errors import ConfigError, Problem
from orchestrator.generate.pool import keys, width
from orchestrator.predict.latency.adapt import adapt
from orchestrator.predict.latency.adapted import AdaptedLatency
from orchestrator.predict.latency.prior import LatencyPrior, family_of
from orchestrator.predict.latency.quality import Quality, assess, predict
from orchestrator.predict.latency.references import choose_references, random_references
from orchestrator.predict.latency.structures import relaxed, structures_of
from orchestrator.predict.surrogates import Measured
from orchestrator.space.base import FloatArray, IntArray, Space

_FEWEST_OTHERS = 2  # rows that a rank correlation takes


@dataclass(frozen=True)
class Trial:
    """What came of it.

    Attributes:
        prior: What was known: nothing of the device itself or of its family.
        left_out: Devices of the given prior that were left out, as they are of the device's family.
        measured: The rows that were looked up.
        adapted: What was learned from them.
        quality: On all other rows.
        evaluated: How many those are.
        adapt_seconds: To choose the rows and to learn from them.
        seconds: With predicting all others.
    """

    prior: LatencyPrior
    left_out: tuple[str, ...]
    measured: Measured
    adapted: AdaptedLatency
    quality: Quality
    evaluated: int
    adapt_seconds: float
    seconds: float


def unseen(prior: LatencyPrior, device: str) -> tuple[LatencyPrior, tuple[str, ...]]:
    """The prior without the device and its batch-size siblings, and their names. Raises DataError if none is left."""
    known = (*prior.devices, device)
    family = family_of(device, known)
    left_out = tuple(name for name in prior.devices if family_of(name, known) == family)
    return (prior.without(left_out), left_out) if left_out else (prior, ())


def run_trial(
    space: Space,
    prior: LatencyPrior,
    device: str,
    slots: IntArray,
    latency_ms: FloatArray,
    samples: int,
    *,
    seed: int = 0,
    random: bool = False,
) -> Trial:
    """Adapt to a device on a few rows of its table.

    Args:
        space: Whose architectures they are.
        prior: Sources of the device's family are left out of it.
        device: The column's name.
        slots: (`N`, `S`) all rows.
        latency_ms: (`N`,).
        samples: Rows to look up.
        seed: Of the rows that are considered.
        random: Look up random rows instead of those that tell most.

    Raises:
        ConfigError: The table has too few rows.
        DataError: Nothing is left of the prior.
    """
    if samples + _FEWEST_OTHERS > len(slots):
        allowed = (
            f"at most {len(slots) - _FEWEST_OTHERS}: {device} has {len(slots)} rows, and some must be left to test"
        )
        raise ConfigError("samples", [Problem("--samples", samples, allowed)])
    started = time.perf_counter()
    structures = structures_of(space)
    known, left_out = unseen(prior, device)
    if random:
        chosen = random_references(space, samples, seed=seed, pool=slots)
    else:
        chosen = choose_references(space, structures, known, samples, seed=seed, pool=slots)
    row_of = {key: row for row, key in enumerate(keys(slots))}
    rows = np.array([row_of[key] for key in keys(chosen)], dtype=np.int64)
    adapted = adapt(known, structures, relaxed(chosen, width(space)), latency_ms[rows])
    adapt_seconds = time.perf_counter() - started
    others = np.setdiff1d(np.arange(len(slots)), rows)
    quality = assess(predict(adapted, relaxed(slots[others], width(space))), latency_ms[others])
    return Trial(
        prior=known,
        left_out=left_out,
        measured=Measured(chosen, latency_ms[rows], np.full(samples, np.nan)),
        adapted=adapted,
        quality=quality,
        evaluated=len(others),
        adapt_seconds=adapt_seconds,
        seconds=time.perf_counter() - started,
    )
