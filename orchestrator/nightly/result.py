"""What a night found: per phone and model, with what it was compared with, and how the program should end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.compare.changes import Change
from orchestrator.compare.result import effect_json
from profiling.compare import Effect
from profiling.records import DeviceInfo, Failure

Status = Literal["slower", "broken", "faster", "same", "unclear", "new", "failed", "missing"]
"""`slower`: an alarm. `broken`: it worked in the baseline, and fails now: an alarm. `unclear`: more measuring would
tell. `new`: the baseline has nothing to compare with. `failed`: it cannot be measured, and was not before. `missing`:
the phone was not there."""

ALARMS: tuple[Status, ...] = ("slower", "broken")
INCOMPLETE: tuple[Status, ...] = ("failed", "missing")
REGRESSION, PARTIAL = 1, 3


@dataclass(frozen=True)
class ModelResult:
    """A model on a phone.

    Attributes:
        model: Its name.
        status: See `Status`.
        artifact_sha256: What ran.
        now_ms, before_ms: Latencies; None where there is none.
        own: Its change beyond what the phone's models share; what the status is about.
        total: Its whole change.
        measured_again: Whether it was measured again, as a suspect or as a control.
        rebuilt: Whether the baseline ran other bytes.
        failure: Why there is no latency.
        suspect: Why a drift of the phone may have touched it.
    """

    model: str
    status: Status
    artifact_sha256: str = ""
    now_ms: float | None = None
    before_ms: float | None = None
    own: Effect | None = None
    total: Effect | None = None
    measured_again: bool = False
    rebuilt: bool = False
    failure: Failure | None = None
    suspect: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "model": self.model,
            "status": self.status,
            "artifact_sha256": self.artifact_sha256,
            "latency_ms": self.now_ms,
            "baseline_latency_ms": self.before_ms,
            "own_change": effect_json(self.own) if self.own else None,
            "total_change": effect_json(self.total) if self.total else None,
            "measured_again": self.measured_again,
            "compiled_otherwise": self.rebuilt,
            "failure": self.failure.to_json() if self.failure else None,
            "suspect": self.suspect,
        }


@dataclass(frozen=True)
class PhoneResult:
    """A phone, under one setting.

    Attributes:
        device: Which; as in the baseline, if it was missing.
        setting: How models ran.
        status: Of what all its models share; `new` without a baseline.
        shift: The change that its models share.
        detectable: The smallest slow-down of a model (the median one) that is found with a probability of 95 %, from
            so many measurements; measuring suspects again finds smaller ones. None without a baseline.
        changes: What else changed since the baseline: build, runtime, conditions.
        models: All of them.
        measured_again: Whether something on it looked slower at first, and was measured again.
        passes_missed: Measurements of models that were made in some passes, and not in all.
    """

    device: DeviceInfo
    setting: str
    status: Status
    models: tuple[ModelResult, ...]
    shift: Effect | None = None
    detectable: float | None = None
    changes: tuple[Change, ...] = ()
    measured_again: bool = False
    passes_missed: int = 0

    @property
    def other_system(self) -> tuple[Change, ...]:
        """Why the baseline is that of another system: another build or runtime."""
        return tuple(change for change in self.changes if change.system)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "device": self.device.to_json(),
            "setting": self.setting,
            "status": self.status,
            "shift": effect_json(self.shift) if self.shift else None,
            "detectable_ratio": self.detectable,
            "other_system": bool(self.other_system),
            "changes": [change.to_json() for change in self.changes],
            "measured_again": self.measured_again,
            "passes_missed": self.passes_missed,
            "models": [model.to_json() for model in self.models],
        }


@dataclass(frozen=True)
class CampaignResult:
    """A campaign of the night.

    Attributes:
        name: Its name.
        status: `same` (it found something), `broken` (nothing that meets its goal), `missing` (its devices).
        best: Its most accurate winner's metrics.
        hypervolume: Of its front; None for a goal with constraints.
        before: The same of the baseline; None where that has no such campaign.
        detail: What is wrong.
    """

    name: str
    status: Status
    best: dict[str, float] = field(default_factory=dict)
    hypervolume: float | None = None
    before: float | None = None
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "status": self.status,
            "best": self.best,
            "hypervolume": self.hypervolume,
            "baseline_hypervolume": self.before,
            "detail": self.detail,
        }


@dataclass(frozen=True)
class NightResult:
    """A night.

    Attributes:
        name: Of its configuration.
        run: Its folder.
        baseline: What it was compared with; empty: it can be a baseline for others.
        started_at, ended_at: Seconds since the epoch.
        margin: Slow-downs up to this do not matter.
        phones: What was measured there.
        campaigns: What they found.
        notes: What a reader must know: no baseline, another runtime, models in no pass.
    """

    name: str
    run: str
    baseline: tuple[str, ...]
    started_at: float
    ended_at: float
    margin: float
    phones: tuple[PhoneResult, ...]
    campaigns: tuple[CampaignResult, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> Counter[str]:
        """Status -> models on phones, phones as a whole and campaigns."""
        return Counter(self._statuses())

    @property
    def exit_code(self) -> int:
        """1: a regression; 3: something is missing; 0: neither."""
        counts = self.counts
        if any(counts[status] for status in ALARMS):
            return REGRESSION
        incomplete = any(counts[status] for status in INCOMPLETE) or any(phone.passes_missed for phone in self.phones)
        return PARTIAL if incomplete else 0

    @property
    def alarms(self) -> tuple[str, ...]:
        """Each as a sentence: which model, where, by how much, how sure."""
        found = []
        for phone in self.phones:
            if phone.status == "slower" and phone.shift is not None:
                found.append(f"all models on {phone.device.name} ({phone.setting}): {change_text(phone.shift)}")
            for model in phone.models:
                if model.status == "slower" and model.own is not None:
                    found.append(f"{model.model} on {phone.device.name} ({phone.setting}): {change_text(model.own)}")
                elif model.status == "broken":
                    why = model.failure.detail if model.failure else "no block could be used"
                    found.append(f"{model.model} on {phone.device.name} ({phone.setting}): fails now: {why}")
        found += [f"campaign {each.name}: {each.detail}" for each in self.campaigns if each.status == "broken"]
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for dashboards."""
        return {
            "schema_version": 1,
            "name": self.name,
            "run": self.run,
            "baseline": list(self.baseline),
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "margin": self.margin,
            "exit_code": self.exit_code,
            "counts": dict(sorted(self.counts.items())),
            "alarms": list(self.alarms),
            "notes": list(self.notes),
            "phones": [phone.to_json() for phone in self.phones],
            "campaigns": [campaign.to_json() for campaign in self.campaigns],
        }

    def _statuses(self) -> Iterator[str]:
        for phone in self.phones:
            yield phone.status
            yield from (model.status for model in phone.models)
        yield from (campaign.status for campaign in self.campaigns)


def change_text(effect: Effect) -> str:
    """`5.1 % slower [3.2 %, 7.0 %], p = 0.00012`."""
    way = "slower" if effect.log_ratio >= 0 else "faster"
    ends = sorted((abs(effect.low - 1), abs(effect.high - 1))) if (effect.low - 1) * (effect.high - 1) > 0 else None
    interval = f"[{ends[0]:.1%}, {ends[1]:.1%}]" if ends else f"[{effect.low - 1:+.1%}, {effect.high - 1:+.1%}]"
    return f"{abs(effect.ratio - 1):.1%} {way}, 95 % interval {interval}, p = {effect.p_value:.2g}"
