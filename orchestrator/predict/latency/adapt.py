"""Adapt: from a prior over devices and a few measurements to the latency of every architecture on one device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import DataError
from orchestrator.predict.latency.adapted import AdaptedLatency, Cell, Noise
from orchestrator.predict.latency.beliefs import SCALE_SD, Belief, beliefs
from orchestrator.predict.latency.inference import Hypotheses, explain
from orchestrator.predict.latency.noise import NoiseShapes, noise_shapes
from orchestrator.predict.latency.prior import LatencyPrior
from orchestrator.predict.latency.structures import Structures
from orchestrator.space.base import FloatArray, IntArray

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
    # A column of whole milliseconds was rounded; with one measurement, who knows.
    rounded = _ROUNDED if len(latency_ms) > 1 and np.array_equal(latency_ms, latency_ms.round()) else 0.0
    believed, scales_ms = _scaled(prior, structures, amounts, latency_ms)
    shapes = noise_shapes(prior.noise, prior.says)
    hypotheses = _hypotheses(believed, scales_ms, amounts, shapes, rounded)
    found = explain(hypotheses, latency_ms, variances, kinship)
    cells = []
    for row, (belief, scale_ms) in enumerate(zip(believed, scales_ms, strict=True)):
        mine = np.flatnonzero(found.groups // len(shapes) == row)
        if len(mine):
            groups = found.groups[mine]
            cells.append(
                Cell(
                    structure=belief.structure,
                    scale_ms=scale_ms,
                    mean=torch.from_numpy(belief.mean),
                    covariance=torch.from_numpy(belief.covariance),
                    measured=torch.from_numpy(amounts[belief.structure]),
                    weights=torch.from_numpy(found.weights[mine]),
                    expected=torch.from_numpy(found.expected[mine]),
                    coefficients=torch.from_numpy(found.coefficients[mine]),
                    precision=torch.from_numpy(found.precision[mine]),
                    stray=torch.from_numpy(hypotheses.stray[groups]),
                    noise=Noise(
                        *(torch.from_numpy(getattr(hypotheses, name)[groups]) for name in ("shares", "offsets", "sds"))
                    ),
                    rounding=rounded,
                )
            )
    return AdaptedLatency(structures, inputs, tuple(cells), found.log_evidence)


def _scaled(
    prior: LatencyPrior, structures: Structures, amounts: FloatArray, latency_ms: FloatArray
) -> tuple[tuple[Belief, ...], list[float]]:
    """Beliefs, and the milliseconds that the prices of each are in units of."""
    if not len(latency_ms):
        typical_ms, sd_log = prior.typical_ms
        found = beliefs(prior, structures, scale_sd=max(sd_log, SCALE_SD))
        return found, [typical_ms] * len(found)
    found = beliefs(prior, structures)
    return found, [float(np.median(latency_ms / (amounts[each.structure] @ each.mean))) for each in found]


def _hypotheses(
    believed: Sequence[Belief], scales_ms: Sequence[float], amounts: FloatArray, shapes: NoiseShapes, rounded: float
) -> Hypotheses:
    """Each belief with each shape of the noise, in this order."""
    count, each = len(believed), len(shapes)
    means = np.stack([amounts[belief.structure] @ belief.mean for belief in believed])
    covariances = np.stack(
        [amounts[belief.structure] @ belief.covariance @ amounts[belief.structure].T for belief in believed]
    )
    return Hypotheses(
        log_prior=np.log(np.outer([belief.share for belief in believed], shapes.weights)).ravel(),
        scale_ms=np.repeat(scales_ms, each),
        mean=np.repeat(means, each, axis=0),
        covariance=np.repeat(covariances, each, axis=0),
        stray=np.repeat([belief.stray**2 for belief in believed], each),
        rounding=np.repeat(rounded / np.square(scales_ms), each),
        shares=np.tile(shapes.shares, (count, 1)),
        offsets=np.tile(shapes.offsets, (count, 1)),
        sds=np.tile(shapes.sds, (count, 1)),
    )


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
