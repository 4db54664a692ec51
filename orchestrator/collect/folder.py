"""CollectFolder: where a collection lives, owned by one process at a time.

RUN/collect.sqlite    the truth
RUN/journal.sqlite    the fleet's: every result is in it first, with marks of drifting phones
RUN/collect.log       what went wrong with devices, in full
RUN/lock              held by the process that works on it; freed by the system when that process ends
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pydantic

from orchestrator.collect.config import CollectConfig, require_same_collection
from orchestrator.collect.models import find_models
from orchestrator.collect.plan import all_settings, make_jobs
from orchestrator.collect.store import STORE, CollectStore
from orchestrator.environment import environment
from orchestrator.errors import RunFolderError
from orchestrator.folder_lock import FolderLock
from orchestrator.rig import JOURNAL, named, replicas

_LIBRARIES = ("devicenag", "numpy", "ai-edge-litert")


class CollectFolder:
    """An opened run folder: the lock, the store, and the configuration with every device named."""

    def __init__(self, path: Path, config: CollectConfig, store: CollectStore, lock: FolderLock, resumed: bool) -> None:
        """Use `open` instead."""
        self.path = path
        self.config = config
        self.store = store
        self.resumed = resumed
        self._lock = lock

    @classmethod
    def open(cls, path: Path, asked: CollectConfig, planning: Callable[[], None] = lambda: None) -> Self:
        """Take the folder for this collection: plan it, or continue the one in it.

        Args:
            path: The run folder.
            asked: The configuration.
            planning: Called before planning, which may take a while.

        Raises:
            ConfigError: A list or a space has not what is asked for.
            RunFolderBusy: Another process works in it.
            RunFolderError: It cannot be made, or it holds something else.
            DevicesMissing: No phone is ready, and none is named.
            StoreError: Its store cannot be used.
        """
        lock = FolderLock.take(path)
        try:
            return cls._opened(path, asked, planning, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _opened(cls, path: Path, asked: CollectConfig, planning: Callable[[], None], lock: FolderLock) -> Self:
        file = path / STORE
        store = CollectStore.open(file) if file.exists() else None
        if store is not None and store.planned:
            stored = read_config(store)
            if not all(device.names for device in asked.devices):  # every attached phone: those attached back then
                asked = asked.model_copy(update={"devices": stored.devices})
            require_same_collection(stored, asked, path)
            store.set_meta("config", asked.model_dump(mode="json"))
            return cls(path, asked, store, lock, True)
        if store is None and (path / JOURNAL).exists():
            raise RunFolderError(f"{path} holds a run that is no collection", "use another folder (--out)")
        planning()
        models = find_models(asked)  # may refuse: before any device is asked anything
        config = asked.model_copy(update={"devices": named(asked.devices)})
        jobs = make_jobs(config, models, replicas(config.devices))
        if store is None:
            store = CollectStore.create(file, {"id": secrets.token_hex(8), "environment": environment(_LIBRARIES)})
        store.set_meta("config", config.model_dump(mode="json"))
        store.add_plan(models, all_settings(config), jobs, config.device_names)
        return cls(path, config, store, lock, False)

    def close(self) -> None:
        """Close the store and let go of the lock."""
        self.store.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_config(store: CollectStore) -> CollectConfig:
    """The configuration that a collection was planned with, its devices named.

    Raises:
        RunFolderError: It was planned by another version, whose configuration this one does not read.
    """
    try:
        return CollectConfig.model_validate(store.meta("config"))
    except pydantic.ValidationError as error:
        raise RunFolderError(
            f"{store.path}: the configuration in it cannot be read", "use the version of DeviceNAG that wrote it"
        ) from error
