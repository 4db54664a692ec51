"""`nag compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.phones import JsonOption

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.compare.result import PlaceComparison, RunComparison
    from profiling.compare import Effect, Policy

MISSED = 1
_SHOWN = 12  # models of a device, where not all are asked for


def compare(
    before: Annotated[Path, typer.Argument(help="A run folder: campaign, collection or night.", show_default=False)],
    now: Annotated[Path, typer.Argument(help="Another one, or the same.", show_default=False)],
    devices: Annotated[
        list[str] | None,
        typer.Option(
            "--device", metavar="BEFORE=NOW", help="Compare these two devices instead of each with itself. Repeatable."
        ),
    ] = None,
    max_slowdown: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=99.0, help="Exit code 1 if a model is surely slower by more percent.", show_default=False
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="List every model and every change.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the same models on two runs, phones, runtimes or OS builds.

    Models are the same by their bytes, or by architecture or file name where they were compiled otherwise.
    """
    import json

    from orchestrator.compare.result import compare_runs
    from orchestrator.errors import ConfigError, Problem
    from profiling.compare import Policy

    asked: dict[str, str] = {}
    for text in devices or []:
        first, separator, second = text.partition("=")
        if not separator or not first or not second:
            raise ConfigError("nag compare", [Problem("--device", text, "BEFORE=NOW, names of two devices")])
        asked[first] = second
    policy = Policy() if max_slowdown is None else Policy(margin=max_slowdown / 100)
    result = compare_runs(before, now, policy=policy, devices=asked)
    if as_json:
        print(json.dumps(result.to_json(), indent=2))
    else:
        _print(result, policy, everything)
    slower = any(model.verdict == "slower" for place in result.places for model in place.models)
    if max_slowdown is not None and slower:
        raise typer.Exit(MISSED)


def _print(result: RunComparison, policy: Policy, everything: bool) -> None:
    from orchestrator.cli.console import output

    console = output(highlight=False)
    for place in result.places:
        _print_place(console, place, policy, everything)
    if result.environment:
        console.print("[bold]What changed in the programs that measured[/]")
        for change in result.environment:
            console.print(f"  {change.what}: {change.before or 'nothing'} → {change.now or 'nothing'}", markup=False)


def _print_place(console: Console, place: PlaceComparison, policy: Policy, everything: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from orchestrator.report import readable

    names = [place.before.device.name, place.now.device.name]
    title = names[0] if place.same_device else f"{names[0]} → {names[1]}"
    settings = dict.fromkeys([place.before.setting, place.now.setting])
    console.print(Text(f"{title}  ({' → '.join(settings)})", style="bold"), soft_wrap=True)
    if place.same_device:
        for change in place.system_changes:
            text = f"not the same system: {change.what} {change.before or 'unknown'} → {change.now or 'unknown'}"
            console.print(Text(text, style="yellow"), soft_wrap=True)
    console.print(f"typical model: {ratio_text(place.pooled)}, {len(place.models)} models")
    if place.spearman is not None and place.kendall is not None:
        console.print(f"rank correlation: Spearman {place.spearman:.3f}, Kendall {place.kendall:.3f}")
    table = Table(box=None, pad_edge=False)
    for heading in ("before", "now", "ratio [95 %]", "", "model"):
        table.add_column(heading, no_wrap=heading != "model", overflow="fold")
    shown = place.models if everything else place.models[:_SHOWN]
    for model in shown:
        style = {"slower": "red", "faster": "green"}.get(model.verdict or "", "")
        rebuilt = " (compiled otherwise)" if model.pair.rebuilt else ""
        verdict = model.verdict or ""
        table.add_row(
            f"{readable.number(model.before_ms)} ms", f"{readable.number(model.now_ms)} ms",
            ratio_text(model.effect), Text(verdict, style=style), Text(model.pair.now + rebuilt),
        )  # fmt: skip
    console.print(table)
    if len(shown) < len(place.models):
        console.print(f"... and {len(place.models) - len(shown)} more, changed less upwards: --all")
    for side, only in (("before", place.only_before), ("now", place.only_now)):
        if only:
            console.print(
                f"only {side}: {len(only)} models" + (f": {', '.join(only)}" if everything else ""), markup=False
            )
    others = [change for change in place.changes if not (change.system and place.same_device)]
    for change in others if everything else others[:_SHOWN]:
        console.print(
            f"  {change.what}: {change.before or 'nothing'} → {change.now or 'nothing'}", markup=False, soft_wrap=True
        )
    if place.same_device:
        surely = sum(model.verdict == "slower" for model in place.models)
        console.print(f"{surely} surely slower by more than {policy.margin:.1%}" if surely else "none surely slower")
    console.print()


def ratio_text(effect: Effect) -> str:
    """`1.052 [1.031, 1.074]`."""
    return f"{effect.ratio:.3f} [{effect.low:.3f}, {effect.high:.3f}]"
