"""What `nag run` and `nag status` print about a campaign."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from orchestrator.campaign.config import ACCURACY
from orchestrator.campaign.folder import store_path
from orchestrator.campaign.state import CampaignState, Candidate, read_config, read_state, stop_reason
from orchestrator.cli.console import output
from orchestrator.folder_lock import is_busy
from profiling.store import CampaignStore

RunState = Literal["running", "interrupted", "finished"]


def status_of(run: Path) -> dict[str, Any]:
    """The JSON of `nag status`: state, candidates by status, measurements, hypervolume, the best candidates.

    Raises:
        RunFolderError: The folder holds no campaign.
        StoreError: Its store cannot be read.
    """
    with CampaignStore.read(store_path(run)) as store:
        state = read_state(store, read_config(store))
        reason = stop_reason(store, state)
        measurements = sum(outcome.value is not None for outcome in store.measurements().values())
    progress = float(state.progress[-1]) if len(state.progress) else None
    return {
        "name": state.config.name,
        "state": _run_state(run, reason),
        "reason": reason,
        "candidates": {**state.counts, "budget": state.config.budget.candidates},
        "rounds": len(state.rounds),
        "measurements": measurements,
        "hypervolume": progress if state.goal.minimize else None,
        "devices": list(state.config.device_names),
        "best": describe(state.front[0]) if state.front else {},
        "front": [describe(candidate) for candidate in state.front],
    }


def _run_state(run: Path, reason: str | None) -> RunState:
    """Whether a process works on the run, and if not, whether it is done."""
    if is_busy(run):
        return "running"
    return "finished" if reason is not None else "interrupted"


def describe(candidate: Candidate) -> dict[str, Any]:
    """One candidate as JSON; latencies with their 95 % interval."""
    accuracy = candidate.accuracy
    return {
        "id": candidate.row.id,
        "architecture": candidate.row.architecture,
        ACCURACY: accuracy.accuracy if accuracy else None,
        "latency_ms": {
            device: {"value": m.latency_ms, "ci_low": m.ci_low_ms, "ci_high": m.ci_high_ms, "grade": m.grade}
            for device, m in candidate.latencies.items()
        },
    }


def front_table(state: CampaignState, limit: int = 12) -> Table:
    """The best candidates: the front, or the best under the constraints."""
    table = Table(box=None, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("accuracy", justify="right")
    devices = list(state.config.device_names)
    for device in devices:
        table.add_column(f"{device} (ms)", justify="right")
    table.add_column("architecture", overflow="fold")
    for candidate in state.front[:limit]:
        cells = [_latency(candidate, device) for device in devices]
        accuracy = f"{candidate.metrics[ACCURACY].value:.2f}{state.config.accuracy_unit}"
        table.add_row(str(candidate.row.id), accuracy, *cells, candidate.row.architecture)
    return table


def _latency(candidate: Candidate, device: str) -> str:
    measurement = candidate.latencies.get(device)
    if measurement is None:
        return "-"
    half = 100 * measurement.half_width
    return f"{measurement.latency_ms:.3f}" + (f" ± {half:.1f} %" if math.isfinite(half) and half > 0 else "")


def print_summary(state: CampaignState, folder: Path, page: Path) -> None:
    """The end of `nag run`."""
    console = output()
    counts = state.counts
    console.print(f"\n[bold]{state.config.name}[/]: {counts['measured']} measured, {counts['failed']} failed")
    if state.front:
        console.print(front_table(state))
    else:
        console.print("No candidate meets the goal yet; a larger budget or a looser constraint may help.")
    console.print(f"\nreport   {page}", soft_wrap=True, highlight=False)
    console.print(f"export   nag export {folder} --out winners", soft_wrap=True, highlight=False)


def print_status(run: Path) -> None:
    """`nag status` for people."""
    values = status_of(run)
    counts = values["candidates"]
    console = output()
    console.print(
        f"[bold]{values['name']}[/]: {values['state']}" + (f" ({values['reason']})" if values["reason"] else "")
    )
    console.print(
        f"candidates  {counts['measured']} measured, {counts['failed']} failed, {counts['running']} running "
        f"of {counts['budget']}; {values['rounds']} rounds, {values['measurements']} latency measurements"
    )
    if values["hypervolume"] is not None:
        console.print(f"hypervolume {values['hypervolume']:.4g}")
    with CampaignStore.read(store_path(run)) as store:
        state = read_state(store, read_config(store))
    if state.front:
        console.print(front_table(state))
