"""Which explanations of a few measurements are likely, and what each says: variational Bayes, all at once.

An explanation (hypothesis) fixes the structure, how far prices may stray from those of other devices, and the shape of
the noise. Given it, latencies are jointly Gaussian up to the noise, a mixture:

    y = f + m (o_c + s_c e),   f ~ N(mean, covariance + r^2 m m' * kinship),   e ~ N(0, 1),   c ~ shares,

with m the expected latency, as errors are relative. The posterior is approximated by q(f) q(c) (Bishop, "Pattern
Recognition and Machine Learning", 2006, section 10.1): given the components' probabilities, q(f) is that of a Gaussian
process with one effective target and variance a measurement. Its bound on the evidence weighs the hypotheses. Narrow
noise has many local optima, one per set of measurements taken to be regular. Each that some start finds is a member of
the mixture, with its own weight (Jaakkola & Jordan, "Improving the mean field approximation via the use of mixture
distributions", 1998): where they are far apart, the evidence is about the sum of their bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.space.base import BoolArray, FloatArray, IntArray

LEAST = 0.15  # of the typical latency: no network is expected to undercut it

_STARTS = 7  # random ones
_REGULAR = 0.6  # share of the measurements that a random start takes to be in the main band
_FIRST, _LAST = 4, 6  # iterations from every start, and of what is kept
_STARTED = 400  # hypotheses that are worth several starts
_KEPT = 200  # states that are worked out to the end
_WEIGHED_ON = 32  # measurements that hypotheses are first weighed on, where there are more
_NEGLIGIBLE = 0.01  # of the greatest weight
_SAME = 0.01  # relative difference below which two starts have come to the same
_DOUBT = 0.15  # relative sd that a start has


@dataclass(frozen=True)
class Hypotheses:
    """`G` explanations of `N` measurements, each in units of its own scale.

    Attributes:
        log_prior: (`G`,) log probability before measuring.
        scale_ms: (`G`,) milliseconds that are 1.
        mean: (`G`, `N`) latency expected before measuring.
        covariance: (`G`, `N`, `N`) of it.
        stray: (`G`,) relative variance of the residual that similar architectures share.
        rounding: (`G`,) variance that does not grow with the latency.
        shares, offsets, sds: (`G`, `C`) noise, as in `NoiseShapes`.
    """

    log_prior: FloatArray
    scale_ms: FloatArray
    mean: FloatArray
    covariance: FloatArray
    stray: FloatArray
    rounding: FloatArray
    shares: FloatArray
    offsets: FloatArray
    sds: FloatArray

    def __len__(self) -> int:
        return len(self.log_prior)

    def of(self, groups: IntArray) -> Hypotheses:
        """Some of them."""
        return Hypotheses(*(getattr(self, name)[groups] for name in self.__dataclass_fields__))

    def on(self, rows: IntArray) -> Hypotheses:
        """All of them, on some of the measurements."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values |= {"mean": self.mean[:, rows], "covariance": self.covariance[:, rows[:, None], rows]}
        return Hypotheses(**values)


@dataclass(frozen=True)
class Explanations:
    """The hypotheses that matter, and what they make of the measurements.

    Attributes:
        groups: (`G`,) which of the hypotheses, the likeliest first.
        weights: (`G`,) their probabilities; sum to 1.
        expected: (`G`, `N`) m, the latency that errors are relative to.
        coefficients: (`G`, `N`) a: the posterior mean at x is prior mean + k(x, measured) a.
        precision: (`G`, `N`, `N`) A: the posterior variance at x is k(x, x) - k(x, measured) A k(measured, x).
        log_evidence: Log density of the logarithms of the measurements, all hypotheses taken together; a lower bound.
    """

    groups: IntArray
    weights: FloatArray
    expected: FloatArray
    coefficients: FloatArray
    precision: FloatArray
    log_evidence: float


