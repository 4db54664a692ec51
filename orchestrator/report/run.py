"""Run: a snapshot of a run folder for the report and the export."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.campaign.folder import store_path
from orchestrator.campaign.state import CampaignState, Candidate, read_config, read_state, stop_reason
from orchestrator.campaign.warm_start import Verdict, read_warm_start
from orchestrator.errors import RunFolderError
from orchestrator.folder_lock import is_busy
from profiling.records import Block, Failure, Measurement
from profiling.store import CampaignStore, Purpose, StoreError


@dataclass(frozen=True)
class LatencyRecord:
    """One candidate's latency on one device: the estimate or the failure, and the blocks.

    Attributes:
        candidate: Its id.
        device: Where.
        purpose: `search`, or `verify` for a winner that was measured again.
        at: When the result arrived, seconds since the epoch; None while blocks still arrive.
        measurement: The estimate (its own `blocks` are empty).
        failure: Why there is none.
        blocks: Every block, rejected ones included; empty where an earlier measurement of the same artifact was used.
    """

    candidate: int
    device: str
    purpose: Purpose
    at: float | None
    measurement: Measurement | None
    failure: Failure | None
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Run:
    """Everything that a run folder holds.

    Attributes:
        folder: The run folder.
        state: Candidates, front, progress.
        latencies: Every measurement in the order in which results arrived; unfinished ones last.
        environment: Versions and platform of the process that started the campaign.
        stop_reason: Why the campaign stopped; None while it has not.
        worked_s: Working time of all its processes, as far as it is known.
        busy: Whether a process works on it now.
        read_at: When this snapshot was taken, seconds since the epoch.
        earlier: What became of the measurements of earlier campaigns that it began with.
    """

    folder: Path
    state: CampaignState
    latencies: tuple[LatencyRecord, ...]
    environment: Mapping[str, Any]
    stop_reason: str | None
    worked_s: float | None
    busy: bool
    read_at: float
    earlier: tuple[Verdict, ...] = ()

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the campaign's devices."""
        return self.state.config.device_names

    @cached_property
    def verified(self) -> Mapping[tuple[int, str], Measurement]:
        """(candidate, device) -> the measurement that verified a winner."""
        records = (record for record in self.latencies if record.purpose == "verify")
        return {(r.candidate, r.device): r.measurement for r in records if r.measurement is not None}

    @cached_property
    def candidates(self) -> Mapping[int, Candidate]:
        """Candidates by id."""
        return {candidate.row.id: candidate for candidate in self.state.candidates}

    @property
    def accuracy_unit(self) -> str:
        """`%`, or nothing for proxies, whose scores have a scale of their own."""
        return "" if self.state.config.accuracy.kind == "proxy" else "%"


def read_run(folder: Path) -> Run:
    """Read a run folder; a campaign that works in it is neither disturbed nor waited for.

    Raises:
        RunFolderError: There is no campaign in the folder, or its store cannot be read.
    """
    with _opened(folder) as store:
        config = read_config(store)
        state = read_state(store, config)
        worked_s = store.meta("worked_s")
        return Run(
            folder=folder,
            state=state,
            latencies=tuple(_latencies(store, state)),
            environment=store.meta("environment") or {},
            stop_reason=stop_reason(store, state),
            worked_s=None if worked_s is None else float(worked_s),
            busy=is_busy(folder),
            read_at=time.time(),
            earlier=read_warm_start(store).verdicts,
        )


@contextmanager
def _opened(folder: Path) -> Iterator[CampaignStore]:
    try:
        with CampaignStore.read(store_path(folder)) as store:
            yield store
    except StoreError as error:
        raise RunFolderError(error.message, error.hint) from error
    except (KeyError, TypeError, ValueError) as error:
        # The database is sound, but a value in it is not what this program writes.
        raise RunFolderError(
            f"{folder}: the store holds a value that cannot be read ({type(error).__name__}: {error})",
            "restore the folder from a backup, or read it with the version of DeviceNAG that wrote it",
        ) from error


def _latencies(store: CampaignStore, state: CampaignState) -> list[LatencyRecord]:
    records: list[LatencyRecord] = []
    devices = list(state.config.device_names)
    purposes: tuple[Purpose, ...] = ("search", "verify")
    for purpose in purposes:
        outcomes = store.measurements(purpose)
        for candidate in state.candidates:
            for device in devices:
                outcome = outcomes.get((candidate.row.id, device))
                blocks = store.blocks(candidate.row.id, device, purpose)
                if outcome is None and not blocks:
                    continue
                at, value, failure = (outcome.at, outcome.value, outcome.failure) if outcome else (None, None, None)
                records.append(LatencyRecord(candidate.row.id, device, purpose, at, value, failure, blocks))
    return sorted(records, key=lambda record: (record.at is None, record.at or 0.0, record.candidate))
