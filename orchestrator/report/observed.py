"""Observed: a latency, or a failure to get one, as a campaign or a collection has it: what quality is judged by."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from orchestrator.campaign.jobs import job_name
from orchestrator.collect.records import CollectedResult
from orchestrator.collect.store import CollectStore
from orchestrator.report.run import Run
from profiling.records import Block, Failure, Measurement


@dataclass(frozen=True)
class Observed:
    """One result with its blocks.

    Attributes:
        device: What the run calls the device: a phone model, a serial, a host.
        at: When it arrived, seconds since the epoch.
        result: The estimate or the failure.
        blocks: All, the rejected ones included.
        setting: How it was run, for people: `float32, cpu, 1 thread`; empty where a run has only one.
        subject: Equal for results of the same artifact in the same setting, whatever phone they are from.
        suspect: Whether a drift may have touched it.
    """

    device: str
    at: float
    result: Measurement | Failure
    blocks: tuple[Block, ...]
    setting: str
    subject: int
    suspect: bool = False


def observed_in_run(run: Run, suspects: Collection[str] = ()) -> Iterator[Observed]:
    """What a campaign measured.

    Args:
        run: The campaign.
        suspects: Names of the jobs that a drift may have touched: they are in the fleet's journal.
    """
    for record in run.latencies:
        result = record.measurement or record.failure
        if result is not None and record.at is not None:
            artifact = record.measurement.artifact_sha256 if record.measurement else ""
            subject = hash((artifact, record.candidate if not artifact else 0, record.purpose))
            suspect = job_name(record.candidate, record.device, record.purpose) in suspects
            yield Observed(record.device, record.at, result, record.blocks, "", subject, suspect)


def observed_in_collection(store: CollectStore) -> Iterator[Observed]:
    """What a collection measured, one at a time."""
    for collected in store.results():
        blocks = collected.result.blocks if isinstance(collected.result, Measurement) else ()
        yield Observed(
            device=collected.job.device,
            at=collected.at,
            result=collected.result,
            blocks=blocks,
            setting=setting_text(collected),
            subject=hash((collected.job.model.id, collected.job.setting)),
            suspect=bool(collected.suspect),
        )


def setting_text(collected: CollectedResult) -> str:
    """`float32, cpu, 4 threads`."""
    setting = collected.job.setting
    return f"{setting.precision}, {setting.delegate}, {setting.threads} thread{'s' if setting.threads != 1 else ''}"
