"""Command line and output of TFLite's `benchmark_model`, the interpreter tool, across its versions.

Pure functions: `command` makes the argument vector, `parse` turns what the process left behind into a `Block` or a
`Failure`. A number is returned only when it is certain what was timed: the exit code was 0, every flag was known to
the tool, the delegate that was asked for ran the whole graph, and the statistics of the measured phase agree with
themselves and with the closing summary line. Everything else is a typed failure.

What the tool guarantees (its own source): `num_runs` and `warmup_runs` are minimums, `min_secs` extends them,
`max_secs` is looked at between runs and bounds warm-up and measurement separately; the summary repeats both means
with the digits of the statistics lines; unknown flags are only warned about; a failed inference still prints its
timings, and only the exit code tells.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from device_agent import runner_failures
from device_agent.affinity import mask
from device_agent.errors import WrongRequest
from profiling.plan import MeasurementPlan
from profiling.records import Block, Failure

# What the tool calls each accelerator in the lines that say how much of the graph it took.
ACCELERATORS: Mapping[str, str] = {"gpu": "GPU", "nnapi": "NNAPI", "external": "EXTERNAL"}

# Warm-up and measurement may each take this share of a block's deadline; the rest is for loading the model, for
# compiling it for a delegate, and for the one inference by which each phase may overrun.
PHASE_SHARE = 0.4
# What the host waits beyond the process's own deadline: starting a shell and fetching the output over a slow link.
LINK_SLACK_S = 5.0

Coverage = Literal["full", "partial", "none", "unknown"]


def split_delegate(delegate: str) -> tuple[str, str]:
    """A plan's delegate as (kind, library path): `cpu`, `none`, `gpu`, `nnapi` or `external`, and a path for the last.

    Raises:
        WrongRequest: No such delegate.
    """
    kind, _, path = delegate.partition(":")
    kind = "cpu" if kind == "xnnpack" else kind
    if kind not in ("cpu", "none", *ACCELERATORS) or (kind == "external") != bool(path):
        raise WrongRequest(
            f"unknown delegate {delegate!r}", hint="delegates are cpu (XNNPACK), none, gpu, nnapi and external:PATH"
        )
    return kind, path


def runs_for(plan: MeasurementPlan, latency_ms: float | None = None) -> int:
    """Timed inferences that fill the plan's `block_seconds`, within its bounds; the minimum when nothing is known."""
    if latency_ms is None or not latency_ms > 0:
        return plan.min_runs
    return max(plan.min_runs, min(plan.max_runs, math.ceil(1000 * plan.block_seconds / latency_ms)))


def max_secs(plan: MeasurementPlan) -> float:
    """`--max_secs` of a block: bounds warm-up and measurement separately."""
    return PHASE_SHARE * plan.deadline_s


def deadline_s(plan: MeasurementPlan) -> float:
    """How long the host waits for one block before it kills the process and reports a timeout.

    The process itself is done within `plan.deadline_s` unless it hangs: start-up + 2 `max_secs` + 2 inferences.
    """
    return plan.deadline_s + LINK_SLACK_S


