"""RunFolder: where a campaign lives, owned by one process at a time.

RUN/campaign.sqlite    the truth
RUN/lock               held (flock) by the process that works on it; freed by the system when that process ends
RUN/candidates/ID/     files of one candidate's evaluation, e.g. trained weights
RUN/report.html        made by `nag report`, can be made again at any time
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from orchestrator.campaign.checks import require_same_campaign
from orchestrator.campaign.config import Config
from orchestrator.campaign.state import read_config
from orchestrator.errors import RunFolderError
from orchestrator.folder_lock import FolderLock
from profiling.store import CampaignStore

STORE = "campaign.sqlite"
# What `nag nightly` and `nag collect` leave; their packages build on this one, so the names stand here again.
_NIGHT, _COLLECTION = "nightly.json", "collect.sqlite"


class RunFolder:
    """An opened run folder: the lock and the store."""

    def __init__(self, path: Path, store: CampaignStore, lock: FolderLock, *, resumed: bool) -> None:
        """Use `open` instead."""
        self.path = path
        self.store = store
        self.resumed = resumed
        self._lock = lock

    @classmethod
    def open(cls, path: Path, config: Config, meta: dict[str, Any]) -> Self:
        """Take the folder for this campaign: make it, or continue the campaign in it.

        Raises:
            RunFolderBusy: Another process works in it.
            RunFolderError: It cannot be made, or it holds another campaign.
            StoreError: Its store cannot be used.
        """
        lock = FolderLock.take(path)
        try:
            file = path / STORE
            resumed = file.exists()
            if resumed:
                store = CampaignStore.open(file)
                require_same_campaign(read_config(store), config, path)
                store.set_meta("config", config.model_dump(mode="json"))
            else:
                store = CampaignStore.create(file, {"config": config.model_dump(mode="json"), **meta})
        except BaseException:
            lock.release()
            raise
        return cls(path, store, lock, resumed=resumed)

    def candidate(self, candidate: int) -> Path:
        """The folder of one candidate's files; made when it is missing."""
        folder = self.path / "candidates" / str(candidate)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def close(self) -> None:
        """Close the store and let go of the lock."""
        self.store.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def store_path(run: Path) -> Path:
    """The store of a run folder. Raises RunFolderError when there is none."""
    if (run / _NIGHT).is_file():
        raise RunFolderError(
            f"{run} is a night, not a campaign", f"its page is {run / 'report.html'}; its runs are in {run / 'passes'}"
        )
    if (run / _COLLECTION).is_file():
        raise RunFolderError(
            f"{run} is a collection, not a campaign",
            f"its latencies: nag export {run} --dataset DIR; its page: nag report",
        )
    if not (run / STORE).is_file():
        raise RunFolderError(
            f"{run} is no run folder: it has no {STORE}",
            "give the folder of a campaign (nag run), a collection (nag collect) or a night (nag nightly)",
        )
    return run / STORE
