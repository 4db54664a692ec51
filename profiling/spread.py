"""Spread: how much log latencies on one device differ for no reason, within a session and from one to the next.

A session is one pass over some models on one device. The log value of a block is

    level[model] + effect[session] + own[model, session] + block

and the blocks of one session show only the spread of the last term. That of the others is seen by measuring the same
models in several sessions: repeat at the level at which the variance arises (Kalibera and Jones, "Rigorous
benchmarking in reasonable time", ISMM 2013). A session's effect is common to all its models (heat, governor) and is
found as their robust location, so that a few models that did change leave it alone; in the same way a few blocks that
were disturbed leave a model's value alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiling.records import Record
from profiling.statistics import PRIOR_DEGREES, PRIOR_SD_LOG

Array = npt.NDArray[np.float64]

_HUBER = 1.345  # both have 95 % of the mean's efficiency on normal values
_BIWEIGHT = 4.685
_ITERATIONS = 20
_EXACT = 1e-6  # in logs
_SHAMOS = 0.954  # median distance of two normal values, in standard deviations
_SHAMOS_EFFICIENCY = 0.86
_MODEL_DEGREES = 4  # how firmly a model's own spread of blocks is believed to be that of its device
_MEDIAN_OF_CHI2 = 0.4549  # of one degree of freedom
_MEDIAN_EFFICIENCY = 0.37  # degrees of freedom left when a variance is estimated by a median


@dataclass(frozen=True)
class Session:
    """What one pass over some models on one device gave.

    Attributes:
        logs: Model -> log of its used blocks' values, `[K]`; models without a used block are left out.
    """

    logs: Mapping[str, Array]


@dataclass(frozen=True)
class Prior(Record):
    """What is believed of sessions before any is seen, as standard deviations of log latency.

    Starting points, as no phone was there to learn them from; what a device's sessions show is joined with them.

    Attributes:
        common_sd_log: Of what all models of a session share.
        own_sd_log: Of what a model has in a session beyond that.
        degrees: How many sessions' worth of evidence each of them is.
    """

    common_sd_log: float = 0.005
    own_sd_log: float = 0.003
    degrees: int = 4


@dataclass(frozen=True)
class Component:
    """A standard deviation and the degrees of freedom it is known with."""

    sd: float
    degrees: float

    def joined(self, sd: float, degrees: float) -> Component:
        """With other evidence (scaled inverse chi-squared, conjugate)."""
        total = self.degrees + degrees
        return Component(math.sqrt((self.degrees * self.sd**2 + degrees * sd**2) / total), total)


@dataclass(frozen=True)
class Spread:
    """The device's components of variance.

    Attributes:
        block: Model -> between blocks of one session.
        own: Between sessions, of one model.
        common: Between sessions, of all models.
    """

    block: Mapping[str, Component]
    own: Component
    common: Component


@dataclass(frozen=True)
class Grid:
    """Sessions as arrays, models in rows.

    Attributes:
        models: Names of the rows, `M`.
        means: Location of the log block values, `[M, T]`; NaN where a session has no block of the model.
        counts: Blocks, `[M, T]`.
    """

    models: tuple[str, ...]
    means: Array
    counts: Array

    @classmethod
    def of(cls, sessions: Sequence[Session], block: Mapping[str, Component]) -> Grid:
        """The models whose spread of blocks is given, in these sessions."""
        counts = np.zeros((len(block), len(sessions)))
        most = max(
            (session.logs[model].size for session in sessions for model in block if model in session.logs), default=1
        )
        values = np.full((*counts.shape, most), math.nan)
        for row, model in enumerate(block):
            for column, session in enumerate(sessions):
                if (logs := session.logs.get(model)) is not None:
                    counts[row, column] = logs.size
                    values[row, column, : logs.size] = logs
        sds = np.broadcast_to(np.array([spread.sd for spread in block.values()])[:, None, None], values.shape)
        means, _ = locations(values.reshape(-1, most), sds.reshape(-1, most))
        return cls(tuple(block), np.where(counts > 0, means.reshape(counts.shape), math.nan), counts)

    def average(self, values: Array) -> Array:
        """Mean of `[M, T]` values over the sessions, weighted by blocks: `[M]`."""
        weights = np.where(np.isnan(values), 0.0, self.counts)
        return np.asarray(np.nansum(values * weights, axis=1) / weights.sum(axis=1), dtype=np.float64)


def locations(values: Array, sds: Array, prior_sd: float = math.inf) -> tuple[Array, Array]:
    """What most values of each row agree on, and its standard error.

    An M-estimate whose start is unique (Huber, "Robust estimation of a location parameter", 1964), finished with a
    weight to which gross outliers are nothing (Beaton and Tukey's biweight, 1974).

    Args:
        values: `[N, K]`; NaN is left out.
        sds: Their standard deviations, `[N, K]`.
        prior_sd: How far from 0 it is believed to be: decides whom to follow when values disagree and are few.

    Returns:
        Locations and errors, `[N]`. Where no value agrees with any other: what was believed, or else their median and
        range.
    """
    centres, errors = np.zeros(len(values)), np.full(len(values), prior_sd)
    rows = np.flatnonzero(~np.isnan(values).all(axis=1))
    if not rows.size:
        return centres, errors
    points, spreads = values[rows], sds[rows]
    if math.isfinite(prior_sd):
        # The belief is one more value, which many may overrule as they would any other.
        column = np.zeros((rows.size, 1))
        points, spreads = np.hstack([points, column]), np.hstack([spreads, column + prior_sd])
    centre = np.nanmedian(points, axis=1)
    centre, _ = _reweighted(points, spreads, centre, lambda z: np.minimum(1.0, _HUBER / np.maximum(z, 1e-12)))
    centre, total = _reweighted(
        values[rows], sds[rows], centre, lambda z: np.clip(1 - (z / _BIWEIGHT) ** 2, 0.0, 1.0) ** 2
    )
    agree = total > 0
    centres[rows[agree]], errors[rows[agree]] = centre[agree], total[agree] ** -0.5
    if not math.isfinite(prior_sd):
        lost = rows[~agree]
        centres[lost] = np.nanmedian(values[lost], axis=1)
        errors[lost] = np.nanmax(values[lost], axis=1) - np.nanmin(values[lost], axis=1)
    return centres, errors


def _reweighted(values: Array, sds: Array, centre: Array, weight: Callable[[Array], Array]) -> tuple[Array, Array]:
    """Weighted means of rows, weighted by the distances from themselves: `[N]`, and the sums of the weights."""
    there = ~np.isnan(values)
    known, precisions = np.where(there, values, 0.0), np.where(there, sds**-2.0, 0.0)
    roots = np.sqrt(precisions)
    for _ in range(_ITERATIONS):
        weights = precisions * weight(np.abs(known - centre[:, None]) * roots)
        total = weights.sum(axis=1)
        before, centre = centre, np.where(total > 0, (weights * known).sum(axis=1) / np.maximum(total, 1e-300), centre)
        if np.abs(centre - before).max() < _EXACT:
            break
    return centre, total


def spread_of(groups: Sequence[Sequence[Session]], models: Sequence[str], prior: Prior) -> Spread:
    """The components of variance that sessions show which should all be equal.

    Args:
        groups: Sessions that should be equal: those of a baseline (one night's, or several nights'), those of one
            night. Levels may differ between groups.
        models: Which to look at.
        prior: Joined with what is seen.
    """
    block = _block_spread([session for group in groups for session in group], models)
    own, common = Component(prior.own_sd_log, prior.degrees), Component(prior.common_sd_log, prior.degrees)
    residuals: list[Array] = []
    for group in groups:
        if len(group) < 2:
            continue
        grid = Grid.of(group, block)
        level, effects = levels_and_effects(grid, block, own)
        residuals.append(_own_variances(grid, level, effects, block))
        common = common.joined(float(np.std(effects, ddof=1)), len(group) - 1)
    seen = np.concatenate(residuals) if residuals else np.empty(0)
    if seen.size:
        variance = max(0.0, float(np.median(seen[:, 0])) / _MEDIAN_OF_CHI2 - float(np.median(seen[:, 1])))
        own = own.joined(math.sqrt(variance), _MEDIAN_EFFICIENCY * float(seen[:, 2].sum()))
    return Spread(block, own, common)


def levels_and_effects(grid: Grid, block: Mapping[str, Component], own: Component) -> tuple[Array, Array]:
    """What each model has in all sessions `[M]`, and what each session adds to all models `[T]` (0 on average)."""
    sds = np.sqrt(cell_variances(grid, block) + own.sd**2)
    level = np.nanmedian(grid.means, axis=1)
    effects = np.zeros(grid.means.shape[1])
    for _ in range(3):
        effects, _ = locations((grid.means - level[:, None]).T, sds.T)
        effects -= effects.mean()
        level = grid.average(grid.means - effects)
    return level, effects


def cell_variances(grid: Grid, block: Mapping[str, Component]) -> Array:
    """Variance of each cell's mean that its blocks account for, `[M, T]`; infinite for empty cells."""
    variances = np.array([block[model].sd ** 2 for model in grid.models])
    with np.errstate(divide="ignore"):
        return np.asarray(variances[:, None] / grid.counts, dtype=np.float64)


def _block_spread(sessions: Sequence[Session], models: Sequence[str]) -> dict[str, Component]:
    """Between blocks of one session: of the device (median over models), and of each model joined with it.

    By the distances of pairs of blocks (Shamos, "Geometry and statistics", 1976), as disturbed ones are no surprise.
    """
    seen: dict[str, Component] = {}
    for model in models:
        cells = [session.logs[model] for session in sessions if model in session.logs]
        if degrees := sum(cell.size - 1 for cell in cells):
            pairs = np.concatenate([np.abs(np.subtract.outer(c, c)[np.triu_indices(c.size, 1)]) for c in cells])
            seen[model] = Component(float(np.median(pairs)) / _SHAMOS, _SHAMOS_EFFICIENCY * degrees)
    device = Component(PRIOR_SD_LOG, PRIOR_DEGREES)
    if seen:
        typical = float(np.median([component.sd for component in seen.values()]))
        device = device.joined(typical, sum(component.degrees for component in seen.values()))
    own = Component(device.sd, _MODEL_DEGREES)
    return {model: own.joined(seen[model].sd, seen[model].degrees) if model in seen else own for model in models}


def _own_variances(grid: Grid, level: Array, effects: Array, block: Mapping[str, Component]) -> Array:
    """Of each filled cell whose model has others: squared residual, blocks' share of it, and its degrees: `[N, 3]`."""
    residuals = grid.means - level[:, None] - effects
    shares = cell_variances(grid, block)
    rows = []
    for row, filled in enumerate(grid.counts > 0):
        number = int(filled.sum())
        if number < 2:
            continue
        left = (number - 1) / number  # a residual from a mean of so many is that much smaller
        rows += [(residuals[row, t] ** 2 / left, shares[row, t], left) for t in np.flatnonzero(filled)]
    return np.array(rows).reshape(-1, 3)