def explain(
    hypotheses: Hypotheses, latency_ms: FloatArray, log_variances: FloatArray, kinship: FloatArray
) -> Explanations:
    """Weigh the hypotheses by `N` measurements, `N` >= 0.

    Args:
        hypotheses: What may be.
        latency_ms: (`N`,) positive.
        log_variances: (`N`,) variance of the log of each measurement; 0 where unknown.
        kinship: (`N`, `N`) correlation of the residual.
    """
    rows = np.sort(np.random.default_rng(0).permutation(len(latency_ms))[:_WEIGHED_ON])
    groups, state = _likely(hypotheses.on(rows), latency_ms[rows], log_variances[rows], kinship[rows[:, None], rows])
    some = hypotheses.of(groups)
    if len(rows) < len(latency_ms):
        learned = some.covariance[:, :, rows] @ state.coefficients[..., None]
        state = _State.guess(some.mean + learned[..., 0])
    problem = _Problem(some, latency_ms, log_variances, kinship)
    state = problem.improved(state, _LAST)
    log_weights = problem.log_weights(state)
    order = _distinct(log_weights, groups, state.mean, len(groups))
    order = order[log_weights[order] >= log_weights[order[0]] + np.log(_NEGLIGIBLE)]
    weights = np.exp(log_weights[order] - log_weights[order[0]])
    return Explanations(
        groups=groups[order],
        weights=weights / weights.sum(),
        expected=state.expected[order],
        coefficients=state.coefficients[order],
        precision=state.precision[order],
        log_evidence=float(log_weights[order[0]] + np.log(weights.sum()) + np.log(latency_ms).sum()),
    )


def _likely(
    hypotheses: Hypotheses, latency_ms: FloatArray, log_variances: FloatArray, kinship: FloatArray
) -> tuple[IntArray, _State]:
    """(`G`,) hypotheses that are worth working out, and the states that they have come to: some are there twice.

    Where every measurement may be regular, or none is known to be, tells which hypotheses deserve random starts.
    """
    rng = np.random.default_rng(0)
    count = len(latency_ms)
    problem = _Problem(hypotheses, latency_ms, log_variances, kinship)
    states = problem.starts([None, np.ones(count, dtype=np.bool_)])
    weights = np.max([problem.log_weights(state) for state in states], axis=0)
    groups = np.argsort(-weights, kind="stable")[:_STARTED]
    problem = _Problem(hypotheses.of(groups), latency_ms, log_variances, kinship)
    random = [np.asarray(rng.random(count) < _REGULAR) for _ in range(_STARTS)]
    states = [state.of(groups) for state in states] + problem.starts(random)
    log_weights = np.concatenate([problem.log_weights(state) for state in states])
    groups, state = np.tile(groups, len(states)), _State.joined(states)
    best = _distinct(log_weights, groups, state.mean, _KEPT)
    return groups[best], state.of(best)


def _distinct(log_weights: FloatArray, groups: IntArray, means: FloatArray, most: int) -> IntArray:
    """Positions, the likeliest first, without those that an earlier one of the same hypothesis comes near to."""
    chosen: list[int] = []
    of_group: dict[int, list[int]] = {}
    for each in np.argsort(-log_weights, kind="stable").tolist():
        if len(chosen) == most:
            break
        others = of_group.setdefault(int(groups[each]), [])
        if not any(np.all(np.abs(means[each] - means[one]) < _SAME * means[one]) for one in others):
            others.append(each)
            chosen.append(each)
    return np.array(chosen, dtype=np.int64)


