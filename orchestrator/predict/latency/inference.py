"""Which explanations of a few measurements are likely, and what each says: variational Bayes, all at once.

An explanation (hypothesis) fixes the structure, how far prices may stray from those of other devices, and the shape of
the noise. Given it, latencies are jointly Gaussian up to the noise, a mixture:

    y = f + m (o_c + s_c e),   f ~ N(mean, covariance + r^2 m m' * kinship),   e ~ N(0, 1),   c ~ shares,

with m the expected latency, as errors are relative. The posterior is approximated by q(f) q(c) (Bishop, "Pattern
Recognition and Machine Learning", 2006, section 10.1): given the components' probabilities, q(f) is that of a Gaussian
process with one effective target and variance a measurement. Its bound on the evidence weighs the hypotheses. Narrow
noise has many local optima, one per set of measurements taken to be regular: the best of several starts counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.space.base import BoolArray, FloatArray, IntArray

LEAST = 0.15  # of the typical latency: no network is expected to undercut it

_STARTS = 8
_REGULAR = 0.6  # share of the measurements that a random start takes to be in the main band
_FIRST, _LAST = 4, 6  # iterations of every hypothesis from every start, and of those kept
_KEPT = 60  # hypotheses that are worked out to the end
_WEIGHED_ON = 32  # measurements that hypotheses are first weighed on, where there are more
_NEGLIGIBLE = 0.01  # of the greatest weight
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
    rng = np.random.default_rng(0)
    count = len(latency_ms)
    rows = np.sort(rng.permutation(count)[:_WEIGHED_ON])
    problem = _Problem(hypotheses.on(rows), latency_ms[rows], log_variances[rows], kinship[rows[:, None], rows])
    state = problem.best_start(rng)
    kept = np.argsort(-problem.log_weights(state), kind="stable")[:_KEPT]
    state = state.of(kept)
    hypotheses = hypotheses.of(kept)
    if len(rows) < count:
        learned = hypotheses.covariance[:, :, rows] @ state.coefficients[..., None]
        state = _State.guess(hypotheses.mean + learned[..., 0])
    problem = _Problem(hypotheses, latency_ms, log_variances, kinship)
    state = problem.improved(state, _LAST)
    log_weights = problem.log_weights(state)
    order = np.argsort(-log_weights, kind="stable")
    order = order[log_weights[order] >= log_weights[order[0]] + np.log(_NEGLIGIBLE)]
    weights = np.exp(log_weights[order] - log_weights[order[0]])
    return Explanations(
        groups=kept[order],
        weights=weights / weights.sum(),
        expected=state.expected[order],
        coefficients=state.coefficients[order],
        precision=state.precision[order],
        log_evidence=float(log_weights[order[0]] + np.log(weights.sum()) + np.log(latency_ms).sum()),
    )


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

    def best_start(self, rng: np.random.Generator) -> _State:
        """After the first iterations from the best of several starts: from in between, and from random regulars."""
        begun = _State.guess((self._values + np.maximum(self._hypotheses.mean, LEAST)) / 2)
        best = self.improved(begun, _FIRST)
        bounds = self._bounds(best)
        for _ in range(_STARTS - 1):
            other = self.improved(
                begun, _FIRST, self._regular(np.asarray(rng.random(self._values.shape[1]) < _REGULAR))
            )
            found = self._bounds(other)
            best = best.where(found > bounds, other)
            bounds = np.maximum(found, bounds)
        return best

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
