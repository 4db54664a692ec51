"""Noise levels: the cosine schedule, and how many slots of an architecture a level changes.

The share of signal is alpha(v) = (1 + cos(pi v)) / 2 at noise time v, which runs from 0 (an architecture) to 1 (pure
noise). In N steps that is EDNAG's alpha_j = (1 + cos(pi j / (N - 1))) / 2. Most of it changes nothing (argmax wins) or
everything; in between, what a level does is told by how many slots it changes, which is also how a user sets it.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr  # type: ignore[import-untyped]

from orchestrator.generate.ednag.codec import Codec
from orchestrator.space.base import FloatArray

_GRID = 400  # noise times at which the expected number of changes is tabulated
_CLEANEST = 0.01  # noise time; as far from pure noise ends the other side: some signal and some noise are always left


def alpha(time: float) -> float:
    """Share of signal (variance) at a noise time in [0, 1]."""
    return float((1 + np.cos(np.pi * time)) / 2)


def alphas(count: int, first: float = 1.0, last: float = 0.0) -> FloatArray:
    """(`T`,) shares of signal at evenly spaced noise times; by default from pure noise to architectures."""
    return (1 + np.cos(np.pi * np.linspace(first, last, count))) / 2


def expected_changes(gaps: FloatArray, sizes: FloatArray, signal: FloatArray) -> FloatArray:
    """(`T`,) how many slots of a noised architecture decode to another choice, on average.

    A slot of v choices stays as it is if its own entry, sqrt(a) gap + sqrt(1 - a) z, exceeds the v - 1 others:

        P(stays) = E_z[ Phi(z + gap sqrt(a / (1 - a)))^(v - 1) ].

    Args:
        gaps: (`S`,) of `Codec`.
        sizes: (`S`,) choices of each slot.
        signal: (`T`,) shares of signal below 1.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(64)
    ahead = gaps * np.sqrt(signal / (1 - signal))[:, None]  # (T, S)
    stays = (ndtr(points[:, None, None] + ahead) ** (sizes - 1) * weights[:, None, None]).sum(axis=0) / weights.sum()
    return np.asarray((1 - stays).sum(axis=1))


class Noise:
    """Noise times and the number of slots that they change, either from the other."""

    def __init__(self, codec: Codec) -> None:
        """Args:
        codec: Of the space.
        """
        self._times = np.linspace(_CLEANEST, 1 - _CLEANEST, _GRID)
        signal = (1 + np.cos(np.pi * self._times)) / 2
        self._changes = expected_changes(codec.gaps, codec.sizes.astype(np.float64), signal)

    def time(self, changes: float) -> float:
        """The noise time at which so many slots change; (almost) pure noise where none changes so many."""
        return float(np.interp(changes, self._changes, self._times))

    def changes(self, time: float) -> float:
        """How many slots change at a noise time."""
        return float(np.interp(time, self._times, self._changes))