def command(
    binary: str,
    graph: str,
    plan: MeasurementPlan,
    *,
    runs: int | None = None,
    result_file: str | None = None,
    require_full_delegation: bool = True,
    extra_flags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    """The argument vector of one block, for a shell that quotes it or for exec.

    Args:
        binary: The tool's path on the device.
        graph: The model's path on the device.
        plan: Runs, warm-up, threads, affinity, delegate, deadline.
        runs: Timed inferences, exactly, unless `max_secs` ends the phase first; None: the plan's minimum.
        result_file: Where recent builds write a binary `BenchmarkResult`; older builds do not know the flag.
        require_full_delegation: Have the tool itself refuse a graph that an accelerator does not take whole. Leave
            off only for builds that do not know the flag; `parse` then relies on the coverage line alone.
        extra_flags: More flags, as `--name=value`.
        environment: Variables for the process. None: for `external:PATH`, the library's folder as the search path
            of the loader and of the DSP.

    Raises:
        WrongRequest: The plan cannot be run: unknown delegate, another clock than the wall's, or more threads than
            processors to run them on.
    """
    kind, library = split_delegate(plan.delegate)
    if plan.clock != "wall":
        raise WrongRequest(f"no clock {plan.clock!r} on phones", hint="only the host has one")
    if plan.affinity and plan.threads > len(set(plan.affinity)):
        raise WrongRequest(
            f"{plan.threads} threads on {len(set(plan.affinity))} processors",
            hint="give the plan at most as many threads as processors to run on",
        )
    if environment is None:
        folder = posixpath.dirname(library)
        environment = {"LD_LIBRARY_PATH": folder, "ADSP_LIBRARY_PATH": folder} if folder else {}
    launcher = ["env", *(f"{name}={value}" for name, value in environment.items())] if environment else []
    if plan.affinity:
        launcher += ["taskset", mask(plan.affinity)]
    flags = {
        "graph": graph,
        "num_threads": plan.threads,
        "num_runs": plan.min_runs if runs is None else runs,
        "min_secs": 0,  # otherwise num_runs would only be a minimum
        "warmup_runs": plan.warmup_runs,
        "warmup_min_secs": f"{plan.warmup_seconds:g}",
        "max_secs": f"{max_secs(plan):g}",
    }
    if kind in ("cpu", "none"):
        flags["use_xnnpack"] = "true" if kind == "cpu" else "false"
    elif kind == "gpu":
        flags["use_gpu"] = "true"
    elif kind == "nnapi":
        flags["use_nnapi"] = "true"
        flags["disable_nnapi_cpu"] = "true"  # nnapi-reference is a CPU fallback that no coverage line shows
    else:
        flags["external_delegate_path"] = library
    if kind in ACCELERATORS and require_full_delegation:
        flags["require_full_delegation"] = "true"
    if result_file is not None:
        flags["result_file_path"] = result_file
    return [*launcher, binary, *(f"--{name}={value}" for name, value in flags.items()), *extra_flags]


def parse(
    stdout: str, stderr: str, exit_code: int, plan: MeasurementPlan, *, runs: int | None = None
) -> Block | Failure:
    """What one process of the tool measured, or why it did not.

    Args:
        stdout: Standard output; may hold standard error too, where a shell merges them.
        stderr: Standard error.
        exit_code: Of the tool; negative for a signal, as `subprocess` has it.
        plan: What was asked for.
        runs: Timed inferences that were asked for, if not the plan's minimum.

    Returns:
        The block, with index 0 and without times of day, which only the caller knows; `conditions` holds threads,
        delegate, delegate_coverage and, where it was printed, memory_mb. Or the failure. Never raises for any text.
    """
    text = f"{stdout}\n{stderr}"
    kind, _ = split_delegate(plan.delegate)
    failure = runner_failures.of_exit(exit_code, text) or runner_failures.of_flags(text)
    coverage: Coverage = "unknown"
    if failure is None:
        coverage, failure = _coverage(text, kind)
    if failure is None:
        timing = _timing(stdout, plan.min_runs if runs is None else runs)
        if isinstance(timing, _Timing):
            return timing.block(_conditions(stdout, plan, coverage))
        failure = timing
    return runner_failures.with_tail(failure, stderr.strip() or stdout.strip())


def _conditions(stdout: str, plan: MeasurementPlan, coverage: Coverage) -> dict[str, object]:
    conditions: dict[str, object] = {
        "threads": plan.threads,
        "delegate": plan.delegate,
        "delegate_coverage": coverage,
    }
    if (memory := _MEMORY.search(stdout)) and math.isfinite(float(memory[1])):
        conditions["memory_mb"] = float(memory[1])
    return conditions


# Delegate coverage ----------------------------------------------------------------------------------------------

_COVERED = re.compile(
    r"pplied (?P<name>\w+) delegate, and the model graph will be (?P<how>completely|partially) executed"
)
_NOT_COVERED = re.compile(r"Though (?P<name>\w+) delegate is explicitly applied, the model graph will not be executed")
_FALLBACK_TELLS = re.compile(
    r"Could not create \w+ delegate"
    r"|^(?!.*Flex).*\b0 nodes delegated out of"  # builds with TensorFlow ops say this of every model
    r"|operations? will run on the GPU, and the remaining [1-9]\d*"
    r"|(?:GPU|NNAPI) acceleration is unsupported on this platform",
    re.MULTILINE,
)
_SILENT_ABOUT_COVERAGE = re.compile(r"Applied (\w+) delegate\.")
_FULL_WAS_REQUIRED = re.compile(r"Require full delegation ?: \[1\]")


def _coverage(text: str, kind: str) -> tuple[Coverage, Failure | None]:
    """How much of the graph the delegate ran; a failure when an accelerator was asked for and did not run it all."""
    name = ACCELERATORS.get(kind, "XNNPACK")
    said = {match["how"] for match in _COVERED.finditer(text) if match["name"] == name}
    none = any(match["name"] == name for match in _NOT_COVERED.finditer(text))
    if kind not in ACCELERATORS:  # what XNNPACK leaves over stays on the CPU: the same device, honestly labelled
        return ("none" if none else "partial" if "partially" in said else "full" if said else "unknown"), None
    tell = _FALLBACK_TELLS.search(text)
    if none or tell or "partially" in said:
        how_much = "part of it" if "partially" in said else "all of it"
        return "none", Failure(
            "model",
            "delegate_fallback",
            f"{name} was asked for, but {how_much} would run on the CPU"
            + (f" ({tell[0].strip()[:200]})" if tell else ""),
        )
    if said:
        return "full", None
    if any(match[1] == name for match in _SILENT_ABOUT_COVERAGE.finditer(text)):
        if _FULL_WAS_REQUIRED.search(text):  # builds of 2019 check it and say no more
            return "full", None
        return "unknown", Failure(
            "user", "runner_too_old", f"this runner does not say how much of the graph {name} ran"
        )
    return "unknown", Failure(
        "infrastructure", "delegate_unverified", f"the output does not say that {name} was applied"
    )


# Timings --------------------------------------------------------------------------------------------------------

_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"
_PREFIX = (
    r"(?:[0-9]{2}-[0-9]{2} [0-9:.]+ +[0-9]+ +[0-9]+ [VDIWEF] \S+ *: |[VDIWEF]/\S+ *\( *[0-9]+\): )?"  # logcat
    r"(?:INFO: )?"
)
_HEADER = re.compile(rf"{_PREFIX}Running benchmark for at least (?P<iterations>[0-9]{{1,9}}) iterations .*")
_STATS = re.compile(
    rf"{_PREFIX}count=(?P<count>[0-9]{{1,9}})"
    rf"(?: curr=(?P<only>{_NUMBER})(?P<same>\(all same\))?"
    rf"| first=(?P<first>{_NUMBER}) curr=(?P<curr>{_NUMBER}) min=(?P<min>{_NUMBER}) max=(?P<max>{_NUMBER})"
    rf" avg=(?P<mean>{_NUMBER}) std=(?P<std>{_NUMBER}))?"
    rf"(?: p5=(?P<p5>{_NUMBER}) median=(?P<median>{_NUMBER}) p95=(?P<p95>{_NUMBER}))?"
)
_MEAN = rf"(?:{_NUMBER}|-?nan)"
_SUMMARIES = (
    re.compile(
        rf"{_PREFIX}Inference timings in us: Init: (?P<init>{_NUMBER}), First inference: (?P<first>{_NUMBER}), "
        rf"Warmup \(avg\): (?P<warmup>{_MEAN}), Inference \(avg\): (?P<mean>{_NUMBER})"
    ),
    re.compile(  # 2018-2019
        rf"{_PREFIX}Average inference timings in us: Warmup: (?P<warmup>{_MEAN}), Init: (?P<init>{_NUMBER}), "
        rf"(?:no stats|Inference): (?P<mean>{_NUMBER})"
    ),
)
_MEMORY = re.compile(rf"emory footprint[\w ]* \(MB\): init={_NUMBER} overall=({_NUMBER})")
# The tool prints means with six significant digits.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class _Stats:
    """One statistics line, in microseconds.

    `percentiles` are p5, median and p95 where they are printed or follow; `as_printed` tells which of mean and
    percentiles the line itself has.
    """

    count: int
    first: float
    min: float
    max: float
    mean: float
    std: float
    percentiles: tuple[float, float, float] | None
    as_printed: tuple[bool, bool]

    def agrees_with(self, mean_us: float) -> bool:
        """Whether the summary's mean is the one of this line."""
        if self.count == 0 or math.isnan(mean_us):
            return self.count == 0 and math.isnan(mean_us)
        return self.mean == mean_us if self.as_printed[0] else math.isclose(self.mean, mean_us, rel_tol=_ROUNDING)

    def contradiction(self) -> str:
        """What cannot be true of any sample of durations; empty when all is well."""
        values = [self.first, self.min, self.max, self.mean, self.std, *(self.percentiles or ())]
        slack = _ROUNDING * self.max + 1  # the standard deviation is cut to whole microseconds
        if self.count < 1 or not all(math.isfinite(value) for value in values) or not self.min > 0:
            return "no positive, finite timings"
        if not (self.min <= self.first <= self.max and self.min - slack <= self.mean <= self.max + slack):
            return "min, first, mean and max are out of order"
        if self.std > (self.max - self.min) / 2 + slack:  # Popoviciu's inequality
            return "the standard deviation does not fit between min and max"
        if self.percentiles is not None:
            p5, median, p95 = self.percentiles
            if not self.min <= p5 <= median <= p95 <= self.max:
                return "the percentiles are out of order"
            if abs(median - self.mean) > self.std + slack:  # no median is further than that from its mean
                return "the median is too far from the mean"
        return ""


def _stats(line: str) -> _Stats | None:
    """The statistics of one whole line; None for any other line, cut ones included."""
    match = _STATS.fullmatch(line)
    if match is None:
        return None
    count = int(match["count"])
    percentiles = None
    if match["median"] is not None:
        percentiles = (float(match["p5"]), float(match["median"]), float(match["p95"]))
    printed = (match["mean"] is not None, percentiles is not None)
    if match["only"] is not None:
        if (count > 1) != (match["same"] is not None) or count < 1:
            return None
        value = float(match["only"])
        # Of equal values every percentile is known, whether it is printed or not.
        return _Stats(count, value, value, value, value, 0.0, percentiles or (value, value, value), printed)
    if match["mean"] is None:
        return _Stats(0, 0.0, 0.0, 0.0, math.nan, 0.0, None, printed) if count == 0 else None
    first, low, high, mean, std = (float(match[name]) for name in ("first", "min", "max", "mean", "std"))
    return _Stats(count, first, low, high, mean, std, percentiles, printed)


@dataclass(frozen=True)
class _Timing:
    """The measured phase, with start-up and first inference from the summary, in microseconds."""

    stats: _Stats
    init: float
    first: float | None

    def block(self, conditions: dict[str, object]) -> Block:
        stats = self.stats
        p5, median, p95 = stats.percentiles or (None, None, None)
        return Block(
            index=0,
            runs=stats.count,
            statistic="mean" if median is None else "median",
            value_ms=(stats.mean if median is None else median) / 1000,
            min_ms=stats.min / 1000,
            p5_ms=None if p5 is None else p5 / 1000,
            mean_ms=stats.mean / 1000,
            p95_ms=None if p95 is None else p95 / 1000,
            max_ms=stats.max / 1000,
            std_ms=stats.std / 1000,
            init_ms=self.init / 1000,
            first_ms=None if self.first is None else self.first / 1000,
            conditions=conditions,
        )


def _timing(stdout: str, runs: int) -> _Timing | Failure:
    """The measured phase's statistics: those right before the one summary line, which repeats their mean."""
    phases: list[tuple[int | None, _Stats]] = []
    asked: int | None = None
    summary: re.Match[str] | None = None
    for line in (raw.rstrip() for raw in stdout.split("\n")):
        if header := _HEADER.fullmatch(line):
            asked = int(header["iterations"])
        elif (stats := _stats(line)) is not None:
            if summary is not None:
                return _garbled("timings after the summary")
            phases.append((asked, stats))
        elif match := next((m for m in (pattern.fullmatch(line) for pattern in _SUMMARIES) if m), None):
            if summary is not None:
                return _garbled("more than one summary: several runs in one output")
            summary = match
    if summary is None or not phases:
        return Failure("infrastructure", "truncated_output", "the output ends before the timings")
    if len(phases) > 2:
        return _garbled("more than two phases")
    asked, measured = phases[-1]
    warmup = phases[0][1] if len(phases) == 2 else None
    warmup_us, init_us = float(summary["warmup"]), float(summary["init"])
    if asked is not None and asked != runs:
        return _garbled(f"the last phase was asked for {asked} runs, not {runs}")
    if not measured.agrees_with(float(summary["mean"])):
        return _garbled("the summary's mean is not that of the last phase")
    if warmup is None and measured.agrees_with(warmup_us):
        return _garbled("only one phase, and it may be the warm-up")
    if warmup is not None and not warmup.agrees_with(warmup_us):
        return _garbled("the summary's warm-up mean is not that of the first phase")
    if warmup is not None and warmup.count and warmup.as_printed[1] != measured.as_printed[1]:
        return _garbled("only one of the phases has percentiles")
    if contradiction := measured.contradiction():
        return _garbled(contradiction)
    first = summary.groupdict().get("first")
    first_us = float(first) if first is not None else warmup.first if warmup is not None and warmup.count else None
    if not (math.isfinite(init_us) and math.isfinite(first_us or 0)):
        return _garbled("start-up or first inference took for ever")
    return _Timing(measured, init_us, first_us)


def _garbled(why: str) -> Failure:
    return Failure("infrastructure", "garbled_output", f"the timings cannot be trusted: {why}")
