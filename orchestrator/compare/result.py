"""Comparison of two runs: ratios with intervals per model and pooled, rank correlation, and what else changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.compare.changes import Change, condition_changes, device_changes, environment_changes
from orchestrator.compare.latencies import Latency, RunLatencies, read_latencies
from orchestrator.compare.pairs import ModelPair, Place, pair_models, pair_places, places
from orchestrator.errors import DataPartial
from profiling.compare import Effect, Policy, Verdict, compare_sessions, pooled, verdicts
from profiling.records import Failure, Measurement
from profiling.spread import Session

SCHEMA_VERSION = 1  # of the JSON; larger when a meaning changes


@dataclass(frozen=True)
class ModelComparison:
    """One model.

    Attributes:
        pair: Its names and bytes.
        before_ms, now_ms: Latencies: exp of the mean log value of all blocks.
        effect: Its whole change.
        verdict: See `profiling.compare.verdicts`; None on different devices, where models differ anyway.
    """

    pair: ModelPair
    before_ms: float
    now_ms: float
    effect: Effect
    verdict: Verdict | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "model": self.pair.now,
            "matched_by": self.pair.by,
            "artifact_sha256": {"before": self.pair.sha256_before, "now": self.pair.sha256_now},
            "latency_ms": {"before": self.before_ms, "now": self.now_ms},
            **effect_json(self.effect),
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class PlaceComparison:
    """One device and setting against one of the other run.

    Attributes:
        before, now: Which.
        models: Those of both, the slowest-grown first.
        pooled: The change of a typical model.
        spearman, kendall: Rank correlation of the models' latencies; None for fewer than 3.
        changes: What else is different: the device's system, its conditions.
        only_before, only_now: Names of models that only one run measured there.
    """

    before: Place
    now: Place
    models: tuple[ModelComparison, ...]
    pooled: Effect
    spearman: float | None
    kendall: float | None
    changes: tuple[Change, ...]
    only_before: tuple[str, ...]
    only_now: tuple[str, ...]

    @property
    def same_device(self) -> bool:
        """Whether both are one device."""
        return self.before.phone == self.now.phone

    @property
    def system_changes(self) -> tuple[Change, ...]:
        """Those that make it another system."""
        return tuple(change for change in self.changes if change.system)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "before": {"device": self.before.device.to_json(), "setting": self.before.setting},
            "now": {"device": self.now.device.to_json(), "setting": self.now.setting},
            "same_device": self.same_device,
            "pooled": effect_json(self.pooled),
            "spearman": self.spearman,
            "kendall": self.kendall,
            "changes": [change.to_json() for change in self.changes],
            "models": [model.to_json() for model in self.models],
            "only_before": list(self.only_before),
            "only_now": list(self.only_now),
        }


@dataclass(frozen=True)
class RunComparison:
    """Two runs.

    Attributes:
        before, now: Which.
        places: By device and setting.
        environment: What changed in the programs that measured.
    """

    before: RunLatencies
    now: RunLatencies
    places: tuple[PlaceComparison, ...]
    environment: tuple[Change, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; what `nag compare --json` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "runs": {side: {"folder": str(run.folder), "kind": run.kind} for side, run in self._runs.items()},
            "environment": [change.to_json() for change in self.environment],
            "comparisons": [place.to_json() for place in self.places],
        }

    @property
    def _runs(self) -> dict[str, RunLatencies]:
        return {"before": self.before, "now": self.now}


def compare_runs(
    before: Path, now: Path, *, policy: Policy | None = None, devices: Mapping[str, str] | None = None
) -> RunComparison:
    """Compare the same models on two runs.

    Args:
        before, now: Run folders of any kind; the same one twice compares two of its devices.
        policy: The margin of verdicts.
        devices: Device before -> device now, where not each with itself; see `pair_places`.

    Raises:
        RunFolderError: One of them cannot be read.
        ConfigError: A device that is asked for is not there.
        DataPartial: They have nothing in common.
    """
    first, second = read_latencies(before), read_latencies(now)
    found = [
        _compare_place(
            [latency for latency in first.latencies if _is_at(latency, a)],
            [latency for latency in second.latencies if _is_at(latency, b)],
            (a, b),
            policy or Policy(),
        )
        for a, b in pair_places(places(first.latencies), places(second.latencies), devices)
    ]
    compared = tuple(place for place in found if place is not None)
    if not compared:
        raise DataPartial(
            f"{before} and {now} have no model in common that was measured on a device of both",
            "devices: "
            + "; ".join(", ".join(_names(run)) or "none" for run in (first, second))
            + ". Two different devices are compared with --device BEFORE=NOW",
        )
    return RunComparison(first, second, compared, environment_changes(first.environment, second.environment))


def sessions_of(latencies: Iterable[Latency], key: Mapping[str, str]) -> list[Session]:
    """Sessions on one device under one setting.

    Args:
        latencies: What was measured there.
        key: Model's name -> what to call it; others are left out.
    """
    wanted = sorted((each for each in latencies if each.model in key), key=lambda each: each.session)
    sessions = []
    for _, members in groupby(wanted, key=lambda each: each.session):
        logs = {}
        for each in members:
            values = used_logs(each.result)
            if values.size:
                logs[key[each.model]] = values
        sessions.append(Session(logs))
    return [session for session in sessions if session.logs]


def used_logs(result: Measurement | Failure) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Logs of the values of a result's usable blocks, `[K]`."""
    if isinstance(result, Failure):
        return np.empty(0)
    return np.log([block.value_ms for block in result.blocks if block.status == "ok" and block.value_ms > 0])


