"""Statistics of latency: blocks -> estimate, interval and grade; when to stop; whether a block was steady.

Everything is on the log scale. The unit is the block (one process), because processes differ by more than the runs
inside one do: intervals over consecutive runs of one process miss the true latency most of the time (Kalibera and
Jones, "Rigorous benchmarking in reasonable time", ISMM 2013).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo, Grade, Measurement

CONFIDENCE = 0.95
_UPPER = 0.5 + CONFIDENCE / 2  # the probability of a two-sided interval's upper end

# What is believed of the spread between processes before any is seen: the standard deviation of log latency (1.8 % was
# found on an idle x86 host, rounded up), and how many blocks' worth of evidence that is.
PRIOR_SD_LOG = 0.02
PRIOR_DEGREES = 2

_ENOUGH_BLOCKS = 3
_NOISY_SPREAD = 1.25  # 95th percentile of a block's runs over their median
_SHARED_CPU = 0.9  # a single thread that computes all the time uses this share of its CPU at least
_MANY_REJECTED = 0.3

_STEADY_BATCHES = 10
_STEADY_PROBABILITY = 0.995  # one-sided; noise alone hardly ever shifts the halves as well
_STEADY_SHIFT_LOG = 0.03  # smaller shifts between the halves of a block do not matter


def estimate(
    blocks: Sequence[Block],
    plan: MeasurementPlan,
    artifact_sha256: str,
    device: DeviceInfo,
    reproducibility_sd_log: float = 0.0,
) -> Measurement:
    """The measurement that these blocks give.

    Latency is exp of the mean log block value, its standard error `sd / sqrt(K)`, and the 95 % interval Student's with
    K - 1 degrees of freedom. One block alone says nothing about its own error: then the given reproducibility is used,
    or, for a block that really ran, the prior spread between processes.

    Args:
        blocks: All blocks; rejected ones are kept in the measurement but not used.
        plan: Gives the target half-width that the grade refers to.
        artifact_sha256: What ran.
        device: Where.
        reproducibility_sd_log: Floor of the standard error of log latency: what measuring again, on another day, is
            known to differ by (from reference models, or the noise of a table). No number of blocks goes below it.

    Returns:
        The measurement; grade `F`, latency NaN and an infinite error when no block can be used.
    """
    used = [block for block in blocks if block.status == "ok"]
    if used:
        logs = np.log([block.value_ms for block in used])
        mean, error, half_width = _interval(logs, used[0].statistic == "table", reproducibility_sd_log)
        latency_ms, low_ms, high_ms = math.exp(mean), math.exp(mean - half_width), math.exp(mean + half_width)
    else:
        latency_ms, low_ms, high_ms, error, half_width = math.nan, math.nan, math.nan, math.inf, math.inf
    grade, reasons = _grade(blocks, used, half_width, plan.target_half_width)
    return Measurement(
        latency_ms=latency_ms,
        standard_error_log=error,
        ci_low_ms=low_ms,
        ci_high_ms=high_ms,
        blocks=tuple(blocks),
        grade=grade,
        reasons=reasons,
        target_half_width=plan.target_half_width,
        artifact_sha256=artifact_sha256,
        device=device,
    )


def should_stop(blocks: Sequence[Block], plan: MeasurementPlan) -> bool:
    """Whether enough blocks have been measured: a sequential rule of fixed width.

    Stopping the first time that the interval happens to be narrow favours samples whose spread is small by luck, and
    the intervals then cover too seldom. As in the procedures of Chow and Robbins ("On the asymptotic theory of
    fixed-width sequential confidence intervals for the mean", 1965), which add a vanishing term to the sample
    variance, the variance is therefore joined with a prior one before it may stop the measurement (scaled inverse
    chi-squared, conjugate: Gelman et al., "Bayesian Data Analysis", section 3.2). Both must be within the target: the
    interval that will be reported, and the one with the joined variance. A quiet device stops after four blocks.

    Returns:
        True when the target is met by at least `min_blocks` used blocks, or `max_blocks` processes have run.
    """
    if len(blocks) >= plan.max_blocks:
        return True
    values = [block.value_ms for block in blocks if block.status == "ok"]
    count = len(values)
    if count < max(plan.min_blocks, 2):
        return False
    sd = float(np.std(np.log(values), ddof=1))
    joined_degrees = PRIOR_DEGREES + count - 1
    joined_sd = math.sqrt((PRIOR_DEGREES * PRIOR_SD_LOG**2 + (count - 1) * sd**2) / joined_degrees)
    reported = student_t_quantile(_UPPER, count - 1) * sd / math.sqrt(count)
    cautious = student_t_quantile(_UPPER, joined_degrees) * joined_sd / math.sqrt(count)
    return max(reported, cautious) <= plan.target_half_width


def is_steady(durations: Sequence[float] | npt.NDArray[np.number]) -> bool:
    """Whether a block's runs had settled: False only when they clearly drift.

    The medians of ten consecutive batches (batches absorb autocorrelation, medians spikes) must show a slope that is
    significant at 1 % and a shift of more than 3 % between the block's halves. Too few runs for that pass.

    Args:
        durations: The timed runs in order, in any unit.
    """
    runs = np.asarray(durations, dtype=np.float64)
    if runs.size < 2 * _STEADY_BATCHES:
        return True
    medians = np.log([np.median(batch) for batch in np.array_split(runs, _STEADY_BATCHES)])
    half = _STEADY_BATCHES // 2
    if abs(np.mean(medians[half:]) - np.mean(medians[:half])) <= _STEADY_SHIFT_LOG:
        return True
    place = np.arange(_STEADY_BATCHES) - (_STEADY_BATCHES - 1) / 2
    slope = float(place @ medians / (place @ place))
    residual = medians - medians.mean() - slope * place
    degrees = _STEADY_BATCHES - 2
    slope_error = math.sqrt(float(residual @ residual) / degrees / float(place @ place))
    return abs(slope) <= student_t_quantile(_STEADY_PROBABILITY, degrees) * slope_error


@lru_cache(maxsize=256)
def student_t_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t: the closed distribution function for whole degrees of freedom, inverted by bisection.

    Source: Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.3 and 26.7.4.

    Args:
        probability: In [0.5, 1).
        degrees: Degrees of freedom, at least 1.
    """
    if not 0.5 <= probability < 1 or degrees < 1:
        raise ValueError(f"needs 0.5 <= probability < 1 and degrees >= 1, got {probability} and {degrees}")
    central = 2 * probability - 1  # A(t | degrees) = P(|T| <= t)
    low, high = 0.0, math.pi / 2  # of the angle atan(t / sqrt(degrees)), in which A is smooth and bounded
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _central_probability(middle, degrees) < central else (low, middle)
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def student_t_cdf(value: float, degrees: int) -> float:
    """P(T <= value) of Student's t with whole degrees of freedom, at least 1."""
    if degrees < 1:
        raise ValueError(f"needs degrees >= 1, got {degrees}")
    central = _central_probability(math.atan(abs(value) / math.sqrt(degrees)), degrees)
    return 0.5 + math.copysign(0.5 * central, value)


def _central_probability(angle: float, degrees: int) -> float:
    """P(|T| <= sqrt(degrees) tan(angle))."""
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(1, (degrees - odd) // 2):
        term *= cosine**2 * (2 * k - 1 + odd) / (2 * k + odd)
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def _interval(logs: npt.NDArray[np.float64], is_table: bool, floor: float) -> tuple[float, float, float]:
    """Mean, its standard error, and half-width of the interval, of K log values."""
    count, mean = logs.size, float(np.mean(logs))
    if count > 1:
        error = float(np.std(logs, ddof=1)) / math.sqrt(count)
        half_width = student_t_quantile(_UPPER, count - 1) * error
    elif is_table:
        error = half_width = 0.0
    else:
        error = PRIOR_SD_LOG
        half_width = student_t_quantile(_UPPER, PRIOR_DEGREES) * error
    # The floor is known, not estimated from these blocks: normal, not Student.
    return mean, max(error, floor), max(half_width, NormalDist().inv_cdf(_UPPER) * floor)


def _grade(
    blocks: Sequence[Block], used: Sequence[Block], half_width: float, target: float
) -> tuple[Grade, tuple[str, ...]]:
    """The worst of the findings, and all of them as sentences."""
    rejected = Counter(block.reason or "no reason given" for block in blocks if block.status == "rejected")
    why = ", ".join(f"{reason}: {count}" for reason, count in rejected.items())
    if not used:
        return "F", (f"no block could be used ({why})" if why else "no block was measured",)
    findings: list[tuple[Grade, str]] = []
    if rejected:
        share = rejected.total() / len(blocks)
        findings.append(
            ("C" if share > _MANY_REJECTED else "B", f"{rejected.total()} of {len(blocks)} blocks rejected ({why})")
        )
    if half_width > target:
        grade: Grade = "C" if half_width > 2 * target else "B"
        findings.append((grade, f"interval of ±{half_width:.1%} where ±{target:.1%} was asked for"))
    if used[0].statistic != "table":
        findings.extend(_findings_of_runs(used))
    grades = [grade for grade, _ in findings]
    return max(grades, default="A"), tuple(reason for _, reason in findings)


def doubt(reason: str) -> str:
    """What a reason of a grade is about, without its numbers, so that those of many measurements can be counted."""
    return next((kind for part, kind in _DOUBTS.items() if part in reason), reason)


_DOUBTS = {
    "blocks rejected": "blocks were rejected",
    "no block": "there is no usable block",
    "was asked for": "the interval is wider than asked for",
    "are needed": "too few usable blocks",
    "reports means": "the runner reports means",
    "noisy runs": "noisy runs",
    "the CPU was shared": "the CPU was shared with other work",
}


def _findings_of_runs(used: Sequence[Block]) -> list[tuple[Grade, str]]:
    """What blocks that really ran show about their quality."""
    findings: list[tuple[Grade, str]] = []
    if len(used) < _ENOUGH_BLOCKS:
        findings.append(("C", f"{len(used)} usable block{'s' if len(used) > 1 else ''}, {_ENOUGH_BLOCKS} are needed"))
    if any(block.statistic == "mean" for block in used):
        findings.append(("B", "the runner reports means, which outliers distort, and no medians"))
    spreads = [block.p95_ms / block.value_ms for block in used if block.p95_ms is not None]
    if spreads and (spread := float(np.median(spreads))) > _NOISY_SPREAD:
        findings.append(("B", f"noisy runs: their 95th percentile is {spread:.2f} times the latency"))
    shares = [block.conditions["cpu_share"] for block in used if block.conditions.get("cpu_share") is not None]
    if shares and (share := float(np.median(shares))) < _SHARED_CPU:
        findings.append(("C", f"the CPU was shared with other work: {share:.0%} of it was had"))
    return findings
