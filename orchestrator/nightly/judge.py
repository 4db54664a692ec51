"""Judgement of a night: each phone against its baseline, in two stages.

First, what looks slower by more than the margin is suspect, however surely. Suspects are measured again in the same
night, along with controls. Then everything is judged together, and an alarm is raised only for what is surely slower
with all measurements, and looks slower with the new ones alone: a disturbance of one pass raises none. Stopping early
where nothing looks slower can only make false alarms rarer.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.compare.changes import Change, condition_changes, device_changes
from orchestrator.compare.latencies import Latency, RunLatencies
from orchestrator.compare.pairs import ModelPair, Place, pair_models, pair_places, places
from orchestrator.compare.result import sessions_of
from orchestrator.nightly.night import AGAIN, PASSES
from orchestrator.nightly.result import ModelResult, PhoneResult, Status
from profiling.compare import DeviceComparison, Effect, Policy, Verdict, compare_sessions, confirmed, is_suspect
from profiling.records import DeviceInfo, Failure, Measurement
from profiling.spread import Session

SHIFT = ""  # stands for all models of a phone
Key = tuple[str, str, str]  # phone, setting, model


@dataclass(frozen=True)
class PlaceNight:
    """A phone with a setting: its night, and its baseline.

    Attributes:
        place: Which.
        latencies: Every result of the night there.
        baseline: The same of the baseline; empty: it has none.
        base_places: Where that was, in each of the baselines that has it.
        pairs: Tonight's name -> the model in the baseline.
        comparison: Of all sessions; None without a baseline.
        fresh: Of those again over suspects alone; None: there are none.
    """

    place: Place
    latencies: tuple[Latency, ...]
    baseline: tuple[Latency, ...] = ()
    base_places: tuple[Place, ...] = ()
    pairs: Mapping[str, ModelPair] | None = None
    comparison: DeviceComparison | None = None
    fresh: DeviceComparison | None = None

    @property
    def changes(self) -> tuple[Change, ...]:
        """What else changed since the baseline."""
        if not self.base_places:
            return ()
        return (*self.device_changes, *condition_changes(self.baseline, self.latencies))

    @property
    def device_changes(self) -> tuple[Change, ...]:
        """Of the device and its system, since any of the baselines."""
        each = [device_changes(place.device, self.place.device) for place in self.base_places]
        return tuple(dict.fromkeys(change for changes in each for change in changes))


def compare_places(night: RunLatencies, baselines: Sequence[RunLatencies], policy: Policy) -> tuple[PlaceNight, ...]:
    """Every phone and setting of a night, against the baselines."""
    own = [latency for latency in night.latencies if latency.session.startswith((PASSES, AGAIN))]
    return tuple(_compare(place, own, baselines, policy) for place in places(own))


def suspects(found: Iterable[PlaceNight], policy: Policy) -> dict[tuple[str, str], set[str]]:
    """(phone, setting) -> models that look slower; `SHIFT` among them: the phone as a whole does."""
    result = {}
    for each in found:
        if each.comparison is None:
            continue
        names = {model for model, effect in each.comparison.own.items() if is_suspect(effect, policy)}
        if is_suspect(each.comparison.shift, policy):
            names.add(SHIFT)
        if names:
            result[each.place.phone, each.place.setting] = names
    return result


def judge(
    found: Sequence[PlaceNight],
    baselines: Sequence[RunLatencies],
    models: Sequence[str],
    others: Sequence[Latency],
    policy: Policy,
    passes: int,
    expected: Callable[[DeviceInfo], bool] = lambda device: True,
) -> tuple[PhoneResult, ...]:
    """What the night says of every phone, those that were not there included.

    Args:
        found: From `compare_places`.
        baselines: What it was compared with.
        models: Names of all models of the night.
        others: Every result of the night: failures do not say on which of several phones they happened.
        policy: When a difference is an alarm.
        passes: How often all models were to be measured.
        expected: Whether a device of the baseline is to be there tonight.
    """
    effects: dict[Key, Effect] = {}
    again: dict[Key, Effect] = {}
    for each in found:
        effects |= _effects(each, each.comparison)
        again |= _effects(each, each.fresh)
    judged = confirmed(effects, again, policy)
    phones = [
        replace(_phone(each, judged, models, others, policy), passes_missed=_missed(each, passes)) for each in found
    ]
    everything = [*phones, *_missing(found, baselines, expected)]
    return tuple(sorted(everything, key=lambda phone: (phone.device.name, phone.setting)))


def _compare(place: Place, own: Sequence[Latency], baselines: Sequence[RunLatencies], policy: Policy) -> PlaceNight:
    here = tuple(each for each in own if each.phone == place.phone and each.setting == place.setting)
    earlier: list[Latency] = []
    groups: list[list[Session]] = []
    pairs: dict[str, ModelPair] = {}
    base_places: list[Place] = []
    for baseline in baselines:
        usable = [each for each in baseline.latencies if not each.session.startswith(AGAIN)]
        there = [at for at in places(usable) if at.phone == place.phone]
        matched = pair_places(there, [place])
        if not matched:
            continue
        (base_place, _) = matched[0]
        members = [e for e in usable if e.phone == place.phone and e.setting == base_place.setting]
        found = pair_models(members, here)
        pairs |= {pair.now: pair for pair in found}
        groups.append(sessions_of(members, {pair.before: pair.now for pair in found}))
        earlier += members
        base_places.append(base_place)
    groups = [group for group in groups if group]
    if not groups:
        return PlaceNight(place, here)
    night = PlaceNight(place, here, tuple(earlier), tuple(base_places), pairs)
    same_system = not any(change.system for change in night.device_changes)

    def against(latencies: Iterable[Latency]) -> DeviceComparison | None:
        sessions = sessions_of(latencies, {name: name for name in pairs})
        return compare_sessions(groups, sessions, policy, same_system=same_system) if sessions else None

    again = [each for each in here if each.session.startswith(AGAIN)]
    return replace(night, comparison=against(here), fresh=against(again))


def _phone(
    each: PlaceNight,
    judged: Mapping[Key, Verdict],
    models: Sequence[str],
    others: Sequence[Latency],
    policy: Policy,
) -> PhoneResult:
    at, comparison = (each.place.phone, each.place.setting), each.comparison
    results = tuple(_model(each, model, judged.get((*at, model)), others) for model in models)
    if comparison is None:
        return PhoneResult(each.place.device, each.place.setting, "new", results)
    return PhoneResult(
        each.place.device,
        each.place.setting,
        judged[*at, SHIFT],
        results,
        comparison.shift,
        statistics.median(effect.detectable(policy.margin) for effect in comparison.own.values()),
        each.changes,
        each.fresh is not None,
    )


def _model(each: PlaceNight, model: str, verdict: Verdict | None, others: Sequence[Latency]) -> ModelResult:
    mine = [latency for latency in each.latencies if latency.model == model]
    measured = [latency for latency in mine if _used(latency)]
    pair = (each.pairs or {}).get(model)
    before = [e for e in each.baseline if pair is not None and e.model == pair.before and _used(e)]
    if not measured:
        return _unmeasured(each, model, others)
    own = each.comparison.own.get(model) if each.comparison is not None else None
    result = ModelResult(
        model,
        "new",
        artifact_sha256=measured[-1].artifact_sha256,
        now_ms=_latency_ms(measured),
        before_ms=_latency_ms(before) if before else None,
        rebuilt=pair is not None and pair.rebuilt,
        suspect=next((latency.suspect for latency in measured if latency.suspect), ""),
    )
    if own is None or verdict is None or each.comparison is None:
        return result
    return replace(
        result,
        status=verdict,
        own=own,
        total=each.comparison.total[model],
        measured_again=each.fresh is not None and model in each.fresh.own,
    )


def _unmeasured(each: PlaceNight, model: str, others: Sequence[Latency]) -> ModelResult:
    """A model without a latency: why, and whether that is new."""
    device = each.place.device
    names = (device.name, device.model, "")
    failures = [
        other.result
        for other in others
        if other.model == model and isinstance(other.result, Failure) and other.device.name in names
        if other.setting in (each.place.setting, "")
    ]
    # A model that ran, though no block of it could be used, has no failure, but it is the phone's doing.
    if not failures:
        return ModelResult(model, "missing")
    worked = any(e.model == model and _used(e) for e in each.baseline)
    status: Status = "broken" if worked and failures[-1].kind in ("model", "timeout") else "failed"
    return ModelResult(model, status, failure=failures[-1])


def _missing(
    found: Sequence[PlaceNight], baselines: Sequence[RunLatencies], expected: Callable[[DeviceInfo], bool]
) -> list[PhoneResult]:
    """Phones of the baseline that were not there."""
    there = {each.place.phone for each in found}
    results: dict[tuple[str, str], PhoneResult] = {}
    for baseline in baselines:
        own = [each for each in baseline.latencies if "campaign " not in each.setting]
        for place in places(own):
            if place.phone not in there and expected(place.device):
                here = [each for each in own if each.phone == place.phone and each.setting == place.setting]
                names = dict.fromkeys(each.model for each in here if _used(each))
                models = tuple(ModelResult(name, "missing") for name in names)
                results[place.phone, place.setting] = PhoneResult(place.device, place.setting, "missing", models)
    return list(results.values())


def _effects(each: PlaceNight, comparison: DeviceComparison | None) -> dict[Key, Effect]:
    """Everything that is judged of a phone."""
    if comparison is None:
        return {}
    at = each.place.phone, each.place.setting
    return {(*at, SHIFT): comparison.shift, **{(*at, model): effect for model, effect in comparison.own.items()}}


def _missed(each: PlaceNight, passes: int) -> int:
    """Of the models that were measured at all."""
    full = [latency for latency in each.latencies if latency.session.startswith(PASSES) and _used(latency)]
    return sum(passes - number for number in Counter(latency.model for latency in full).values())


def _used(latency: Latency) -> bool:
    result = latency.result
    return isinstance(result, Measurement) and any(block.status == "ok" for block in result.blocks)


def _latency_ms(latencies: Iterable[Latency]) -> float:
    values = [
        block.value_ms
        for latency in latencies
        if isinstance(latency.result, Measurement)
        for block in latency.result.blocks
        if block.status == "ok"
    ]
    return math.exp(float(np.median(np.log(values))))
