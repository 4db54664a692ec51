"""Collector: keeps every device busy with the next jobs of its lane, and commits each result the moment it arrives.

Only a window of jobs is under way: what has to be remembered does not depend on how many there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from device_agent.backend import MeasurementJob, MeasurementResult
from device_agent.device import Artifact
from device_agent.journal import Journal, JournalError
from device_agent.reference import ReferencePlan
from device_agent.session import FleetPolicy
from orchestrator.campaign.device_config import HostDeviceConfig
from orchestrator.collect.compiler import Compiler
from orchestrator.collect.config import CollectConfig
from orchestrator.collect.events import Arrived, Listener, Planning, PutOff, Rested, Started, Woke
from orchestrator.collect.folder import CollectFolder
from orchestrator.collect.lane import Lane
from orchestrator.collect.models import unplanned_files
from orchestrator.collect.records import CollectJob
from orchestrator.collect.store import CollectStore
from orchestrator.errors import RunFolderError
from orchestrator.rig import JOURNAL, Rig, open_rig
from profiling.records import Failure

_LOOK_S = 1.0  # between looks at which devices are there, when nothing arrives


@dataclass(frozen=True)
class _Task:
    """What a future will give."""

    lane: Lane
    job: CollectJob


def collect(config: CollectConfig, path: Path, listen: Listener = lambda event: None) -> None:
    """Start the collection in this folder, or go on with it, until every job has a result or cannot have one.

    What is missing then, and why, is in the folder: see `orchestrator.collect.status`.

    Raises:
        ConfigError: A list or a space has not what is asked for.
        RunFolderError: The folder is busy, holds something else, or a full disk keeps results from being written.
        DevicesMissing: No phone is ready, and none is named.
        DeviceError: A virtual lab or the adb server cannot be started.
        StoreError: A result could not be committed; those committed before stay.
        KeyboardInterrupt: The user stopped it; what is committed stays.
    """
    with CollectFolder.open(path, config, lambda: listen(Planning())) as folder:
        config, store = folder.config, folder.store
        new = unplanned_files(config, store.models()) if folder.resumed else []
        listen(Started(folder.resumed, store.skipped(), tuple(new)))
        try:
            _take_marks(path / JOURNAL, store)
            with open_rig(
                config.devices,
                path,
                seed=config.seed,
                space=config.space,
                always_fleet=True,
                references=_references(config),
                policy=FleetPolicy(patience_s=config.patience_s),
                on_suspect=lambda jobs, reason: store.mark_suspect(map(_number, jobs), reason),
            ) as rig:
                Collector(config, store, rig, listen).run()
        except JournalError as error:
            raise RunFolderError(error.message, f"{error.hint}; everything committed so far is kept") from error


class Collector:
    """One run of a collection."""

    def __init__(self, config: CollectConfig, store: CollectStore, rig: Rig, listen: Listener) -> None:
        """Args:
        config: With every device named.
        store: Planned.
        rig: The devices; the caller closes it.
        listen: Told of every result, from the thread that runs.
        """
        hosts = {device.name for device in config.devices if isinstance(device, HostDeviceConfig)}
        self._config = config
        self._store = store
        self._rig = rig
        self._listen = listen
        self._compiler = Compiler(config, store, rig.gate.training if hosts else nullcontext)
        # Nothing is compiled while this machine measures: with one job at a time there are gaps for what others need.
        self._lanes = [
            Lane(device, store, window=1 if device in hosts else config.window, rest_s=config.patience_s)
            for device in config.device_names
        ]
        self._tasks: dict[Future[MeasurementResult], _Task] = {}
        self._since = time.time()

    def run(self) -> None:
        """Work until no lane has a job that can be had."""
        self._store.set_meta("ended", None)
        while True:
            self._hand_out()
            if not self._tasks:
                break
            done, _ = wait(self._tasks, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            for future in done:
                task, result = self._tasks.pop(future), future.result()
                if isinstance(result, Failure) and result.kind == "infrastructure":
                    self._put_off(task, result)
                else:
                    self._commit(task, result)
        self._store.set_meta("ended", {lane.device: _why(lane) for lane in self._lanes})

    def _hand_out(self) -> None:
        """Fill the lanes, one job for each in turn: a slow compilation must not keep all devices but one waiting."""
        devices = self._rig.backend.inventory()
        for lane in self._lanes:
            if lane.wake(devices, time.monotonic()):
                self._listen(Woke(lane.device))
        waiting = list(self._lanes)
        while waiting:
            waiting = [lane for lane in waiting if self._hand_out_one(lane)]

    def _hand_out_one(self, lane: Lane) -> bool:
        """Whether the lane had a job."""
        given = lane.next(self._rig.backend.inventory())
        if given is None:
            return False
        job, address = given
        artifact = self._artifact(job)
        if isinstance(artifact, Failure):
            self._commit(_Task(lane, job), artifact)
            return True
        plan = self._config.measure.plan_for(threads=job.setting.threads, delegate=job.setting.delegate)
        # A job that failed gets a new name, or the journal would answer with the old failure for ever.
        future = self._rig.backend.submit(MeasurementJob(f"{job.id}.{job.attempts}", artifact, plan, address))
        self._tasks[future] = _Task(lane, job)
        return True

    def _artifact(self, job: CollectJob) -> Artifact | Failure:
        if job.device in self._rig.tables:
            return Artifact("", b"", job.model.name)
        return self._compiler.artifact(job.model, job.setting.precision)

    def _commit(self, task: _Task, result: MeasurementResult) -> None:
        self._store.add_result(task.job, result, at=time.time(), since=self._since)
        task.lane.arrived(task.job)
        self._listen(Arrived(task.job, result))

    def _put_off(self, task: _Task, failure: Failure) -> None:
        self._store.put_off(task.job, failure)
        rests = task.lane.failed(task.job, failure, time.monotonic())
        self._listen(PutOff(task.job, failure))
        if rests:
            self._listen(Rested(task.lane.device, task.lane.reason))


def _why(lane: Lane) -> str:
    """What kept a lane from its last jobs."""
    if lane.reason:
        return lane.reason
    if lane.shelved:
        return f"{len(lane.shelved)} replicates need another phone of the model than those which were there"
    return ""


def _references(config: CollectConfig) -> Callable[[], ReferencePlan] | None:
    """Makes the plan of references, where they are wanted."""
    wanted = config.references
    return None if wanted is None else lambda: ReferencePlan(every=wanted.every, every_s=wanted.every_s)


def _take_marks(journal: Path, store: CollectStore) -> None:
    """Marks of drift that the journal has and the store has not, because the program was killed between them."""
    if journal.is_file():
        with Journal(journal) as book:
            for job, reason in book.suspects().items():
                store.mark_suspect([_number(job)], reason)


def _number(job_id: str) -> int:
    """The job that a backend's name for an attempt at it stands for."""
    return int(job_id.partition(".")[0])
