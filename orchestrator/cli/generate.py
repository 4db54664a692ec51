"""`nag generate`: architectures without a campaign."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from orchestrator.generate.base import Proposal
    from orchestrator.generate.guides import Budget
    from orchestrator.space.base import Space

NOTHING_WITHIN = 1  # exit code: done, but nothing meets the budget


def generate(
    space: Annotated[str, typer.Option(help="Search space: nasbench201 or mobilenetv3.", show_default=False)],
    method: Annotated[
        str,
        typer.Option(
            metavar="KIND|KIND:SHARE,KIND:SHARE,...",
            help="A generator's kind: diffusion_nag, diffusion_evolution, dinas, ednag, local_search, random, "
            "regularized_evolution, or one that another package adds; or several with their shares, e.g. "
            "diffusion_nag:0.7,random:0.3.",
        ),
    ] = "diffusion_nag",
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=1_000_000, help="Architectures wanted.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="All randomness derives from it.")] = 0,
    guide: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE:COLUMN|ofa:FILE|accuracy:FILE@DATASET[@FILE:COLUMN]",
            help="Maximise what a predictor says: one fitted on this column of a table, OFA's own for mobilenetv3, or "
            "one that knows other data sets (nag train accuracy), told what was evaluated on this one, if anything "
            "was. May be given several times; each counts in its spread over the space.",
        ),
    ] = None,
    latency_budget: Annotated[
        float | None, typer.Option(min=0.0, metavar="MS", help="Stay within this latency on --device.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="table:FILE:COLUMN|lut:FILE[@WIDTH]",
            help="Whose latencies the budget is about: a predictor fitted on a table's column, or the sum of a "
            "network's blocks out of a table of blocks.",
        ),
    ] = None,
    accuracy_quantile: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=0.999,
            metavar="SHARE",
            help="Be better than this share of what keeps the budget, e.g. 0.95; for dinas, which is trained on "
            "conditions and needs no --guide.",
        ),
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A network of your own, of a method that has one.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OPTION=VALUE", help="An option of the method, e.g. steps=40. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Propose architectures, best first where they are guided.

    Exits with 1 where a latency budget is given that no proposed architecture meets.
    """
    import json

    from orchestrator.errors import ConfigError, Problem
    from orchestrator.generate.base import Request
    from orchestrator.generate.guides import make_budget, make_conditions, make_score, make_utility, predictions
    from orchestrator.generate.registry import make_generator
    from orchestrator.space.registry import parse_space

    if (latency_budget is None) != (device is None):
        raise ConfigError(
            "nag generate", [Problem("--latency-budget/--device", (latency_budget, device), "both or neither")]
        )
    chosen = parse_space(space)
    generator = make_generator(_configuration(method, settings or (), checkpoint), chosen)
    if guide or device:
        print("reading and fitting predictors", file=sys.stderr)
    scores = {text: make_score(chosen, text, seed=seed) for text in guide or ()}
    budget = None
    if device is not None and latency_budget is not None:
        budget = make_budget(chosen, device, latency_budget, seed=seed)
    conditions = make_conditions(generator, budget, accuracy_quantile)
    utility = make_utility(chosen, list(scores.values()), budget) if scores or (budget and not conditions) else None
    proposal = generator.propose(Request(count, utility, seed=seed, conditions=conditions))

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
    if budget is not None:
        summary |= _kept(budget, chosen, proposal, texts)
    if as_json:
        named = scores | ({"latency_ms": budget.latency_ms} if budget else {})
        predicted = predictions(chosen, named, proposal.slots)
        origins = {"origins": proposal.origins} if proposal.origins else {}
        print(json.dumps({"architectures": texts, "predicted": predicted, **origins, "summary": summary}, indent=2))
    else:
        print("\n".join(texts))
        for name, value in summary.items():
            shown = "-" if value is None else f"{value:.4g}" if isinstance(value, float) else value
            print(f"{name:22} {shown}", file=sys.stderr)
    if budget is not None and not summary["within_budget"]:
        print(
            f"0 of {len(texts)} meet the budget of {budget.budget_ms:g} ms on {budget.device}; the nearest is "
            f"{summary['fastest']} at {summary['fastest_latency_ms']:.4g} ms",
            file=sys.stderr,
        )
        raise typer.Exit(NOTHING_WITHIN)


def _kept(budget: Budget, space: Space, proposal: Proposal, texts: Sequence[str]) -> dict[str, Any]:
    """How many keep the budget, and which is the fastest of all."""
    known_ms = budget.known_ms(proposal.slots, space)
    fastest = int(known_ms.argmin())
    return {
        "latency_budget_ms": budget.budget_ms,
        "device": budget.device,
        "within_budget": int((known_ms <= budget.budget_ms).sum()),
        "fastest": texts[fastest],
        "fastest_latency_ms": float(known_ms[fastest]),
    }


def _configuration(method: str, settings: Sequence[str], checkpoint: Path | None) -> dict[str, Any]:
    """What the options say about the generator, as in a campaign's file. Raises ConfigError."""
    from orchestrator.errors import ConfigError, Problem

    if not any(sign in method for sign in ":,"):
        own = {} if checkpoint is None else {"checkpoint": checkpoint}
        return {"kind": method, **_settings(settings), **own}
    if settings or checkpoint is not None:
        allowed = "with a single method; options of a mixture's parts belong into a campaign's file"
        raise ConfigError("nag generate", [Problem("--set/--checkpoint", (*settings, checkpoint), allowed)])
    parts: list[dict[str, Any]] = []
    for part in method.split(","):
        kind, _, share = part.partition(":")
        try:
            parts.append({"kind": kind.strip(), "share": float(share)})
        except ValueError:
            allowed = "KIND or KIND:SHARE,KIND:SHARE,..., e.g. diffusion_nag:0.7,random:0.3"
            raise ConfigError("nag generate", [Problem("--method", method, allowed)]) from None
    return {"kind": "mixture", "parts": parts}


def _settings(texts: Sequence[str]) -> dict[str, Any]:
    """`OPTION=VALUE`, values as in YAML. Raises ConfigError."""
    import yaml

    from orchestrator.errors import ConfigError, Problem

    values: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            if not (name and value):
                raise ValueError
            values[name] = yaml.safe_load(value)
        except (ValueError, yaml.YAMLError):
            raise ConfigError("nag generate", [Problem("--set", text, "OPTION=VALUE, e.g. steps=40")]) from None
    return values
