"""Evaluator: gets the missing results of candidates, side by side, and commits each the moment it arrives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from device_agent.backend import MeasurementJob, MeasurementResult
from device_agent.device import Artifact
from orchestrator.campaign.config import ACCURACY, Config, latency_metric
from orchestrator.campaign.events import AccuracyDone, BlockDone, LatencyDone, Listener
from orchestrator.campaign.folder import RunFolder
from orchestrator.campaign.jobs import job_name
from orchestrator.campaign.state import Candidate
from orchestrator.errors import DevicesMissing, ObjectiveFailed
from orchestrator.objective.base import AccuracyJob, AccuracyResult, Objective
from orchestrator.rig import Rig
from orchestrator.space.base import Architecture, Space
from profiling.network import Network
from profiling.plan import MeasurementPlan
from profiling.precision import convert
from profiling.records import Block, Failure, Measurement
from profiling.store import NetworkRow, Purpose
from profiling.tflite import emit
from profiling.weights import Weights, load_weights, random_weights

Result = AccuracyResult | Measurement | Failure


@dataclass(frozen=True)
class _Task:
    """What a future will give; `goes_on`: a better estimate of what has one already."""

    candidate: int
    metric: str
    device: str
    purpose: Purpose
    goes_on: bool = False


class Evaluator:
    """Runs accuracy and latency jobs of candidates. The caller's thread commits results; workers commit blocks."""

    def __init__(
        self,
        config: Config,
        space: Space,
        objective: Objective,
        rig: Rig,
        folder: RunFolder,
        listen: Listener,
    ) -> None:
        """Args:
        config: The campaign.
        space: Where architectures come from.
        objective: Gives accuracies.
        rig: Gives latencies; the caller closes it, after the evaluator.
        folder: Where results go.
        listen: Told of every block and result.
        """
        self._config = config
        self._space = space
        self._objective = objective
        self._rig = rig
        self._folder = folder
        self._listen = listen
        self._trainer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="accuracy")

    def close(self) -> None:
        """Stop what runs, without waiting for it to succeed."""
        self._objective.close()
        self._rig.gate.close()
        self._rig.backend.close()
        self._trainer.shutdown(wait=True, cancel_futures=True)

    def evaluate(self, candidates: Sequence[Candidate]) -> None:
        """Get and commit every missing result of these candidates.

        Raises:
            DevicesMissing: Devices or their links failed for good; every other result is committed, and the next run
                goes on with what is missing.
            StoreError: A result could not be committed; those committed before stay.
        """
        plan = self._config.measure.search_plan()
        tasks: dict[Future[Any], _Task] = {}
        for candidate in candidates:
            architecture = self._space.architecture(candidate.row.slots)
            artifact = self._artifact(candidate, architecture)
            for metric in candidate.missing:
                if metric == ACCURACY:
                    future = self._trainer.submit(self._accuracy, candidate, architecture)
                    tasks[future] = _Task(candidate.row.id, metric, "", "search")
                    continue
                device = self._device_of(metric)
                known = self._measured_before(artifact, device)
                if known is not None:
                    self._commit(_Task(candidate.row.id, metric, device, "search"), known)
                    continue
                task = _Task(candidate.row.id, metric, device, "search")
                tasks[self._measure(task, artifact, plan)] = task
        self._collect(tasks)

    def settle(self, wanted: Sequence[tuple[Candidate, str]]) -> None:
        """Go on with measurements, given as candidate and device, until they are as precise as results must be.

        Raises:
            DevicesMissing, StoreError: As `evaluate`.
        """
        plan = self._config.measure.plan()
        tasks: dict[Future[Any], _Task] = {}
        for candidate, device in wanted:
            artifact = self._artifact(candidate, self._space.architecture(candidate.row.slots))
            task = _Task(candidate.row.id, latency_metric(device), device, "search", goes_on=True)
            tasks[self._measure(task, artifact, plan)] = task
        self._collect(tasks)

    def verify(self, winners: Sequence[Candidate]) -> None:
        """Measure winners again on every device that runs artifacts, twice as tightly, with their trained weights."""
        plan = self._config.measure.plan()
        tight = replace(
            plan, target_half_width=plan.target_half_width / 2, min_blocks=max(plan.min_blocks, plan.max_blocks // 2)
        )
        done = self._folder.store.measurements("verify")
        tasks: dict[Future[Any], _Task] = {}
        for candidate in winners:
            for device in candidate.latencies:
                if (candidate.row.id, device) in done or device in self._rig.tables:
                    continue
                artifact = self._trained_artifact(candidate)
                task = _Task(candidate.row.id, latency_metric(device), device, "verify")
                tasks[self._measure(task, artifact, tight)] = task
        self._collect(tasks)

    @property
    def runs_artifacts(self) -> bool:
        """Whether any device really runs what is compiled."""
        return bool(set(self._config.device_names) - self._rig.tables)

    def _device_of(self, metric: str) -> str:
        return next(name for name in self._config.device_names if latency_metric(name) == metric)

    def _artifact(self, candidate: Candidate, architecture: Architecture) -> Artifact:
        """What devices run: compiled with fixed weights, so that equal networks are equal bytes."""
        if not self.runs_artifacts:
            return Artifact("", b"", architecture.text)
        network = self._space.network(architecture, self._config.space.network_options())
        artifact = Artifact.of(self._compiled(network, random_weights(network)), architecture.text)
        if candidate.network is None:
            row = NetworkRow(artifact.sha256, len(artifact.data), network.parameters, network.multiply_adds)
            self._folder.store.add_network(candidate.row.id, row)
        return artifact

    def _trained_artifact(self, candidate: Candidate) -> Artifact:
        architecture = self._space.architecture(candidate.row.slots)
        if candidate.accuracy is None or candidate.accuracy.weights is None:
            return self._artifact(candidate, architecture)
        network = self._space.network(architecture, self._config.space.network_options())
        weights = load_weights(self._folder.path / candidate.accuracy.weights)
        return Artifact.of(self._compiled(network, weights), architecture.text)

    def _compiled(self, network: Network, weights: Weights) -> bytes:
        """The artifact in the precision that is measured; calibrated on noise, for latency does not see values."""
        return convert(emit(network, weights), self._config.measure.precision)

    def _measured_before(self, artifact: Artifact, device: str) -> Measurement | None:
        """A measurement of the same bytes on the same device, made for another candidate."""
        if not artifact.sha256 or device in self._rig.tables:
            return None
        twins = [c for c, row in self._folder.store.networks().items() if row.artifact_sha256 == artifact.sha256]
        measurements = self._folder.store.measurements()
        found = (measurements[twin, device].value for twin in twins if (twin, device) in measurements)
        return next((value for value in found if value is not None), None)

    def _measure(self, task: _Task, artifact: Artifact, plan: MeasurementPlan) -> Future[MeasurementResult]:
        def keep(block: Block) -> None:
            self._folder.store.add_block(task.candidate, task.device, block, task.purpose)
            self._listen(BlockDone(task.candidate, task.device, block))

        earlier = self._folder.store.blocks(task.candidate, task.device, task.purpose)
        job = MeasurementJob(
            job_id=job_name(task.candidate, task.device, task.purpose, continued=task.goes_on),
            artifact=artifact,
            plan=plan,
            device=task.device,
            earlier_blocks=earlier,
        )
        return self._rig.backend.submit(job, on_block=keep)

    def _accuracy(self, candidate: Candidate, architecture: Architecture) -> AccuracyResult | Failure:
        job = AccuracyJob(
            candidate=candidate.row.id,
            architecture=architecture,
            network=self._config.space.network_options(),
            seed=candidate.row.seed,
            folder=self._folder.candidate(candidate.row.id),
            yield_host=self._rig.gate.checkpoint,
        )
        try:
            if not self._objective.uses_host:
                return self._objective.evaluate(job)
            with self._rig.gate.training():
                return self._objective.evaluate(job)
        except ObjectiveFailed as error:
            if error.retry:
                raise
            return Failure("model", error.code, error.message)

    def _collect(self, tasks: Mapping[Future[Any], _Task]) -> None:
        """Commit results as they arrive. What the infrastructure is to blame for says nothing of a candidate."""
        undone: list[tuple[_Task, Failure]] = []
        for future in as_completed(tasks):
            task, result = tasks[future], future.result()  # a fault that is no result (a full disk) ends the round
            if isinstance(result, Failure) and result.kind == "infrastructure":
                undone.append((task, result))
                self._listen(LatencyDone(task.candidate, task.device, result))
            else:
                self._commit(task, result)
        if undone:
            task, failure = undone[0]
            raise DevicesMissing(
                f"{len(undone)} measurements could not be made; the first, on {task.device}: {failure.detail}",
                "see `nag doctor`; everything else is saved, and the same command goes on with what is missing",
            )

    def _commit(self, task: _Task, result: Result) -> None:
        store = self._folder.store
        if task.metric != ACCURACY:
            assert not isinstance(result, AccuracyResult)
            if not task.goes_on:
                store.add_measurement(task.candidate, task.device, result, task.purpose)
            elif isinstance(result, Measurement):  # what does not work any more does not undo what has worked
                store.refine_measurement(task.candidate, task.device, result)
            self._listen(LatencyDone(task.candidate, task.device, result))
            return
        assert not isinstance(result, Measurement)
        if isinstance(result, Failure):
            store.add_accuracy(task.candidate, result)
            self._listen(AccuracyDone(task.candidate, result))
            return
        relative = _relative(result.weights, self._folder.path)
        store.add_accuracy(task.candidate, replace(result, weights=relative).to_json())
        self._listen(AccuracyDone(task.candidate, result.accuracy, self._config.accuracy_unit))


def _relative(path: Path | None, folder: Path) -> Path | None:
    """Paths inside the run folder are kept relative to it, so that the folder can be moved."""
    return path.relative_to(folder) if path is not None and path.is_relative_to(folder) else path
