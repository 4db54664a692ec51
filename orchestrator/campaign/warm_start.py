"""WarmStart: what earlier runs measured on this campaign's devices, kept in its own store.

Earlier measurements teach the surrogates. They are no candidates, count in no budget and stand on no front. A latency
holds only for the system that it was measured on: after an update of the phone, or of the runtime, it is no datum any
more, only a hint of what each operator costs, and the user is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from pathlib import Path

from device_agent.backend import MeasurementBackend
from orchestrator.campaign.config import ACCURACY, Config, SpaceConfig, latency_metric
from orchestrator.campaign.earlier import EarlierRun, How, read_earlier
from orchestrator.campaign.folder import RunFolder
from orchestrator.errors import DataError, DevicesMissing, RunFolderError
from orchestrator.optimize.observation import Observation, Observed
from profiling.records import DeviceInfo, Measurement, Record
from profiling.store import CampaignStore

_META = "warm_start"
_MOST = 400  # values of a metric: a surrogate's time grows with their cube, and they say little new
_PATIENCE_S = 60.0  # until a phone has been found and asked what it is
_ANOTHER = "this device was not measured there"


@dataclass(frozen=True)
class EarlierValue(Record):
    """One value of an earlier campaign.

    Attributes:
        slots: The architecture's choices.
        metric: As this campaign calls it.
        value: Percent, or milliseconds.
        variance: Squared standard error, for latency of its log; None where unknown.
    """

    slots: tuple[int, ...]
    metric: str
    value: float
    variance: float | None


@dataclass(frozen=True)
class Verdict(Record):
    """What became of one earlier campaign's values of one metric.

    Attributes:
        run: Its folder.
        metric: As this campaign calls it; empty where nothing of the run can be used.
        count: Values that are used as if they had been measured now.
        hints: Values that only say what operators may cost.
        reason: Why others, or all, are not used, or only as hints; empty where all are.
    """

    run: str
    metric: str
    count: int
    hints: int = 0
    reason: str = ""

    def __str__(self) -> str:
        used = [f"{self.count} values"] if self.count else []
        used += [f"{self.hints} values as a hint only"] if self.hints else []
        what = f"{' and '.join(used) or 'nothing'}{f' of {self.metric}' if self.metric else ''} from {self.run}"
        return f"{what}: {self.reason}" if self.reason else what


@dataclass(frozen=True)
class WarmStart(Record):
    """What a campaign begins with.

    Attributes:
        runs: Folders of the earlier campaigns, absolute; they may be gone by now.
        values: What holds now as it did then.
        hints: Latencies of the same device before an update, or of another phone of its model.
        verdicts: What is used, what is not, and why.
    """

    runs: tuple[str, ...] = ()
    values: tuple[EarlierValue, ...] = ()
    hints: tuple[EarlierValue, ...] = ()
    verdicts: tuple[Verdict, ...] = ()

    @cached_property
    def observations(self) -> tuple[Observation, ...]:
        """For the surrogates."""
        return tuple(
            Observation(each.slots, {each.metric: Observed(each.value, each.variance)}) for each in self.values
        )


def begin(folder: RunFolder, config: Config, backend: MeasurementBackend, runs: Sequence[Path]) -> WarmStart:
    """What the campaign in this folder begins with: as it was when it began, or, on its first day, as asked for.

    Args:
        folder: The campaign's.
        config: Of the campaign.
        backend: Its devices.
        runs: Folders of earlier campaigns.

    Raises:
        RunFolderError: A run cannot be read, or the campaign began with something else.
        DataError: Nothing of the runs can be used.
        DevicesMissing: A device does not say what system it has.
    """
    asked = tuple(str(run.resolve()) for run in runs)
    kept = read_warm_start(folder.store)
    if kept.runs:
        if asked and set(asked) != set(kept.runs):
            raise RunFolderError(
                f"{folder.path} began with what {', '.join(kept.runs)} had measured",
                "go on without --warm-start, or use another folder (--out)",
            )
        return kept
    if not asked:
        return kept
    if folder.store.rounds():
        raise RunFolderError(
            f"{folder.path} has begun without a warm start", "go on without --warm-start, or use another folder (--out)"
        )
    if str(folder.path.resolve()) in asked:
        raise RunFolderError(f"{folder.path} cannot start from itself", "name an earlier run")
    earlier = [each for run in runs for each in read_earlier(run)]
    found = gathered(asked, earlier, config, _present(backend, config))
    if not (found.values or found.hints):
        raise DataError(
            "nothing that earlier runs measured can be used:\n" + "\n".join(f"  {each}" for each in found.verdicts),
            "leave --warm-start out",
        )
    folder.store.set_meta(_META, found.to_json())
    return found


def read_warm_start(store: CampaignStore) -> WarmStart:
    """What a campaign began with, as its store says; empty where it began with nothing."""
    return WarmStart.from_json(store.meta(_META) or {})


def _present(backend: MeasurementBackend, config: Config) -> Mapping[str, tuple[DeviceInfo, ...]]:
    """What stands behind each of the campaign's names; phones are waited for."""

    def behind(infos: Sequence[DeviceInfo]) -> dict[str, tuple[DeviceInfo, ...]]:
        return {name: tuple(info for info in infos if name in (info.name, info.model)) for name in config.device_names}

    found = behind(backend.await_devices(lambda infos: all(behind(infos).values()), _PATIENCE_S))
    missing = [name for name, infos in found.items() if not infos]
    if missing:
        raise DevicesMissing(
            f"{', '.join(missing)}: not there, so nobody knows whether its system is still the one of earlier runs",
            "look with: nag devices, nag doctor",
        )
    return found


