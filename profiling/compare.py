"""Comparison of latencies on one device, now against a baseline: effect sizes with intervals, and verdicts.

What all models of a device share (the device's shift) is told apart from what each has alone (its own change), since
the two have different causes and very different noise. A ratio raises an alarm only when it is surely larger than a
margin that does not matter (an equivalence margin: Schuirmann, "A comparison of the two one-sided tests procedure",
1987), and when it is among those that differ from 1 at a false discovery rate over all comparisons (Benjamini and
Hochberg, "Controlling the false discovery rate", 1995). `profiling.spread` says where the errors come from.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np

from profiling.records import Record
from profiling.spread import (
    Component,
    Grid,
    Prior,
    Session,
    Spread,
    cell_variances,
    levels_and_effects,
    locations,
    spread_of,
)
from profiling.statistics import CONFIDENCE, student_t_cdf, student_t_quantile

Verdict = Literal["slower", "faster", "same", "unclear"]
Key = TypeVar("Key", bound=Hashable)

_UPPER = 0.5 + CONFIDENCE / 2
_MOST_DEGREES = 1000
POWER = 0.95  # of what is called detectable


@dataclass(frozen=True)
class Policy(Record):
    """When a difference is an alarm.

    Attributes:
        margin: Relative; smaller changes do not matter: 0.015 is 1.5 %.
        false_discoveries: Share of the differences found that may be none.
        prior: Of the sessions' spread.
    """

    margin: float = 0.015
    false_discoveries: float = 0.05
    prior: Prior = field(default_factory=Prior)

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 1:
            raise ValueError(f"margin is a fraction of at least 0 and below 1, got {self.margin}")
        if not 0 < self.false_discoveries < 1:
            raise ValueError(f"false_discoveries is a fraction between 0 and 1, got {self.false_discoveries}")


@dataclass(frozen=True)
class Effect(Record):
    """A ratio of latencies, on the log scale.

    Attributes:
        log_ratio: Log of now over before; positive is slower.
        error: Its standard error.
        degrees: Degrees of freedom of the error.
    """

    log_ratio: float
    error: float
    degrees: int

    @property
    def ratio(self) -> float:
        """Now over before."""
        return math.exp(self.log_ratio)

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return math.exp(self.log_ratio - self._half_width)

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return math.exp(self.log_ratio + self._half_width)

    @property
    def p_value(self) -> float:
        """Two-sided probability of so large a difference where there is none."""
        return 2 * student_t_cdf(-abs(self.log_ratio) / self.error, self.degrees)

    def detectable(self, margin: float) -> float:
        """The smallest ratio that would be found slower with a probability of 95 % (one-sided t, added up)."""
        needed = student_t_quantile(_UPPER, self.degrees) + student_t_quantile(POWER, self.degrees)
        return (1 + margin) * math.exp(needed * self.error)

    @property
    def _half_width(self) -> float:
        return student_t_quantile(_UPPER, self.degrees) * self.error


@dataclass(frozen=True)
class DeviceComparison:
    """A device against its baseline.

    Attributes:
        shift: What most models share.
        own: Model -> its own change, beyond the shift.
        total: Model -> its whole change.
        spread: The components of variance that the errors are made of.
    """

    shift: Effect
    own: Mapping[str, Effect]
    total: Mapping[str, Effect]
    spread: Spread


def compare_sessions(
    before: Sequence[Sequence[Session]], now: Sequence[Session], policy: Policy, *, same_system: bool = True
) -> DeviceComparison:
    """Compare one run's sessions on a device with those of one or more runs before it.

    Passes of one night share the night, so averaging over them is not counted as making the sessions' part of the
    error any smaller; averaging over several nights of the baseline is.

    Args:
        before: The baseline's runs, each with its sessions.
        now: The sessions to judge.
        policy: Its prior is used.
        same_system: Whether nothing is known to have changed: the shift is then believed to be small, which matters
            where models are few. False for another device, runtime or build.

    Returns:
        Ratios for the models that both have.

    Raises:
        ValueError: No model is in both.
    """
    earlier = [session for run in before for session in run]
    models = sorted({m for s in earlier for m in s.logs} & {m for s in now for m in s.logs})
    if not models:
        raise ValueError("no model was measured in both runs")
    spread = spread_of([earlier, now], models, policy.prior)
    base, grid = Grid.of(earlier, spread.block), Grid.of(now, spread.block)
    level, _ = levels_and_effects(base, spread.block, spread.own)
    nights = 1 + 1 / len(before)
    blocks_before = np.array([spread.block[model].sd ** 2 for model in models]) / base.counts.sum(axis=1)

    # The shift of each session, as most models agree on it.
    variances = cell_variances(grid, spread.block) + blocks_before[:, None] + nights * spread.own.sd**2
    believed = spread.common.sd * math.sqrt(nights) if same_system else math.inf
    deltas = grid.means - level[:, None]
    shifts, errors = locations(deltas.T, np.sqrt(variances).T, believed)
    share = grid.counts.sum(axis=0) / grid.counts.sum()
    # The sessions' errors come mostly from the baseline, which they share: they do not average out.
    shift, shift_variance = float(share @ shifts), float(share @ errors**2)

    values = grid.average(deltas - shifts)
    own, total = {}, {}
    for row, model in enumerate(models):
        block = spread.block[model]
        blocks = blocks_before[row] + block.sd**2 / grid.counts[row].sum()
        parts = [
            (float(blocks), block.degrees),
            (nights * spread.own.sd**2, spread.own.degrees),
            (shift_variance, spread.own.degrees + block.degrees),
        ]
        own[model] = _effect(values[row], parts)
        total[model] = _effect(values[row] + shift, [*parts[:2], (nights * spread.common.sd**2, spread.common.degrees)])
    common = [
        (nights * spread.common.sd**2, spread.common.degrees),
        (shift_variance, spread.own.degrees + _typical(spread.block).degrees),
    ]
    return DeviceComparison(_effect(shift, common), own, total, spread)


def pooled(comparison: DeviceComparison) -> Effect:
    """The change of a typical model: the mean of all, with the spread between them in its error."""
    totals = list(comparison.total.values())
    logs = np.array([effect.log_ratio for effect in totals])
    if logs.size == 1:
        return totals[0]
    # What all models share is in the shift's error, and no number of models makes it smaller.
    parts = [
        (float(logs.var(ddof=1)) / logs.size, logs.size - 1),
        (comparison.shift.error**2, comparison.shift.degrees),
    ]
    return _effect(float(logs.mean()), parts)


def verdicts(effects: Mapping[Key, Effect], policy: Policy) -> dict[Key, Verdict]:
    """What each difference is, all of one night's together.

    Returns:
        `slower` or `faster`: discovered, and with the whole 95 % interval beyond the margin; `same`: with the whole
        interval inside the margin; `unclear`: anything else, more measuring would tell.
    """
    discovered = discoveries({key: effect.p_value for key, effect in effects.items()}, policy.false_discoveries)
    return {key: _verdict(effect, key in discovered, policy.margin) for key, effect in effects.items()}


def confirmed(effects: Mapping[Key, Effect], again: Mapping[Key, Effect], policy: Policy) -> dict[Key, Verdict]:
    """The same, where nothing is called slower that was not measured again, and looked slower again.

    Args:
        effects: With all measurements of the night.
        again: With those alone that were made because something looked slower (`is_suspect`).
        policy: When a difference is an alarm.
    """
    return {
        key: "unclear" if verdict == "slower" and not (key in again and is_suspect(again[key], policy)) else verdict
        for key, verdict in verdicts(effects, policy).items()
    }


def discoveries(p_values: Mapping[Key, float], rate: float) -> set[Key]:
    """Benjamini and Hochberg's procedure: those that are found at this false discovery rate."""
    ordered = sorted(p_values, key=lambda key: p_values[key])
    last = 0
    for rank, key in enumerate(ordered, 1):
        if p_values[key] <= rate * rank / len(ordered):
            last = rank
    return set(ordered[:last])


def is_suspect(effect: Effect, policy: Policy) -> bool:
    """Whether it looks slower by more than the margin, however surely: to be measured again before anyone is told.

    Only what is still slower with the new measurements can raise an alarm, so looking twice makes false alarms rarer.
    """
    return effect.log_ratio > math.log1p(policy.margin)


def _verdict(effect: Effect, discovered: bool, margin: float) -> Verdict:
    low, high = 1 / (1 + margin), 1 + margin
    if discovered and effect.low > high:
        return "slower"
    if discovered and effect.high < low:
        return "faster"
    return "same" if low < effect.low and effect.high < high else "unclear"


def _effect(value: float, parts: Sequence[tuple[float, float]]) -> Effect:
    """From (variance, degrees of freedom) of the parts of its error, by Satterthwaite (1946)."""
    variance = sum(part for part, _ in parts)
    degrees = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    return Effect(float(value), math.sqrt(variance), int(min(max(degrees, 1), _MOST_DEGREES)))


def _typical(components: Mapping[str, Component]) -> Component:
    """The median one."""
    ordered = sorted(components.values(), key=lambda component: component.sd)
    return ordered[len(ordered) // 2]
