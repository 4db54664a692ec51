"""The night itself: passes over all models, a comparison, passes over what looks slower, and the judgement."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np

from orchestrator.campaign.device_config import DeviceConfig
from orchestrator.collect.collector import collect
from orchestrator.collect.config import CollectConfig
from orchestrator.collect.events import Listener
from orchestrator.collect.folder import read_config
from orchestrator.collect.store import STORE, CollectStore
from orchestrator.compare.latencies import RunLatencies, read_latencies
from orchestrator.errors import DevicesMissing, RunFolderError
from orchestrator.folder_lock import FolderLock
from orchestrator.nightly.campaigns import CampaignView, run_campaigns
from orchestrator.nightly.config import NightlyConfig
from orchestrator.nightly.judge import SHIFT, PlaceNight, compare_places, judge, suspects
from orchestrator.nightly.models import copy, is_reference, stage
from orchestrator.nightly.night import AGAIN, NIGHT, PASSES, Night, read_night
from orchestrator.nightly.result import NightResult
from profiling.records import Measurement

MODELS = "models"
View = Callable[[str, CollectConfig, Path], AbstractContextManager[Listener]]
"""What shows a pass: from its title, its configuration and its folder."""


def run_night(
    config: NightlyConfig, folder: Path, baselines: Sequence[Path], view: View, campaign_view: CampaignView
) -> NightResult:
    """Measure and judge; the same folder again goes on after an interruption.

    Args:
        config: The night.
        folder: Its run folder.
        baselines: Run folders to compare with; none: this night can be one.
        view: Shows the passes.
        campaign_view: Shows the campaigns.

    Raises:
        ConfigError: A list or a space has not what is asked for.
        RunFolderError: The folder is busy or holds something else, or a baseline cannot be read.
        DevicesMissing: No phone is there, and no baseline says which there should be.
        DeviceError: A virtual lab or the adb server cannot be started.
        KeyboardInterrupt: The user stopped it; what is committed stays.
    """
    earlier = [read_latencies(path) for path in baselines]  # before hours of measuring
    lock = FolderLock.take(folder)
    try:
        night = _begin(config, folder)
        return _Night(config, folder, night, earlier, view, campaign_view).run()
    finally:
        lock.release()


class _Night:
    """One night at work."""

    def __init__(
        self,
        config: NightlyConfig,
        folder: Path,
        night: Night,
        earlier: list[RunLatencies],
        view: View,
        campaign_view: CampaignView,
    ) -> None:
        self._config = config
        self._folder = folder
        self._night = night
        self._earlier = earlier
        self._view = view
        self._campaign_view = campaign_view
        self._policy = config.alarm.policy()
        self._notes: list[str] = []

    def run(self) -> NightResult:
        passes = self._config.passes
        count = passes.night if self._earlier else passes.baseline
        try:
            if self._night.models:
                for number in range(1, count + 1):
                    self._pass(f"{PASSES}{number}", f"pass {number} of {count}", self._folder / MODELS)
                self._again()
        except DevicesMissing as error:
            if not self._earlier:
                raise
            self._notes.append(f"not all was measured: {error.message}")
        campaigns, self._night = run_campaigns(
            self._config, self._folder, self._night, self._earlier, self._campaign_view
        )
        measured = read_latencies(self._folder)
        found = compare_places(measured, self._earlier, self._policy)
        names = list(self._night.models.values())
        phones = judge(found, self._earlier, names, measured.latencies, self._policy, count, self._config.asks_for)
        return NightResult(
            name=self._config.name,
            run=str(self._folder),
            baseline=tuple(str(run.folder) for run in self._earlier),
            started_at=self._night.started_at,
            ended_at=time.time(),
            margin=self._config.alarm.margin,
            phones=phones,
            campaigns=campaigns,
            notes=(*self._notes, *_notes(found, self._earlier, measured, names)),
        )

    def _again(self) -> None:
        """Measure what looks slower again, and controls."""
        if not self._earlier:
            return
        night = read_latencies(self._folder)
        # A night that goes on after an interruption decides as it did before: by the full passes.
        full = replace(night, latencies=tuple(e for e in night.latencies if e.session.startswith(PASSES)))
        found = compare_places(full, self._earlier, self._policy)
        looked_slower = suspects(found, self._policy)
        if not looked_slower:
            return
        files, devices = self._who(found, looked_slower)
        count = self._config.passes.again
        for number in range(1, count + 1):
            part = f"{AGAIN}{number}"
            models = self._folder / "again" / MODELS
            copy(self._folder / MODELS, files, models)
            title = f"{len(files)} models again, pass {number} of {count}: something looks slower"
            self._pass(part, title, models, devices)

    def _who(
        self, found: Sequence[PlaceNight], looked_slower: dict[tuple[str, str], set[str]]
    ) -> tuple[list[str], list[DeviceConfig]]:
        """Files to measure again, and the devices of the configuration to do it on."""
        names = set().union(*looked_slower.values())
        here = [each for each in found if (each.place.phone, each.place.setting) in looked_slower]
        if SHIFT in names:
            names = set(self._night.models.values())
        else:
            quiet = [name for name in self._night.models.values() if name not in names]
            cost = {name: _cost_ms(here, name) for name in quiet}
            others = sorted((name for name in quiet if not is_reference(name)), key=lambda name: cost[name])
            names |= {name for name in quiet if is_reference(name)} | set(others[: self._config.passes.controls])
        files = [file for file, name in self._night.models.items() if name in names]
        with CollectStore.read(self._folder / self._night.full_passes[0] / STORE) as store:
            devices = read_config(store).devices
        wanted = {text for each in here for text in (each.place.device.name, each.place.device.model)}
        some = [device for device in devices if wanted & set(device.names)]
        return files, list(some or devices)

    def _pass(self, part: str, title: str, models: Path, devices: Sequence[DeviceConfig] | None = None) -> None:
        path = self._folder / part
        seed = _seed(self._config.seed, self._night.started_at, part)
        config = self._config.collection(f"{self._config.name}-{part.replace('/', '-')}", models, seed, devices)
        if part not in self._night.passes:
            self._keep(replace(self._night, passes=(*self._night.passes, part)))
        if (path / STORE).is_file():
            with CollectStore.read(path / STORE) as store:
                if store.meta("ended") is not None and not any(tally.missing for tally in store.tallies()):
                    return
        with self._view(title, config, path) as listen:
            collect(config, path, listen)

    def _keep(self, night: Night) -> None:
        if night != self._night:
            self._night = night
            night.write(self._folder)


def _begin(config: NightlyConfig, folder: Path) -> Night:
    """The night of a new folder, or the one that is in it."""
    if (folder / NIGHT).exists():
        night = read_night(folder)
        if night.name != config.name:
            raise RunFolderError(f"{folder} holds the night {night.name!r}", "use another folder (--out)")
        return night
    night = Night(config.name, time.time(), stage(config, folder / MODELS))
    night.write(folder)
    return night


def _seed(seed: int, started_at: float, part: str) -> int:
    """Every pass of every night has another order."""
    entropy = [seed, int(1000 * started_at), *part.encode()]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def _cost_ms(found: Sequence[PlaceNight], name: str) -> float:
    values = [
        latency.result.latency_ms
        for each in found
        for latency in each.latencies
        if latency.model == name and isinstance(latency.result, Measurement)
    ]
    return max(values, default=float("inf"))


def _notes(
    found: Sequence[PlaceNight], earlier: Sequence[RunLatencies], measured: RunLatencies, models: Sequence[str]
) -> list[str]:
    """What a reader must know before the figures."""
    notes = []
    if not earlier:
        notes.append("no baseline was given: this night can be the baseline of the next ones (--baseline)")
    for each in found:
        for change in each.changes:
            if change.system:
                notes.append(
                    f"{each.place.device.name} is not the system that the baseline was measured on: {change.what} was "
                    f"{change.before or 'unknown'}, is {change.now or 'unknown'}; the comparison is across both"
                )
        if earlier and each.comparison is None:
            notes.append(f"the baseline has nothing of {each.place.device.name}: it was only measured")
    for run in earlier:
        gone = {each.model for each in run.latencies if each.session.startswith(PASSES)} - set(models)
        if gone:
            notes.append(f"{len(gone)} models of {run.folder} are not measured any more: {', '.join(sorted(gone))}")
    for device, number in sorted(measured.missing.items()):
        notes.append(f"{number} measurements on {device} are missing")
    return notes
