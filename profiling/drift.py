"""Drift of a device: a control chart over measurements of one reference model, on the log scale.

The chart starts itself: each value is judged against the mean and the spread of those before it, and its t statistic
is turned into a standard normal score, so that there is no phase in which the device is merely believed (Quesenberry,
"SPC Q charts for start-up processes and short or long runs", 1991; Hawkins, "Self-starting CUSUM charts for location
and scale", 1987). As few values say little about their spread, it is joined with a prior one, as in the stop rule
(`profiling.statistics.should_stop`). Two rules look at the scores: Shewhart's, for sudden large shifts, and an
exponentially weighted mean, for small lasting ones (Roberts, "Control chart tests based on geometric moving averages",
1959). Values that raise an alarm are not learned from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

from profiling.statistics import PRIOR_SD_LOG, student_t_cdf, student_t_quantile

Verdict = Literal["starting", "good", "shifted", "recalibrated"]

_EXTREME = 1e-15  # beyond this tail probability normal scores are only "very large"
_MANY = 100  # degrees of freedom from which on a series gives Student's quantiles to 1e-5


@dataclass(frozen=True)
class ChartPolicy:
    """The chart's rules.

    Attributes:
        prior_sd_log, prior_degrees: What is believed of the spread before any is seen, and how firmly.
        shewhart: Alarm when one normal score is larger than this.
        weight: Of the newest score in the weighted mean.
        ewma: Alarm when the weighted mean is larger than this many of its standard deviations.
        smallest_shift_log: No alarm for a shift smaller than this, however certain: 0.01 = 1 % of latency.
        agreeing: After so many alarms in a row that agree with each other, the device is believed to have changed for
            good, and the chart starts again from them.
    """

    prior_sd_log: float = PRIOR_SD_LOG
    prior_degrees: int = 4
    shewhart: float = 3.5
    weight: float = 0.2
    ewma: float = 3.2
    smallest_shift_log: float = 0.01
    agreeing: int = 3


@dataclass(frozen=True)
class Reading:
    """What the chart says of one value.

    Attributes:
        verdict: `starting` (the first value), `good`, `shifted`, or `recalibrated`: the last of several
            alarms that agree, from which the chart has started again.
        log_ratio: The value's distance from the mean of the good ones before it.
        score: Its normal score; 0 while starting.
    """

    verdict: Verdict
    log_ratio: float
    score: float


@dataclass(frozen=True)
class ControlChart:
    """The state of a chart; every observation gives a new one.

    Attributes:
        policy: The rules.
        count: Values learned from.
        mean: Of those.
        squares: Sum of their squared distances from the mean.
        ewma: Weighted mean of their normal scores.
        scored: How many scores it has seen.
        ewma_log: Weighted mean of their log ratios: the size of the shift that `ewma` is about.
        alarms: Values since the last good one.
        generation: How often the chart has started again.
    """

    policy: ChartPolicy = ChartPolicy()
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    ewma: float = 0.0
    scored: int = 0
    ewma_log: float = 0.0
    alarms: tuple[float, ...] = ()
    generation: int = 0

    @property
    def sd_log(self) -> float | None:
        """Standard deviation of what was learned from: how well this device reproduces a measurement."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 2 else None

    @property
    def limits_log(self) -> tuple[float, float] | None:
        """Log latencies between which the next value is no sudden shift; None before the first one.

        A lasting shift is found within them, too: by the weighted mean.
        """
        if not self.count:
            return None
        sd, degrees = self._spread()
        reach = max(
            _t_of_score(self.policy.shewhart, degrees) * sd * math.sqrt((self.count + 1) / self.count),
            self.policy.smallest_shift_log,
        )
        return self.mean - reach, self.mean + reach

    def observe(self, log_latency: float) -> tuple[ControlChart, Reading]:
        """Judge the next value, and learn from it if it is good.

        Args:
            log_latency: Log of the reference model's latency.

        Returns:
            The chart afterwards, and what it says.
        """
        if not self.count:
            return self._learned(log_latency), Reading("starting", 0.0, 0.0)
        ratio, score = log_latency - self.mean, self._score(log_latency)
        weight = self.policy.weight
        ewma = (1 - weight) * self.ewma + weight * score
        ewma_log = (1 - weight) * self.ewma_log + weight * ratio
        sd = math.sqrt(weight / (2 - weight) * (1 - (1 - weight) ** (2 * (self.scored + 1))))
        sudden = abs(score) > self.policy.shewhart and abs(ratio) > self.policy.smallest_shift_log
        lasting = abs(ewma) > self.policy.ewma * sd and abs(ewma_log) > self.policy.smallest_shift_log / 2
        if sudden or lasting:
            return self._alarmed(log_latency, Reading("shifted", ratio, score))
        chart = replace(self._learned(log_latency), ewma=ewma, scored=self.scored + 1, ewma_log=ewma_log)
        return chart, Reading("good", ratio, score)

    def _score(self, value: float) -> float:
        """Normal score of a value, given those before it."""
        sd, degrees = self._spread()
        t = math.sqrt(self.count / (self.count + 1)) * (value - self.mean) / sd
        return NormalDist().inv_cdf(min(max(student_t_cdf(t, degrees), _EXTREME), 1 - _EXTREME))

    def _spread(self) -> tuple[float, int]:
        """Standard deviation of single values, joined with the prior one, and its degrees of freedom."""
        prior = self.policy.prior_degrees
        degrees = prior + self.count - 1
        return math.sqrt((prior * self.policy.prior_sd_log**2 + self.squares) / degrees), degrees

    def _learned(self, value: float) -> ControlChart:
        """Welford's update of mean and squares."""
        count = self.count + 1
        mean = self.mean + (value - self.mean) / count
        squares = self.squares + (value - self.mean) * (value - mean)
        return replace(self, count=count, mean=mean, squares=squares, alarms=())

    def _alarmed(self, value: float, reading: Reading) -> tuple[ControlChart, Reading]:
        alarms = (*self.alarms, value)[-self.policy.agreeing :]
        sd = self.sd_log or 0.0
        # As wide as good values are spread, 4 sd, but never narrower than what does not matter.
        agree = max(alarms) - min(alarms) <= max(4 * sd, self.policy.smallest_shift_log)
        if len(alarms) < self.policy.agreeing or not agree:
            return replace(self, alarms=alarms), reading
        fresh = ControlChart(self.policy, generation=self.generation + 1)
        for alarm in alarms:
            fresh = fresh._learned(alarm)
        return fresh, replace(reading, verdict="recalibrated")


def _t_of_score(score: float, degrees: int) -> float:
    """The t statistic that has a normal score, which is positive.

    Source: Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.5, for many degrees of freedom.
    """
    if degrees < _MANY:
        return student_t_quantile(NormalDist().cdf(score), degrees)
    first, second = (score**3 + score) / 4, (5 * score**5 + 16 * score**3 + 3 * score) / 96
    third = (3 * score**7 + 19 * score**5 + 17 * score**3 - 15 * score) / 384
    return score + first / degrees + second / degrees**2 + third / degrees**3
