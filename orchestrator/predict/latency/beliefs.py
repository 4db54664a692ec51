"""Beliefs: what the prices of a new device may be, given those of known ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.predict.latency.prior import LatencyPrior
from orchestrator.predict.latency.structures import Structures
from orchestrator.space.base import FloatArray

SCALE_SD = 0.3  # relative sd of all prices together; the measurements' median sets where it is centred

_ROOMS = ((0.1, 0.4), (0.25, 0.3), (0.6, 0.3))  # how far each price may stray from those of known devices; how likely
_NEARLY, _NEARLY_STRAY = 0.5, 0.03  # probability that a sum of prices is only nearly right, relative sd of what is left
_UNLIKE_ROOM, _UNLIKE_STRAY = 0.6, 0.12  # of each price then, and relative sd of what prices leave unexplained
_ALIKE = 0.5  # probability that the device is much like one of the known ones
_ALIKE_ROOM = 0.1  # how far each price may then stray from that one's
_LEAST_ROOM = 0.01  # of the median latency: even a price that no known device charges may be this high
_MANY = 24  # devices beyond which their mean and covariance say all that is needed


@dataclass(frozen=True)
class Belief:
    """One way in which a device may relate to the known ones.

    Attributes:
        structure: What it pays for.
        share: How likely this is, before anything is measured.
        mean, covariance: (`K`,) and (`K`, `K`) of the prices, in units of a common scale.
        stray: Relative sd of what is no sum of prices, but common to similar architectures.
    """

    structure: int
    share: float
    mean: FloatArray
    covariance: FloatArray
    stray: float = 0.0


def beliefs(prior: LatencyPrior, structures: Structures, *, scale_sd: float = SCALE_SD) -> tuple[Belief, ...]:
    """All ways that are considered; shares sum to 1.

    A new device is like the known ones on the whole, with any structure and more or less room for each price; or it is
    much like one of them, with the same structure.
    """
    alike = _ALIKE if len(prior.devices) <= _MANY else 0.0
    unlike = 1 / (len(set(prior.families)) + 2)  # rule of succession: no known family was
    mean = prior.mean
    scale = scale_sd**2 * np.outer(mean, mean)
    rights = ((0.0, 1 - _NEARLY), (_NEARLY_STRAY, _NEARLY))
    ways = [(room, (1 - unlike) * likely * share, stray) for room, likely in _ROOMS for stray, share in rights]
    ways.append((_UNLIKE_ROOM, unlike, _UNLIKE_STRAY))
    found = [
        Belief(structure, (1 - alike) * share * likely, mean, _covariance(prior, room) + scale, stray)
        for structure, share in enumerate(structures.shares)
        for room, likely, stray in ways
    ]
    if alike:
        for structure, says, prices in zip(prior.structures, prior.says, prior.prices, strict=True):
            own = np.diag((_ALIKE_ROOM * prices + _LEAST_ROOM / 2) ** 2)
            found.append(Belief(structure, alike * float(says), prices, own + scale_sd**2 * np.outer(prices, prices)))
    return tuple(found)


def _covariance(prior: LatencyPrior, room: float) -> FloatArray:
    """(`K`, `K`) of the prices of a new device: as from device to device, and some room for each."""
    return np.asarray(prior.covariance + np.diag((room * prior.mean + _LEAST_ROOM) ** 2))