def gathered(
    runs: Sequence[str],
    earlier: Sequence[EarlierRun],
    config: Config,
    present: Mapping[str, tuple[DeviceInfo, ...]],
) -> WarmStart:
    """What of each run can be used."""
    values: list[EarlierValue] = []
    hints: list[EarlierValue] = []
    verdicts: list[Verdict] = []
    most = max(_MOST // len(earlier), 1)
    for run in earlier:
        if differing := _differing(run.space, config.space):
            reason = f"its networks are others (space.{differing[0]} differs)"
            verdicts.append(Verdict(run.folder, "", 0, reason=reason))
            continue
        for metric, part in _parts(run, config, present):
            kept, hinted = _thinned(part.values, most), _thinned(part.hints, most)
            reasons = [f"{count} {why}" for why, count in Counter(part.reasons).items()]
            if len(kept) < len(part.values):
                reasons.insert(0, f"of {len(part.values)}, evenly over their range")
            if not (kept or reasons):
                reasons = [_ANOTHER]
            values += kept
            hints += hinted
            verdicts.append(Verdict(run.folder, metric, len(kept), len(hinted), "; ".join(reasons)))
    return WarmStart(tuple(runs), tuple(values), tuple(hints), tuple(verdicts))


@dataclass
class _Part:
    """What a run tells of one metric, and for each value that it does not tell, why."""

    values: list[EarlierValue] = field(default_factory=list)
    hints: list[EarlierValue] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def _parts(
    run: EarlierRun, config: Config, present: Mapping[str, tuple[DeviceInfo, ...]]
) -> Iterator[tuple[str, _Part]]:
    """By metric of the campaign."""
    if run.objective is not None:
        accuracies = _Part()
        for slots, seen in run.accuracies:
            if run.objective == config.accuracy:
                accuracies.values.append(EarlierValue(slots, ACCURACY, seen.value, seen.variance))
            else:
                accuracies.reasons.append("found in another way (accuracy: differs)")
        yield ACCURACY, accuracies
    now = How.of(config)
    for name, infos in present.items():
        latencies = _Part()
        looked_up = infos[0].kind in ("table", "lut")  # the same however it is asked for
        for each in run.latencies:
            standing, why = max(_standing(each.measurement, info, name) for info in infos)
            if standing is _Standing.OTHER:
                continue
            if otherwise := each.doubt or ("" if looked_up else each.how.unlike(now)):
                latencies.reasons.append(otherwise)
                continue
            measured = each.measurement
            variance = measured.standard_error_log**2
            value = EarlierValue(each.slots, latency_metric(name), measured.latency_ms, variance)
            (latencies.values if standing is _Standing.SAME else latencies.hints).append(value)
            latencies.reasons += [why] if why else []
        yield latency_metric(name), latencies


class _Standing(IntEnum):
    """What a device is to one that was measured earlier."""

    OTHER = 0
    KIN = 1
    SAME = 2


def _standing(measurement: Measurement, now: DeviceInfo, name: str) -> tuple[_Standing, str]:
    """What a device is to the one of a measurement, and why it is not the same.

    A device that a campaign calls by its model may be any of that model.
    """
    then = measurement.device
    if then.kind != now.kind or then.model != now.model:
        return _Standing.OTHER, _ANOTHER
    if then.epoch != now.epoch:
        return _Standing.KIN, f"of a system {then.epoch or 'unknown'}, which now is {now.epoch or 'unknown'}"
    if then.runtime != now.runtime:
        return _Standing.KIN, f"of {then.runtime or 'an unknown runtime'}, where {now.runtime or 'another'} runs now"
    if then.serial_hash != now.serial_hash and name != now.model:
        return _Standing.KIN, "of another device of this model"
    return _Standing.SAME, ""


def _differing(then: SpaceConfig, now: SpaceConfig) -> list[str]:
    """Fields in which two spaces differ."""
    first, second = then.model_dump(), now.model_dump()
    return [name for name in {**first, **second} if first.get(name) != second.get(name)]


def _thinned(values: Sequence[EarlierValue], most: int) -> list[EarlierValue]:
    """At most so many, evenly over their range."""
    if len(values) <= most:
        return list(values)
    rising = sorted(values, key=lambda each: (each.value, each.slots))
    return [rising[round(i * (len(rising) - 1) / max(most - 1, 1))] for i in range(most)]
