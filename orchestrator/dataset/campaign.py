"""Rows out of a campaign's store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from device_agent.journal import Journal, JournalError
from device_agent.ticket import MEASURED_ON, stamp
from orchestrator.campaign.config import Config
from orchestrator.campaign.jobs import begun_as, job_name
from orchestrator.campaign.state import read_config
from orchestrator.dataset.public import in_common, publisher
from orchestrator.errors import RunFolderError
from orchestrator.rig import JOURNAL
from profiling.dataset.manifest import Source
from profiling.dataset.row import DatasetRow, Subject, dump
from profiling.records import Block, DeviceInfo, Failure, Measurement
from profiling.store import CampaignStore, CandidateRow, NetworkRow, Outcome, Purpose

_PURPOSES: tuple[Purpose, ...] = ("search", "verify")


class CampaignRows:
    """A campaign as a source of rows; a campaign that works in the folder is not disturbed.

    Attributes:
        source: The campaign, as the set names it.
    """

    def __init__(self, store: CampaignStore, folder: Path) -> None:
        """Args:
            store: Open for reading.
            folder: The run folder.

        Raises:
            RunFolderError: The store's configuration cannot be read.
        """
        self._store = store
        self._config = read_config(store)
        self._publisher = publisher(self._config.devices)
        self._suspects = _suspects(folder / JOURNAL)
        self._candidates = {row.id: row for row in store.candidates()}
        self._networks = store.networks()
        self._twins: dict[str, list[int]] = {}
        for number, network in sorted(self._networks.items()):
            self._twins.setdefault(network.artifact_sha256, []).append(number)
        self.source = _source(store, self._config, len(self._candidates))

    def __iter__(self) -> Iterator[DatasetRow]:
        """Every latency and every failure to get one, blocks read one by one."""
        for purpose in _PURPOSES:
            outcomes = self._store.measurements(purpose)
            infos: dict[str, list[DeviceInfo]] = {}
            for (_, device), outcome in outcomes.items():
                if isinstance(outcome.value, Measurement):
                    infos.setdefault(device, []).append(outcome.value.device)
            common = {name: in_common(name, found) for name, found in infos.items()}
            for (candidate, device), outcome in sorted(outcomes.items(), key=lambda item: item[1].at):
                blocks = self._blocks(candidate, device, purpose)
                yield self._row(candidate, device, purpose, outcome, blocks, common.get(device, DeviceInfo(device, "")))

    def _row(
        self,
        candidate: int,
        device: str,
        purpose: Purpose,
        outcome: Outcome,
        blocks: tuple[Block, ...],
        common: DeviceInfo,
    ) -> DatasetRow:
        subject = self._subject(self._candidates[candidate], self._networks.get(candidate), purpose)
        result: Measurement | Failure
        if isinstance(outcome.value, Measurement):
            result, info = outcome.value, outcome.value.device
            subject = replace(subject, artifact_sha256=result.artifact_sha256)
            # A phone that went away may have left blocks of its own, which the estimate was not made from.
            blocks = tuple(block for block in blocks if block.conditions.get(MEASURED_ON, stamp(info)) == stamp(info))
        else:
            assert outcome.failure is not None
            result, info = self._publisher.failure(outcome.failure), _blamed(common, blocks)
        return DatasetRow.of(
            subject,
            self._publisher.device(device, info),
            self._config.measure.plan(),
            result,
            at=outcome.at,
            blocks=blocks,
            drift_suspect=job_name(candidate, device, purpose) in self._suspects,
        )

    def _subject(self, candidate: CandidateRow, network: NetworkRow | None, purpose: Purpose) -> Subject:
        options = self._config.space.network_options()
        return Subject(
            source_id=self.source.id,
            space=self._config.space.kind,
            architecture=candidate.architecture,
            slots=candidate.slots,
            input_shape=tuple(options.input_shape),
            classes_count=options.classes,
            network_options_json=dump(options.options),
            precision=self._config.measure.precision,
            artifact_sha256=network.artifact_sha256 if network else "",
            artifact_bytes=network.bytes if network else None,
            parameters_count=network.parameters if network else None,
            multiply_adds_count=network.multiply_adds if network else None,
            purpose=purpose,
        )

    def _blocks(self, candidate: int, device: str, purpose: Purpose) -> tuple[Block, ...]:
        """Of the measurement; one that was made for another candidate with the same artifact has its blocks there."""
        blocks = self._store.blocks(candidate, device, purpose)
        network = self._networks.get(candidate)
        if blocks or purpose != "search" or network is None:
            return blocks
        twins = self._twins[network.artifact_sha256]
        return next((found for twin in twins if (found := self._store.blocks(twin, device, purpose))), ())


def _suspects(journal: Path) -> frozenset[str]:
    """Jobs around which a reference model drifted."""
    if not journal.is_file():
        return frozenset()
    try:
        with Journal(journal) as opened:
            return frozenset(map(begun_as, opened.suspects()))
    except JournalError as error:
        raise RunFolderError(error.message, error.hint) from error


def _blamed(common: DeviceInfo, blocks: tuple[Block, ...]) -> DeviceInfo:
    """Whom a failure happened to: the phone of its last block, where there is one."""
    measured_on = str(blocks[-1].conditions.get(MEASURED_ON, "")) if blocks else ""
    serial_hash, _, epoch = measured_on.partition(" ")
    return replace(common, serial_hash=serial_hash, epoch=epoch) if epoch else common


def _source(store: CampaignStore, config: Config, candidates: int) -> Source:
    rounds = store.rounds()
    if not rounds:
        raise RunFolderError(f"{store.path} has no result yet", "let the campaign go on with: nag run CONFIG")
    begun = json.dumps([config.name, config.seed, rounds[0]["at"]])
    wanted = candidates * len(config.device_names)
    return Source(
        id=hashlib.sha256(begun.encode()).hexdigest()[:16],
        name=config.name,
        kind="campaign",
        software=f"devicenag {version('devicenag')}",
        environment=store.meta("environment") or {},
        measure=config.measure.model_dump(mode="json"),
        missing_count=wanted - len(store.measurements()),
    )
