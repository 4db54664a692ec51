"""`nag generate`: architectures without a campaign."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def generate(
    space: Annotated[str, typer.Option(help="Search space, e.g. nasbench201.", show_default=False)],
    method: Annotated[
        str, typer.Option(help="diffusion_nag, regularized_evolution, random, or a kind that another package adds.")
    ] = "diffusion_nag",
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=1_000_000, help="Architectures wanted.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="All randomness derives from it.")] = 0,
    guide: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE:COLUMN",
            help="Maximise what a predictor fitted on this column of a table says; may be given several times.",
        ),
    ] = None,
    latency_budget: Annotated[
        float | None, typer.Option(min=0.0, metavar="MS", help="Stay within this latency on --device.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="table:FILE:COLUMN", help="Whose latencies the budget is about.")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A score network of your own (diffusion_nag).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Propose architectures, best first where they are guided."""
    import json

    from orchestrator.errors import ConfigError, Problem
    from orchestrator.generate.base import Request, Utility
    from orchestrator.generate.registry import make_generator
    from orchestrator.space.registry import make_space

    if (latency_budget is None) != (device is None):
        raise ConfigError(
            "nag generate", [Problem("--latency-budget/--device", (latency_budget, device), "both or neither")]
        )
    if latency_budget == 0:
        raise ConfigError("nag generate", [Problem("--latency-budget", latency_budget, "milliseconds above 0")])
    if device is not None and not device.startswith("table:"):
        raise ConfigError(
            "nag generate",
            [Problem("--device", device, "table:FILE:COLUMN")],
            "a budget needs latencies to learn from: measure some (nag collect), or run a campaign (nag run)",
        )
    chosen = make_space(space)
    options: dict[str, Any] = {"kind": method}
    if checkpoint is not None:
        options["checkpoint"] = checkpoint
    generator = make_generator(options, chosen)
    utility: Utility | None = None
    if guide or device is not None:
        from orchestrator.generate.table_guide import fit_table_guide

        print("fitting predictors on the tables", file=sys.stderr)
        utility = fit_table_guide(
            chosen,
            guide or (),
            latency=device.removeprefix("table:") if device is not None else None,
            latency_budget_ms=latency_budget,
            seed=seed,
        )
    proposal = generator.propose(Request(count, utility, seed=seed))
    texts = [chosen.architecture(row).text for row in proposal.slots]
    summary = {
        "space": chosen.name,
        "method": generator.name,
        "seed": seed,
        "count": len(texts),
        "validity_unprojected": proposal.validity_unprojected,
        "uniqueness": proposal.uniqueness,
        "novelty": proposal.novelty,
        "utility_calls": proposal.utility_calls,
        "seconds": round(proposal.seconds, 4),
    }
    if as_json:
        print(json.dumps({"architectures": texts, "summary": summary}, indent=2))
        return
    print("\n".join(texts))
    for name, value in summary.items():
        shown = "-" if value is None else f"{value:.4g}" if isinstance(value, float) else value
        print(f"{name:22} {shown}", file=sys.stderr)
