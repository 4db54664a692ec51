"""Adapt: from a prior over devices and a few measurements to the latency of every architecture on one device."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import DataError
from orchestrator.predict.latency.adapted import AdaptedLatency, Cell, Noise
from orchestrator.predict.latency.inference import Hypotheses, explain
from orchestrator.predict.latency.noise import noise_shapes
from orchestrator.predict.latency.prior import LatencyPrior
from orchestrator.predict.latency.structures import Structures
from orchestrator.space.base import FloatArray, IntArray

ROOMS = ((0.1, 0.4), (0.25, 0.3), (0.6, 0.3))  # how far prices may stray from those of known devices; and how likely
SCALE_ROOM = 0.3  # relative sd of all prices together; the median of the measurements sets where it is centred

_STRAY_OF_BAND, _MOST_STRAY = 0.5, 0.03  # sd of the residual of similar architectures
_ROUNDED = 1 / 12  # variance of what rounding to whole milliseconds takes away


def adapt(
    prior: LatencyPrior,
    structures: Structures,
    inputs: Tensor,
    latency_ms: FloatArray,
    log_variances: FloatArray | None = None,
) -> AdaptedLatency:
    """Learn one device from `N` measurements; with none, say what is to be expected of any.

    Args:
        prior: What is known of other devices.
        structures: Those the prior was made with.
        inputs: (`N`, ...) what was measured: (`N`, `S`, `V`) architectures of a space.
        latency_ms: (`N`,).
        log_variances: (`N`,) variance of the log of each measurement; NaN, or none at all, where unknown.

    Raises:
        DataError: A latency is not positive or not finite, or the numbers of things do not agree.
    """
    variances = np.zeros(len(latency_ms)) if log_variances is None else np.nan_to_num(log_variances, nan=0.0)
    _check(prior, structures, inputs, latency_ms, variances)
    order = _order(inputs)  # so that the result does not depend on which was measured first
    inputs, latency_ms, variances = inputs[torch.from_numpy(order)], latency_ms[order], variances[order]
    with torch.no_grad():
        amounts = structures.amounts(inputs).numpy()
        kinship = structures.kinship(inputs, inputs).numpy()
    scale_ms, sd_log_scale = _scales(prior, amounts, latency_ms)
    # A column of whole milliseconds was rounded; with one measurement, who knows.
    rounded = _ROUNDED if len(latency_ms) > 1 and np.array_equal(latency_ms, latency_ms.round()) else 0.0
    covariances = [prior.covariance(room) + sd_log_scale**2 * np.outer(prior.mean, prior.mean) for room, _ in ROOMS]
    shapes = noise_shapes()
    strays = np.minimum(_STRAY_OF_BAND * shapes.bands, _MOST_STRAY) ** 2
    kinds = list(itertools.product(range(len(structures.names)), range(len(ROOMS))))
    each, count = len(shapes), len(kinds)

    def repeated(values: list[FloatArray]) -> FloatArray:
        """One value a kind, for each of its shapes."""
        return np.repeat(np.stack(values), each, axis=0)

    hypotheses = Hypotheses(
        log_prior=np.repeat([np.log(structures.shares[s] * ROOMS[r][1]) for s, r in kinds], each),
        scale_ms=np.repeat([scale_ms[s] for s, _ in kinds], each),
        mean=repeated([amounts[s] @ prior.mean for s, _ in kinds]),
        covariance=repeated([amounts[s] @ covariances[r] @ amounts[s].T for s, r in kinds]),
        stray=np.tile(strays, count),
        rounding=np.repeat([rounded / scale_ms[s] ** 2 for s, _ in kinds], each),
        shares=np.tile(shapes.shares, (count, 1)),
        offsets=np.tile(shapes.offsets, (count, 1)),
        sds=np.tile(shapes.sds, (count, 1)),
    )
    found = explain(hypotheses, latency_ms, variances, kinship)
    cells = []
    for kind, (structure, room) in enumerate(kinds):
        rows = np.flatnonzero(found.groups // each == kind)
        if len(rows):
            groups = found.groups[rows]
            cells.append(
                Cell(
                    structure=structure,
                    scale_ms=float(scale_ms[structure]),
                    mean=torch.from_numpy(prior.mean),
                    covariance=torch.from_numpy(covariances[room]),
                    measured=torch.from_numpy(amounts[structure]),
                    weights=torch.from_numpy(found.weights[rows]),
                    expected=torch.from_numpy(found.expected[rows]),
                    coefficients=torch.from_numpy(found.coefficients[rows]),
                    precision=torch.from_numpy(found.precision[rows]),
                    stray=torch.from_numpy(hypotheses.stray[groups]),
                    noise=Noise(
                        *(torch.from_numpy(getattr(hypotheses, name)[groups]) for name in ("shares", "offsets", "sds"))
                    ),
                    rounding=float(rounded),
                )
            )
    return AdaptedLatency(structures, inputs, tuple(cells), found.log_evidence)


def _scales(prior: LatencyPrior, amounts: FloatArray, latency_ms: FloatArray) -> tuple[FloatArray, float]:
    """(`R`,) milliseconds that prices are in units of, by structure, and the standard deviation of their logarithm."""
    if not len(latency_ms):
        typical_ms, sd_log = prior.typical_ms
        return np.full(len(amounts), typical_ms), max(sd_log, SCALE_ROOM)
    return np.array([np.median(latency_ms / (each @ prior.mean)) for each in amounts]), SCALE_ROOM


def _order(inputs: Tensor) -> IntArray:
    """(`N`,) the rows in lexicographic order."""
    flat = inputs.flatten(1).numpy()
    return np.asarray(np.lexsort(flat.T[::-1]) if len(flat) else np.zeros(0), dtype=np.int64)


def _check(
    prior: LatencyPrior, structures: Structures, inputs: Tensor, latency_ms: FloatArray, variances: FloatArray
) -> None:
    if prior.amounts_of != structures.amounts_of:
        raise DataError(
            f"the prior's prices are for {len(prior.amounts_of)} amounts, not for the {len(structures.amounts_of)} "
            "of this space",
            "adapt a prior that was trained for this space: nag train latency",
        )
    if not len(inputs) == len(latency_ms) == len(variances):
        raise DataError(f"{len(inputs)} architectures, {len(latency_ms)} latencies and {len(variances)} variances")
    for row, (value, variance) in enumerate(zip(latency_ms, variances, strict=True)):
        if not (np.isfinite(value) and value > 0):
            raise DataError(f"measurement {row}: a latency of {value} ms", "latencies are finite and above 0")
        if not (np.isfinite(variance) and variance >= 0):
            raise DataError(f"measurement {row}: a variance of {variance}", "a finite number, at least 0, or NaN")
