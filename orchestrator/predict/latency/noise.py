"""Noise: how a device's latencies scatter around what they are a sum of.

Phones and busy servers do not scatter like a bell curve. A table of measurements is made over hours, in which the
device changes between frequencies and loads: most values lie in one narrow band, a quarter of them a tenth higher or
lower, a few anywhere. Ten measurements cannot tell which, so every shape below is weighed by how well it explains
them, and predictions are averaged over all shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from orchestrator.space.base import FloatArray

_BANDS = (0.004, 0.008, 0.015, 0.025, 0.04, 0.065, 0.1, 0.15)  # widths (sd) of the band that most values lie in
_WIDEST_BAND = 0.07  # beside which another one can be told apart
_STRAY_SHARE, _STRAY_SD = 0.02, 0.6  # of measurements that say nothing at all
_COMPONENTS = 4
_NEVER = 1e-300


@dataclass(frozen=True)
class NoiseShapes:
    """`H` mixtures of `C` normal distributions of the relative error; the last component is of stray values.

    Attributes:
        shares: (`H`, `C`) how often; sum to 1.
        offsets: (`H`, `C`) means, relative to the expected latency. The first is 0: the main band.
        sds: (`H`, `C`) standard deviations, relative to the expected latency.
    """

    shares: FloatArray
    offsets: FloatArray
    sds: FloatArray

    def __len__(self) -> int:
        return len(self.shares)

    @property
    def bands(self) -> FloatArray:
        """(`H`,) sd of the main band."""
        return self.sds[:, 0]


def noise_shapes() -> NoiseShapes:
    """Every shape that is considered; equally likely before anything is measured."""
    shapes = list(_shapes())
    shares = np.full((len(shapes), _COMPONENTS), _NEVER)
    offsets, sds = np.zeros(shares.shape), np.ones(shares.shape)
    for row, components in enumerate(shapes):
        for column, (share, offset, sd) in enumerate(components):
            shares[row, column], offsets[row, column], sds[row, column] = share * (1 - _STRAY_SHARE), offset, sd
        shares[row, -1], sds[row, -1] = _STRAY_SHARE, _STRAY_SD
    return NoiseShapes(shares, offsets, sds)


def _shapes() -> Iterator[list[tuple[float, float, float]]]:
    """Components (share, offset, sd) without the stray one. Numbers are rounded from what thirteen devices show."""
    for band in _BANDS:
        yield [(1.0, 0.0, band)]
        yield [(0.8, 0.0, band), (0.2, 0.0, 3 * band)]  # heavier tails
        if band < _WIDEST_BAND:
            yield [(0.7, 0.0, band), (0.3, 0.14, 0.06)]  # slower at times
            yield [(0.65, 0.0, band), (0.35, 0.2, 0.04)]  # often much slower
            yield [(0.7, 0.0, band), (0.3, -0.13, 0.08)]  # faster at times
            yield [(0.7, 0.0, band), (0.3, 0.0, 0.13)]  # unsteady at times
            yield [(0.5, 0.0, band), (0.25, 0.15, 0.05), (0.25, -0.12, 0.05)]  # between two others
