"""Campaigns of a night: run from beginning to end, and held against those of the baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.campaign.config import Config, load_config
from orchestrator.compare.latencies import RunLatencies
from orchestrator.errors import DevicesMissing, RunFolderError
from orchestrator.nightly.config import NightlyConfig
from orchestrator.nightly.night import NIGHT, Night, read_night
from orchestrator.nightly.result import CampaignResult

if TYPE_CHECKING:
    from orchestrator.campaign.events import Event
    from orchestrator.campaign.state import CampaignState

CampaignView = Callable[["Event"], None]


def run_campaigns(
    config: NightlyConfig, folder: Path, night: Night, earlier: Sequence[RunLatencies], listen: CampaignView
) -> tuple[tuple[CampaignResult, ...], Night]:
    """Run them, one after the other; each goes on where an interruption left it.

    Returns:
        What they found, and the night with their folders.
    """
    results = []
    for path in config.campaigns:
        campaign = load_config(path)
        part = f"campaigns/{campaign.name}"
        night = replace(night, campaigns={**night.campaigns, campaign.name: part})
        night.write(folder)
        results.append(_run(campaign, folder / part, earlier, listen))
    return tuple(results), night


def _run(campaign: Config, folder: Path, earlier: Sequence[RunLatencies], listen: CampaignView) -> CampaignResult:
    # Imported late: a night without campaigns needs none of the numerical libraries that they load.
    from orchestrator.campaign.devices import resolve
    from orchestrator.campaign.loop import run_campaign

    try:
        state = run_campaign(resolve(campaign, folder), folder, listen)
    except DevicesMissing as error:
        return CampaignResult(campaign.name, "missing", detail=error.message)
    if not state.front:
        return CampaignResult(campaign.name, "broken", detail="nothing that it measured meets its goal")
    best = {name: observed.value for name, observed in state.front[0].metrics.items()}
    return CampaignResult(campaign.name, "same", best, _hypervolume(state), _before(campaign.name, earlier))


def _before(name: str, earlier: Sequence[RunLatencies]) -> float | None:
    """The hypervolume of the latest baseline that ran this campaign."""
    from orchestrator.report.run import read_run

    for run in reversed(earlier):
        if run.kind == "nightly" and (run.folder / NIGHT).is_file():
            part = read_night(run.folder).campaigns.get(name)
            if part is not None:
                try:
                    return _hypervolume(read_run(run.folder / part).state)
                except RunFolderError:  # it was interrupted before it began
                    continue
    return None


def _hypervolume(state: CampaignState) -> float | None:
    return float(state.progress[-1]) if state.goal.minimize and len(state.progress) else None
