"""Rows out of a collection's store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import pydantic

from orchestrator.collect.config import CollectConfig, FolderModels, ModelsConfig
from orchestrator.collect.records import CollectedResult, CollectModel
from orchestrator.collect.store import CollectStore
from orchestrator.dataset.public import publisher
from orchestrator.errors import IllegalArchitecture, RunFolderError
from orchestrator.space.base import Space
from profiling.dataset.manifest import Source
from profiling.dataset.row import DatasetRow, Subject, dump
from profiling.records import DeviceInfo, Measurement


class CollectionRows:
    """A collection as a source of rows; one that is being worked on is not disturbed.

    Attributes:
        source: The collection, as the set names it.
    """

    def __init__(self, store: CollectStore) -> None:
        """Args:
            store: Open for reading.

        Raises:
            RunFolderError: The store's configuration cannot be read.
        """
        self._store = store
        config = _config(store)
        self._publisher = publisher(config.devices)
        self._devices = _devices(store, config)
        self._measure = config.measure
        self._networks = [_Network(models) for models in config.models]
        self.source = _source(store, config)

    def __iter__(self) -> Iterator[DatasetRow]:
        """Every latency and every failure to get one, read in pages."""
        for collected in self._store.results():
            yield self._row(collected)

    def _row(self, collected: CollectedResult) -> DatasetRow:
        job, result = collected.job, collected.result
        setting, artifact = job.setting, collected.artifact
        subject = Subject(
            source_id=self.source.id,
            architecture=job.model.architecture or job.model.name,
            **self._networks[job.model.source].columns(job.model),
            precision=setting.precision,
            artifact_sha256=artifact.sha256 if artifact else "",
            artifact_bytes=artifact.bytes if artifact else None,
            parameters_count=artifact.parameters if artifact else None,
            multiply_adds_count=artifact.multiply_adds if artifact else None,
            output_error_ratio=artifact.output_error if artifact else None,
            purpose="overlap" if job.overlap else "collect",
            replicate_index=job.replicate,
        )
        info = result.device if isinstance(result, Measurement) else self._devices[job.device]
        return DatasetRow.of(
            subject,
            self._publisher.device(job.device, info),
            self._measure.plan_for(threads=setting.threads, delegate=setting.delegate),
            result if isinstance(result, Measurement) else self._publisher.failure(result),
            at=collected.at,
            blocks=result.blocks if isinstance(result, Measurement) else (),
            drift_suspect=bool(collected.suspect),
        )


class _Network:
    """What the models of one source are built as."""

    def __init__(self, models: ModelsConfig) -> None:
        self._space: Space | None = None
        self._columns: dict[str, Any] = {"space": ""}
        if not isinstance(models, FolderModels):
            options = models.space.network_options()
            self._space = models.space.make()
            self._columns = {
                "space": models.space.kind,
                "input_shape": tuple(options.input_shape),
                "classes_count": options.classes,
                "network_options_json": dump(options.options),
            }

    def columns(self, model: CollectModel) -> dict[str, Any]:
        """The columns that say it."""
        if self._space is None or model.architecture is None:
            return self._columns
        try:
            return {**self._columns, "slots": self._space.parse(model.architecture).slots}
        except IllegalArchitecture:  # of a space that has changed since
            return self._columns


def _config(store: CollectStore) -> CollectConfig:
    """The configuration; files that it names need not exist here, for a run folder may have been moved."""
    try:
        return CollectConfig.model_validate(store.meta("config"))
    except pydantic.ValidationError as error:
        raise RunFolderError(
            f"{store.path} has a configuration that cannot be read: {error.errors()[0]['msg']}",
            "use the version of DeviceNAG that wrote it",
        ) from error


def _devices(store: CollectStore, config: CollectConfig) -> dict[str, DeviceInfo]:
    """What is known of whatever a failure happened to: of several phones only what they share."""
    known = {name: DeviceInfo(name, device.kind, name) for device in config.devices for name in device.names}
    unknown = set(publisher(config.devices).serials)  # their models are what the set calls them by
    for collected in store.results() if unknown else ():
        name, result = collected.job.device, collected.result
        if name in unknown and isinstance(result, Measurement):
            known[name] = replace(result.device, properties={})
            unknown.remove(name)
        if not unknown:
            break
    return known | {name: replace(known[name], model="") for name in unknown}


def _source(store: CollectStore, config: CollectConfig) -> Source:
    skipped: dict[str, list[str]] = {}
    for model in store.skipped():
        assert model.failure is not None
        skipped.setdefault(model.failure.code, []).append(model.name)
    return Source(
        id=str(store.meta("id")),
        name=config.name,
        kind="collection",
        software=f"devicenag {version('devicenag')}",
        environment=store.meta("environment") or {},
        measure=config.measure.model_dump(mode="json"),
        missing_count=sum(tally.missing for tally in store.tallies()),
        skipped=skipped,
    )
