"""Noise: how a device's latencies scatter around what they are a sum of.

Phones and busy servers do not scatter like a bell curve. A table of measurements is made over hours, in which the
device changes between frequencies and loads: most values lie in one narrow band, others a tenth higher or lower, a few
anywhere. What is known devices' noise is told by thousands of their measurements (`fit_noise`). Ten measurements cannot
tell what a new device's is, so every shape below is weighed by how well it explains them: that of each known device,
and bell curves of any width. Predictions are averaged over all shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from orchestrator.space.base import FloatArray

LEAST_SD = 0.003  # relative: no clock and no device is steadier
COMPONENTS = 4  # the last one is of stray values

_LIKE_KNOWN = 0.5  # probability that the noise is one of a known device
_WIDTHS = np.geomspace(0.01, 0.16, 7)  # of bell curves; what is steadier is like a known device
_TAIL_SHARE, _TAIL = 0.2, 3.0  # of the second half of them: so many of the errors are so many times larger
_STRAY_SD = 0.6  # of measurements that say nothing at all
_LEAST_SHARE = 1e-3
_NEVER = 1e-300
_ERRORS, _PASSES = 1000, 200  # of the fit
_WILDEST = 3.0  # relative error


@dataclass(frozen=True)
class NoiseShapes:
    """`H` mixtures of `C` normal distributions of the relative error; the last component is of stray values.

    Attributes:
        weights: (`H`,) how likely each is, before anything is measured; sum to 1.
        shares: (`H`, `C`) how often; sum to 1.
        offsets: (`H`, `C`) means, relative to the expected latency. The first is 0: the main band.
        sds: (`H`, `C`) standard deviations, relative to the expected latency.
    """

    weights: FloatArray
    shares: FloatArray
    offsets: FloatArray
    sds: FloatArray

    def __len__(self) -> int:
        return len(self.weights)


def noise_shapes(known: FloatArray, says: FloatArray) -> NoiseShapes:
    """Every shape that is considered.

    Args:
        known: (`D`, 3, `C`) shares, offsets and standard deviations of known devices.
        says: (`D`,) their weights; sum to 1.
    """
    curves = np.array(list(_bell_curves(stray=float(says @ known[:, 0, -1]))))
    shapes = np.concatenate([known, curves])
    weights = np.concatenate([_LIKE_KNOWN * says, np.full(len(curves), (1 - _LIKE_KNOWN) / len(curves))])
    return NoiseShapes(weights, *(shapes[:, part] for part in range(3)))


def fit_noise(errors: FloatArray) -> FloatArray:
    """(3, `C`) shares, offsets and standard deviations that explain (`N`,) relative errors best.

    Of at most 1,000 quantiles, by as few regular components as Schwarz's criterion asks for: components that overlap
    would make a few measurements seem to say which of them they are from. The densest one becomes the main band.
    """
    some = np.quantile(np.clip(errors, -1.0, _WILDEST), (np.arange(_ERRORS) + 0.5) / _ERRORS)[:, None]
    _, shares, offsets, sds = min((_mixture(some, count) for count in range(1, COMPONENTS)), key=lambda fit: fit[0])
    regular = len(shares) - 1
    first = int(np.argmax(shares[:-1] / sds[:-1]))
    unit = 1 + offsets[first]  # errors become relative to the main band
    offsets, sds = (offsets - offsets[first]) / unit, sds / unit
    found = np.stack([np.full(COMPONENTS, _NEVER), np.zeros(COMPONENTS), np.ones(COMPONENTS)])
    order = [first, *(column for column in range(regular) if column != first)]
    found[:, :regular] = np.stack([shares, offsets, sds])[:, order]
    found[:, -1] = shares[-1], 0.0, _STRAY_SD
    return found


def _mixture(errors: FloatArray, regular: int) -> tuple[float, FloatArray, FloatArray, FloatArray]:
    """Schwarz's criterion, shares, offsets and standard deviations of a mixture for (`N`, 1) errors, by EM."""
    shares = np.full(regular + 1, 1 / (regular + 1))
    offsets = np.append(np.quantile(errors, (np.arange(regular) + 0.5) / regular), 0.0)
    sds = np.append(np.full(regular, errors.std() / 2 + LEAST_SD), _STRAY_SD)
    for _ in range(_PASSES):
        scores = np.log(shares / sds) - ((errors - offsets) / sds) ** 2 / 2
        evidence = np.logaddexp.reduce(scores, axis=1, keepdims=True)
        likely = np.exp(scores - evidence)
        counts = likely.sum(0) + _NEVER
        shares = np.maximum(counts / counts.sum(), _LEAST_SHARE)
        shares /= shares.sum()
        offsets[:-1] = ((likely * errors).sum(0) / counts)[:-1]
        sds[:-1] = np.sqrt((likely * (errors - offsets) ** 2).sum(0) / counts + LEAST_SD**2)[:-1]
    return 3 * regular * np.log(len(errors)) - 2 * float(evidence.sum()), shares, offsets, sds


def _bell_curves(stray: float) -> Iterator[list[list[float]]]:
    """Shares, offsets and standard deviations: of any width, without and with heavier tails, and stray values."""
    for width in _WIDTHS:
        for tail in (_NEVER, _TAIL_SHARE):
            shares = [(1 - stray) * (1 - tail), (1 - stray) * tail, _NEVER, stray]
            yield [shares, [0.0] * COMPONENTS, [width, _TAIL * width, 1.0, _STRAY_SD]]