@dataclass(frozen=True)
class _State:
    """q(f) and q(c) of every hypothesis, with what the bound needs.

    Attributes:
        mean, variance: (`G`, `N`) of q(f) at the measurements.
        expected, coefficients, precision: As in `Explanations`.
        probabilities: (`G`, `N`, `C`) q(c); zeros of a guess.
        noise, deviation: (`G`, `N`, `C`) variance of each component, and the measurement less its offset.
        target, effective: (`G`, `N`) what the process is conditioned on, and the variance of that.
    """

    mean: FloatArray
    variance: FloatArray
    expected: FloatArray
    coefficients: FloatArray
    precision: FloatArray
    probabilities: FloatArray
    noise: FloatArray
    deviation: FloatArray
    target: FloatArray
    effective: FloatArray

    @classmethod
    def joined(cls, states: Sequence[_State]) -> _State:
        """Those of all, one after the other."""
        return cls(*(np.concatenate([getattr(each, name) for each in states]) for name in cls.__dataclass_fields__))

    @classmethod
    def guess(cls, mean: FloatArray) -> _State:
        """Before anything is known but about where the latencies are."""
        nothing = np.zeros((*mean.shape, 0))
        return cls(mean, (_DOUBT * mean) ** 2, mean, mean, nothing, nothing, nothing, nothing, mean, mean)

    def of(self, groups: IntArray) -> _State:
        """That of some hypotheses."""
        return _State(*(getattr(self, name)[groups] for name in self.__dataclass_fields__))

    def where(self, better: BoolArray, other: _State) -> _State:
        """The other's where it is better."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)
        return _State(*(np.where(better.reshape(-1, *[1] * (old.ndim - 1)), new, old) for old, new in pairs))


class _Problem:
    """Hypotheses and the measurements that they are about."""

    def __init__(
        self, hypotheses: Hypotheses, latency_ms: FloatArray, log_variances: FloatArray, kinship: FloatArray
    ) -> None:
        self._hypotheses = hypotheses
        self._values = latency_ms / hypotheses.scale_ms[:, None]  # (G, N)
        self._log_variances = log_variances
        self._kinship = kinship
        self._log_shares = np.log(hypotheses.shares)[:, None]

    def starts(self, regular: Sequence[BoolArray | None]) -> list[_State]:
        """After the first iterations, with these measurements regular at first; or with no idea which."""
        begun = _State.guess((self._values + np.maximum(self._hypotheses.mean, LEAST)) / 2)
        return [self.improved(begun, _FIRST, None if each is None else self._regular(each)) for each in regular]

    def _regular(self, regular: BoolArray) -> FloatArray:
        """(`G`, `N`, `C`) probabilities: the given measurements are in the main band, the others nearly never."""
        others = self._hypotheses.shares.copy()
        others[:, 0] = np.where(others.shape[1] > 1, 0.02, 1.0)
        others /= others.sum(1, keepdims=True)
        main = np.eye(others.shape[1])[0]
        return np.where(regular[None, :, None], main, others[:, None])

    def improved(self, state: _State, iterations: int, probabilities: FloatArray | None = None) -> _State:
        """After some iterations; the first may be given its q(c)."""
        for _ in range(iterations):
            state = self._iterated(state, probabilities)
            probabilities = None
        return state

    def _iterated(self, state: _State, probabilities: FloatArray | None) -> _State:
        given = self._hypotheses
        expected = np.maximum(state.mean, LEAST)
        spread = given.sds[:, None] ** 2 + self._log_variances[:, None]
        noise = expected[..., None] ** 2 * spread + given.rounding[:, None, None]
        deviation = self._values[..., None] - expected[..., None] * given.offsets[:, None]
        if probabilities is None:
            square = (deviation - state.mean[..., None]) ** 2 + state.variance[..., None]
            scores = self._log_shares - (np.log(noise) + square / noise) / 2
            probabilities = np.exp(scores - scores.max(-1, keepdims=True))
            probabilities /= probabilities.sum(-1, keepdims=True)
        certainty = probabilities / noise
        effective = 1 / certainty.sum(-1)
        target = (certainty * deviation).sum(-1) * effective
        stray = given.stray[:, None, None] * expected[:, :, None] * expected[:, None] * self._kinship
        covariance = given.covariance + stray
        total = covariance.copy()
        diagonal = np.arange(total.shape[1])
        total[:, diagonal, diagonal] += effective
        precision = np.asarray(np.linalg.inv(total), dtype=np.float64)
        coefficients = (precision @ (target - given.mean)[..., None])[..., 0]
        mean = given.mean + (covariance @ coefficients[..., None])[..., 0]
        explained = ((covariance @ precision) * covariance).sum(-1)
        variance: FloatArray = np.maximum(covariance[:, diagonal, diagonal] - explained, 1e-12)
        return _State(
            mean, variance, expected, coefficients, precision, probabilities, noise, deviation, target, effective
        )

    def log_weights(self, state: _State) -> FloatArray:
        """(`G`,) log of prior probability times evidence, of latencies in milliseconds."""
        given = self._hypotheses
        return given.log_prior + self._bounds(state) - self._values.shape[1] * np.log(given.scale_ms)

    def _bounds(self, state: _State) -> FloatArray:
        """(`G`,) lower bounds on the log evidence: E[log p(y, c | f)] + H[q(c)], and f integrated out."""
        probabilities = state.probabilities
        _, log_determinant = np.linalg.slogdet(state.precision)
        misfit = ((state.target - self._hypotheses.mean) * state.coefficients).sum(-1)
        gaussian = (log_determinant - misfit + np.log(state.effective).sum(-1)) / 2
        density = -(probabilities * (np.log(2 * np.pi * state.noise) + state.deviation**2 / state.noise)).sum((-1, -2))
        density += (state.target**2 / state.effective).sum(-1)
        surprise = (probabilities * (self._log_shares - np.log(np.maximum(probabilities, 1e-300)))).sum((-1, -2))
        return gaussian + density / 2 + surprise
