"""What is still too loose for a result: measurements of which more blocks are wanted once the search is over.

While a campaign searches, loose measurements nearly do: surrogates average over architectures, and most of what is on
the front in one round is dominated a few rounds later. So only what may be on the front at the end is measured on.
"""

from __future__ import annotations

from orchestrator.campaign.config import latency_metric
from orchestrator.campaign.state import CampaignState, Candidate
from orchestrator.optimize.precision import worth_measuring_on


def unsettled(state: CampaignState) -> list[tuple[Candidate, str]]:
    """Candidates and devices whose latency was measured loosely, and whose exact value matters to the result."""
    target = state.config.measure.target_half_width
    loose = {
        candidate.row.id: {d for d, known in candidate.latencies.items() if known.target_half_width > target}
        for candidate in state.measured
    }
    asked = [candidate for candidate in state.measured if loose[candidate.row.id]]
    others = [candidate.metrics for candidate in state.measured if not loose[candidate.row.id]]
    wanted = worth_measuring_on(state.goal, [candidate.metrics for candidate in asked], others)
    return [
        (candidate, device)
        for candidate, metrics in zip(asked, wanted, strict=True)
        for device in sorted(loose[candidate.row.id])
        if latency_metric(device) in metrics
    ]
