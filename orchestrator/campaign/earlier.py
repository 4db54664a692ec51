"""EarlierRun: what a run folder of the past, of a campaign or of a collection, says of architectures of one space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.campaign.config import ACCURACY, Config, SpaceConfig
from orchestrator.campaign.folder import STORE, store_path
from orchestrator.campaign.state import read_config, read_state
from orchestrator.collect import store as collections
from orchestrator.collect.config import FolderModels
from orchestrator.collect.folder import read_config as read_collection
from orchestrator.collect.store import CollectStore
from orchestrator.errors import RunFolderError
from orchestrator.objective.config import ObjectiveConfig
from orchestrator.optimize.observation import Observed
from profiling.records import Measurement
from profiling.store import CampaignStore


@dataclass(frozen=True)
class How:
    """What latencies must have in common, beside the device, to be comparable."""

    precision: str
    threads: int
    delegate: str
    affinity: tuple[int, ...]

    @classmethod
    def of(cls, config: Config) -> How:
        """How a campaign measures."""
        measure = config.measure
        return cls(measure.precision, measure.threads, measure.delegate, measure.affinity)

    def unlike(self, other: How) -> str:
        """What differs, in words; empty where nothing does."""
        for name in ("precision", "threads", "delegate", "affinity"):
            before, now = getattr(self, name), getattr(other, name)
            if before != now:
                return f"measured with {name} {before or 'unset'}, not {now or 'unset'}"
        return ""


@dataclass(frozen=True)
class EarlierLatency:
    """A latency of an architecture; `doubt` says why it is not to be relied on, where it is not."""

    slots: tuple[int, ...]
    measurement: Measurement
    how: How
    doubt: str = ""


@dataclass(frozen=True)
class EarlierRun:
    """What a folder says of one space.

    Attributes:
        folder: Its path.
        space: Of the architectures, with the sizes of their networks.
        objective: What accuracies are; None where there are none.
        accuracies: By architecture.
        latencies: All that were measured, on any device.
    """

    folder: str
    space: SpaceConfig
    objective: ObjectiveConfig | None
    accuracies: tuple[tuple[tuple[int, ...], Observed], ...]
    latencies: tuple[EarlierLatency, ...]


def read_earlier(folder: Path) -> tuple[EarlierRun, ...]:
    """What a folder holds: one entry for a campaign, one for each space of a collection.

    Raises:
        RunFolderError: It is no run folder.
        StoreError: It cannot be read.
    """
    if (folder / collections.STORE).is_file() and not (folder / STORE).is_file():
        runs = tuple(_of_collection(folder))
        if not runs:
            raise RunFolderError(f"{folder} has measured files, no architectures", "name a run with architectures")
        return runs
    return (_of_campaign(folder),)


def _of_campaign(folder: Path) -> EarlierRun:
    with CampaignStore.read(store_path(folder)) as store:
        config = read_config(store)
        candidates = read_state(store, config).candidates
    how = How.of(config)
    return EarlierRun(
        folder=str(folder.resolve()),
        space=config.space,
        objective=config.accuracy,
        accuracies=tuple((each.row.slots, each.metrics[ACCURACY]) for each in candidates if ACCURACY in each.metrics),
        latencies=tuple(
            EarlierLatency(each.row.slots, measurement, how)
            for each in candidates
            for measurement in each.latencies.values()
        ),
    )


def _of_collection(folder: Path) -> Iterator[EarlierRun]:
    with CollectStore.read(collections.store_path(folder)) as store:
        config = read_collection(store)
        spaces = {
            index: (models.space, models.space.make())
            for index, models in enumerate(config.models)
            if not isinstance(models, FolderModels)
        }
        latencies: dict[int, list[EarlierLatency]] = {index: [] for index in spaces}
        for collected in store.results():
            model, setting = collected.job.model, collected.job.setting
            if isinstance(collected.result, Measurement) and model.architecture and model.source in spaces:
                slots = spaces[model.source][1].parse(model.architecture).slots
                how = How(setting.precision, setting.threads, setting.delegate, ())
                doubt = "touched by a drift of the phone" if collected.suspect else ""
                latencies[model.source].append(EarlierLatency(slots, collected.result, how, doubt))
    for index, (space, _) in spaces.items():
        yield EarlierRun(str(folder.resolve()), space, None, (), tuple(latencies[index]))
