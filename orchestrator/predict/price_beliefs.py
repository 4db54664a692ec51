"""What a device may charge, given what others charge, and what a few measurements make of that.

Several beliefs compete: that a device charges by work alone, as if no other were known; and those of a latency prior
about devices of this kind or much like one of them, whichever edges their runtimes execute. The measurements' evidence
weighs them, so little is lost on a device that is unlike all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from orchestrator.generate.pool import width
from orchestrator.predict.cost_model import PricePrior, fit_prices, prices_of_work, suspects
from orchestrator.predict.latency.beliefs import beliefs
from orchestrator.predict.latency.prior import LatencyPrior
from orchestrator.predict.latency.structures import Structures, relaxed
from orchestrator.space.base import FloatArray, IntArray, Space

_BY_WORK = 0.1  # share of the belief that no other device says anything
_LEAST_ROOM = 0.01  # of the median latency: even an amount that nobody charges for may cost this much
_SCALE_SD = 0.3  # relative, of all prices together
_CHANGED = 0.15  # relative, of each price: after an update of the system
_NOISE = (0.03, 0.06, 0.12, 0.25)  # relative errors of right prices, all as likely
_DEGREES = 3  # of Student's distribution of errors
_PASSES = 8
_SAMPLE = 1000


@dataclass(frozen=True)
class PriceBelief:
    """One way in which a device may charge.

    Attributes:
        share: How likely it is beside others, before anything is measured.
        prior: In units of the device's median latency, or of anything: measurements say how many milliseconds it is.
    """

    share: float
    prior: PricePrior


def beliefs_of(prior: LatencyPrior, structures: Structures, space: Space) -> tuple[PriceBelief, ...]:
    """What a latency prior expects, said in the amounts of the space's encoding.

    Prices translate linearly: each amount of a structure is a sum of the encoding's, as nearly as can be.
    """
    drawn = relaxed(space.sample(_SAMPLE, np.random.default_rng(0)), width(space))
    with torch.no_grad():
        amounts, by_structure = space.encoding().costs(drawn).numpy(), structures.amounts(drawn).numpy()
    words = [np.stack([prices_of_work(amounts, column) for column in each.T], axis=1) for each in by_structure]
    room = np.diag((_LEAST_ROOM / _usual(amounts)) ** 2)
    return tuple(
        PriceBelief(each.share, PricePrior.of(into @ each.mean, into @ each.covariance @ into.T + room))
        for each in beliefs(prior, structures)
        for into in (words[each.structure],)
    )


def belief_of_device(space: Space, slots: IntArray, latency_ms: FloatArray, log_variances: FloatArray) -> PriceBelief:
    """That a device charges nearly what one did that was measured: the same phone before an update.

    Args:
        space: Of the architectures.
        slots: (`N`, `S`) what was measured then.
        latency_ms: (`N`,).
        log_variances: (`N`,) of each; 0 where unknown.
    """
    with torch.no_grad():
        amounts = space.encoding().costs(relaxed(slots, width(space))).numpy()
    prices = fit_prices(amounts, latency_ms, log_variances)
    own = np.diag((_CHANGED * prices + _LEAST_ROOM * float(np.median(latency_ms)) / _usual(amounts)) ** 2)
    return PriceBelief(1.0, PricePrior.of(prices, own + _SCALE_SD**2 * np.outer(prices, prices)))


def expected_prices(
    believed: Sequence[PriceBelief],
    by_work: PricePrior,
    amounts: FloatArray,
    latency_ms: FloatArray,
    log_variances: FloatArray,
) -> PricePrior:
    """What is to be expected of a device: the first two moments of what the measurements leave of all beliefs.

    Args:
        believed: Beliefs; their shares need not sum to 1.
        by_work: In milliseconds, what is expected where no other device is known.
        amounts: (`N`, `K`) of what was measured.
        latency_ms: (`N`,).
        log_variances: (`N`,) of each; 0 where unknown.
    """
    kept = ~suspects(latency_ms)
    amounts, latency_ms, log_variances = amounts[kept], latency_ms[kept], log_variances[kept]
    total = sum(each.share for each in believed)
    priors = [by_work, *(_scaled(each.prior, amounts, latency_ms) for each in believed)]
    shares = [_BY_WORK, *((1 - _BY_WORK) * each.share / total for each in believed)]
    relative = amounts / latency_ms[:, None]
    logs = np.log(shares) + [_log_evidence(each, relative, log_variances) for each in priors]
    weights = np.exp(logs - logs.max())
    return _moments(weights / weights.sum(), priors)


def _usual(amounts: FloatArray) -> FloatArray:
    """(`K`,) what of the median latency each amount would cost if all had the same share."""
    return np.asarray(np.maximum(amounts.mean(axis=0), 1e-9))


def _scaled(prior: PricePrior, amounts: FloatArray, latency_ms: FloatArray) -> PricePrior:
    """In milliseconds, by the measurements' median."""
    scale_ms = float(np.median(latency_ms / np.maximum(amounts @ prior.mean, 1e-9)))
    return PricePrior(prior.mean * scale_ms, prior.factor * scale_ms)


def _log_evidence(prior: PricePrior, relative: FloatArray, log_variances: FloatArray) -> float:
    """Log density of measurements, averaged over how well prices explain latency at all.

    Errors have Student's distribution, so that a few strays do not decide; the integral over prices is Laplace's.
    """
    spread, error = relative @ prior.factor, 1 - relative @ prior.mean
    return float(np.logaddexp.reduce([_student(spread, error, np.sqrt(n**2 + log_variances)) for n in _NOISE]))


def _student(spread: FloatArray, error: FloatArray, sd: FloatArray) -> float:
    """Log density of (`N`,) errors, of which standard normal (`K`,) causes explain `spread @ causes`."""
    scaled, left = spread / sd[:, None], error / sd
    causes: FloatArray = np.zeros(spread.shape[1])
    for _ in range(_PASSES):
        trust = (_DEGREES + 1) / (_DEGREES + (left - scaled @ causes) ** 2)
        precision = np.eye(len(causes)) + scaled.T @ (scaled * trust[:, None])
        causes = np.asarray(np.linalg.solve(precision, scaled.T @ (trust * left)))
    rest = left - scaled @ causes
    density = -np.log(sd) - 0.5 * (_DEGREES + 1) * np.log1p(rest**2 / _DEGREES)
    return float(density.sum() - 0.5 * (causes @ causes + np.linalg.slogdet(precision)[1]))


def _moments(weights: FloatArray, priors: Sequence[PricePrior]) -> PricePrior:
    """Mean and covariance of a mixture."""
    mean = np.asarray(weights @ np.stack([each.mean for each in priors]))
    roots = [np.column_stack([each.factor, each.mean - mean]) for each in priors]
    return PricePrior.of(mean, np.sum([w * (root @ root.T) for w, root in zip(weights, roots, strict=True)], axis=0))
