"""How far a collection is: from its folder, while it runs or afterwards. Costs the same however far it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator.collect.records import CollectModel
from orchestrator.collect.store import CollectStore, Tally, store_path
from orchestrator.folder_lock import is_busy

State = Literal["running", "finished", "partial", "interrupted"]


@dataclass(frozen=True)
class CollectStatus:
    """A collection at one moment.

    Attributes:
        name: Its name.
        state: `running`; or it is not: `finished` (every job has a result), `partial` (it ended without some),
            `interrupted` (it did not end).
        models: How many there are, the skipped ones included.
        skipped: Models that cannot be measured at all.
        tallies: Of each device.
        reasons: Device -> what kept it from its last jobs, where it ended without them.
    """

    name: str
    state: State
    models: int
    skipped: tuple[CollectModel, ...]
    tallies: tuple[Tally, ...]
    reasons: dict[str, str]

    @property
    def planned(self) -> int:
        """Jobs."""
        return sum(tally.planned for tally in self.tallies)

    @property
    def measured(self) -> int:
        """Jobs with a measurement."""
        return sum(tally.measured for tally in self.tallies)

    @property
    def failed(self) -> int:
        """Jobs with a failure that is the model's or the request's."""
        return sum(tally.failed for tally in self.tallies)

    @property
    def missing(self) -> int:
        """Jobs without a result."""
        return sum(tally.missing for tally in self.tallies)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing: every job has a result, and no model was left out."""
        return not self.missing and not self.skipped

    @property
    def left_s(self) -> float | None:
        """Time left: that of the slowest device; None while one of them is unknown."""
        each = [tally.left_s for tally in self.tallies if tally.missing]
        return None if any(left is None for left in each) else max((left or 0.0 for left in each), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """What `nag status --json` prints."""
        return {
            "name": self.name,
            "kind": "collection",
            "state": self.state,
            "models": self.models,
            "jobs": self.planned,
            "measurements": self.measured,
            "failed": self.failed,
            "missing": self.missing,
            "left_s": self.left_s,
            "devices": [
                {
                    "device": tally.device,
                    "planned": tally.planned,
                    "measured": tally.measured,
                    "failed": tally.failed,
                    "missing": tally.missing,
                    "seconds_per_result": tally.interval_s,
                    "left_s": tally.left_s,
                    "last_at": tally.last_at,
                    "phones": tally.phones,
                    "failures": tally.failures,
                    "reason": self.reasons.get(tally.device, ""),
                }
                for tally in self.tallies
            ],
            "skipped": [
                {"model": model.name, "code": model.failure.code, "detail": model.failure.detail}
                for model in self.skipped
                if model.failure is not None
            ],
        }


def status_of(run: Path) -> CollectStatus:
    """How far the collection in a folder is.

    Raises:
        RunFolderError: There is none.
        StoreError: Its store cannot be read.
    """
    with CollectStore.read(store_path(run)) as store:
        return read_status(run, store)


def read_status(run: Path, store: CollectStore) -> CollectStatus:
    """The same from an open store."""
    ended: dict[str, str] | None = store.meta("ended")
    tallies = store.tallies()
    state: State = "interrupted"
    if is_busy(run):
        state = "running"
    elif store.planned and not any(tally.missing for tally in tallies):
        state = "finished"
    elif ended is not None:
        state = "partial"
    reasons = {device: reason for device, reason in (ended or {}).items() if reason}
    name = store.meta("config")["name"]  # without the machinery that checks configurations: it takes longer than this
    return CollectStatus(name, state, store.model_count, store.skipped(), tallies, reasons)
