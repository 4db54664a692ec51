"""Latencies of a run, whatever kind of run it is: every result with its blocks, by model, device, setting and session.

A run folder says itself what it is: `campaign.sqlite`, `collect.sqlite`, or `nightly.json`, whose passes are
collections, each of them a session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.campaign.folder import STORE as CAMPAIGN
from orchestrator.collect.store import STORE as COLLECTION
from orchestrator.collect.store import CollectStore
from orchestrator.errors import RunFolderError
from orchestrator.nightly.night import NIGHT, Night, read_night
from profiling.database import StoreError
from profiling.records import DeviceInfo, Failure, Measurement


@dataclass(frozen=True)
class Latency:
    """One model on one device under one setting, in one session.

    Attributes:
        model: Its name: the architecture's text, or the file's.
        artifact_sha256: What ran; empty on devices that are keyed by architecture, or where nothing ran.
        setting: How: precision, delegate, threads.
        device: Where; only name and kind where nothing was measured.
        session: Which pass of the run.
        result: The measurement with its blocks, or why there is none.
        suspect: Why a drift of the phone may have touched it; empty: none was seen.
    """

    model: str
    artifact_sha256: str
    setting: str
    device: DeviceInfo
    session: str
    result: Measurement | Failure
    suspect: str = ""

    @property
    def phone(self) -> str:
        """Names the device, over sessions, cables and changes of its system."""
        return self.device.serial_hash or self.device.name


@dataclass(frozen=True)
class RunLatencies:
    """Everything that a run measured.

    Attributes:
        folder: The run folder.
        kind: `campaign`, `collection` or `nightly`.
        latencies: Every result.
        environment: Versions and platform of the program that measured.
        missing: Device -> results that were wanted there and have not arrived.
    """

    folder: Path
    kind: str
    latencies: tuple[Latency, ...]
    environment: Mapping[str, Any]
    missing: Mapping[str, int]


def read_latencies(folder: Path) -> RunLatencies:
    """Read a run; a process that works in it is neither disturbed nor waited for.

    Raises:
        RunFolderError: It is no run folder, or cannot be read.
    """
    try:
        if (folder / NIGHT).is_file():
            return _nightly(folder, read_night(folder))
        if (folder / CAMPAIGN).is_file():
            return _campaign(folder)
        if (folder / COLLECTION).is_file():
            return _collection(folder, "")
    except StoreError as error:
        raise RunFolderError(error.message, error.hint) from error
    raise RunFolderError(
        f"{folder} is no run folder: it has none of {CAMPAIGN}, {COLLECTION}, {NIGHT}",
        "give the folder of a campaign (nag run), a collection (nag collect) or a night (nag nightly)",
    )


def _campaign(folder: Path) -> RunLatencies:
    from orchestrator.report.run import read_run

    run = read_run(folder)
    measure = run.state.config.measure
    setting = setting_text(measure.precision, measure.delegate, measure.threads)
    kinds = {name: device.kind for device in run.state.config.devices for name in device.names}
    found = []
    for record in run.latencies:
        name = run.candidates[record.candidate].row.architecture
        measurement = record.measurement
        if measurement is not None and record.blocks:  # without blocks: the same artifact's, of another candidate
            sha256 = measurement.artifact_sha256
            result: Measurement | Failure = replace(measurement, blocks=record.blocks)
            found.append(Latency(name, sha256, setting, measurement.device, record.purpose, result))
        elif record.failure is not None:
            info = DeviceInfo(record.device, kinds[record.device])
            found.append(Latency(name, "", setting, info, record.purpose, record.failure))
    waiting = dict.fromkeys(run.devices, 0)
    for candidate in run.state.candidates:
        for name in run.devices:
            waiting[name] += f"latency_ms[{name}]" in candidate.missing
    return RunLatencies(folder, "campaign", tuple(found), run.environment, _some(waiting))


def _collection(folder: Path, session: str) -> RunLatencies:
    with CollectStore.read(folder / COLLECTION) as store:
        latencies = tuple(_collected(store, session))
        missing = {tally.device: tally.missing for tally in store.tallies()}
        return RunLatencies(folder, "collection", latencies, store.meta("environment") or {}, _some(missing))


def _collected(store: CollectStore, session: str) -> Iterator[Latency]:
    for collected in store.results():
        job, result = collected.job, collected.result
        device = result.device if isinstance(result, Measurement) else DeviceInfo(job.device, "")
        setting = setting_text(job.setting.precision, job.setting.delegate, job.setting.threads)
        sha256 = collected.artifact.sha256 if collected.artifact is not None else ""
        yield Latency(job.model.name, sha256, setting, device, session, result, collected.suspect)
    for model in store.skipped():
        if model.failure is not None:
            yield Latency(model.name, model.sha256, "", DeviceInfo("", ""), session, model.failure)


def _nightly(folder: Path, night: Night) -> RunLatencies:
    """The passes, one after the other, and its campaigns."""
    latencies: list[Latency] = []
    missing: Counter[str] = Counter()
    environment: Mapping[str, Any] = {}
    for part in night.passes:
        if (folder / part / COLLECTION).is_file():
            collection = _collection(folder / part, part)
            latencies += [
                replace(each, model=night.models.get(each.model, each.model)) for each in collection.latencies
            ]
            missing.update(collection.missing)
            environment = environment or collection.environment
    for name, part in night.campaigns.items():
        if (folder / part / CAMPAIGN).is_file():
            campaign = _campaign(folder / part)
            # Its measurements have plans of their own: they are compared with those of the same campaign.
            latencies += [replace(each, setting=f"{each.setting}, campaign {name}") for each in campaign.latencies]
            missing.update(campaign.missing)
    return RunLatencies(folder, "nightly", tuple(latencies), environment, missing)


def setting_text(precision: str, delegate: str, threads: int) -> str:
    """How a model is run, for people: `float32, cpu, 1 thread`."""
    return f"{precision}, {delegate}, {threads} thread{'s' if threads > 1 else ''}"


def _some(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: number for name, number in counts.items() if number}