def effect_json(effect: Effect) -> dict[str, float]:
    """Plain values."""
    return {
        "ratio": effect.ratio,
        "ci_low_ratio": effect.low,
        "ci_high_ratio": effect.high,
        "p_value": effect.p_value,
    }


def _compare_place(
    before: Sequence[Latency], now: Sequence[Latency], at: tuple[Place, Place], policy: Policy
) -> PlaceComparison | None:
    pairs = pair_models(before, now)
    # Names in both runs may mean different models: what is compared is named by its present name.
    earlier = sessions_of(before, {pair.before: pair.now for pair in pairs})
    later = sessions_of(now, {pair.now: pair.now for pair in pairs})
    changes = (*device_changes(at[0].device, at[1].device), *condition_changes(before, now))
    same_device = at[0].phone == at[1].phone
    same_system = not any(change.system for change in changes)
    try:
        comparison = compare_sessions([earlier], later, policy, same_system=same_system)
    except ValueError:
        return None
    judged = verdicts(comparison.total, policy) if same_device else {}
    models = [
        ModelComparison(
            pair, _latency_ms(earlier, pair.now), _latency_ms(later, pair.now), effect, judged.get(pair.now)
        )
        for pair in pairs
        if (effect := comparison.total.get(pair.now)) is not None
    ]
    models.sort(key=lambda model: -model.effect.log_ratio)
    paired_before, paired_now = {pair.before for pair in pairs}, {pair.now for pair in pairs}
    return PlaceComparison(
        *at,
        tuple(models),
        pooled(comparison),
        *_ranks(models),
        changes,
        tuple(sorted({each.model for each in before} - paired_before)),
        tuple(sorted({each.model for each in now} - paired_now)),
    )


def _latency_ms(sessions: Sequence[Session], model: str) -> float:
    logs = [session.logs[model] for session in sessions if model in session.logs]
    return math.exp(float(np.concatenate(logs).mean()))


def _ranks(models: Sequence[ModelComparison]) -> tuple[float | None, float | None]:
    """Spearman's and Kendall's correlation of latencies before and now."""
    from scipy.stats import kendalltau, spearmanr  # type: ignore[import-untyped]

    before, now = [model.before_ms for model in models], [model.now_ms for model in models]
    if len(models) < 3 or len(set(before)) < 2 or len(set(now)) < 2:
        return None, None
    return float(spearmanr(before, now).statistic), float(kendalltau(before, now).statistic)


def _is_at(latency: Latency, place: Place) -> bool:
    return latency.phone == place.phone and latency.setting == place.setting


def _names(run: RunLatencies) -> list[str]:
    return list(dict.fromkeys(place.device.name for place in places(run.latencies)))
