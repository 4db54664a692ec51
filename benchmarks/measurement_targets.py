"""What it saves to measure loosely first and to go on only where it matters: device seconds, and hypervolume.

Three rules for the same campaigns: `tight` measures everything to the target; `auto` searches loosely and at the end
goes on where a latency may matter to the front (`measure.loose_half_width`); `loose` never goes on. Tables are replayed
with noisy blocks, as many as the stop rule asks for. Hypervolumes are of the noise-free truth, as fractions of the true
front's: of all that was measured, and of what the campaign itself believes to be its front (its mean, and the mean
difference to `tight` with its standard error, by seed); `error` is that of the latencies that it reports for it.

    python benchmarks/measurement_targets.py --latency-column samsung_s7 --block-noise 0.02 0.04 --seeds 10
    python benchmarks/measurement_targets.py --host --evaluations 16

With `--host` networks really run here; hypervolumes are then of each campaign's own measurements, above one reference.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from yardstick import DATA, Yardstick

from orchestrator.campaign.config import parse_config
from orchestrator.campaign.folder import STORE
from orchestrator.campaign.loop import run_campaign
from orchestrator.campaign.state import CampaignState
from orchestrator.optimize.pareto import hypervolume
from orchestrator.space.base import FloatArray
from orchestrator.space.registry import make_space
from profiling.store import CampaignStore

RULES = ("tight", "auto", "loose")


@dataclass(frozen=True)
class Outcome:
    """A campaign's cost and result.

    Attributes:
        device_s: Time of all blocks.
        blocks: How many.
        measured: Fraction of the hypervolume of all that was measured; on the host, the hypervolume.
        believed: The same of the campaign's own front.
        error: Median error of that front's latencies, relative; NaN on the host, where nobody knows the truth.
    """

    device_s: float
    blocks: int
    measured: float
    believed: float
    error: float


def measure_section(rule: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """`measure:` of a campaign."""
    tight, loose = arguments.target, arguments.loose
    section: dict[str, Any] = {"blocks": arguments.blocks, "target_half_width": loose if rule == "loose" else tight}
    return section | ({"loose_half_width": loose} if rule == "auto" else {})


def campaign(
    rule: str, seed: int, values: dict[str, Any], arguments: argparse.Namespace
) -> tuple[CampaignState, tuple[float, int]]:
    """A finished campaign, and (time, number) of its blocks."""
    budget = {"candidates": arguments.evaluations, "batch": 5, "initial": min(10, arguments.evaluations), "verify": 0}
    common = {"name": "targets", "seed": seed, "budget": budget, "measure": measure_section(rule, arguments)}
    config = parse_config({**common, "latency_prior": "none", **values}, source="measurement_targets.py")
    with tempfile.TemporaryDirectory() as folder:
        state = run_campaign(config, Path(folder) / "run", lambda event: None)
        (device,) = config.device_names
        with CampaignStore.read(Path(folder) / "run" / STORE) as store:
            durations = [b.duration_s for each in state.candidates for b in store.blocks(each.row.id, device)]
    return state, (sum(durations), len(durations))


def on_table(rule: str, seed: int, column: str, noise: float, arguments: argparse.Namespace) -> Outcome:
    """One campaign on a table with noisy blocks."""
    accuracy = (arguments.accuracy_table, arguments.accuracy_column)
    latency = (arguments.latency_table, column)
    device = {"kind": "table", "path": str(latency[0]), "column": column, "noise": 0.005, "block_noise": noise}
    values = {
        "space": {"kind": "nasbench201"},
        "generator": {"kind": arguments.generator, "pool": arguments.pool},
        "accuracy": {"kind": "table", "path": str(accuracy[0]), "column": accuracy[1]},
        "devices": [device],
    }
    state, cost = campaign(rule, seed, values, arguments)
    truth = Yardstick.of_tables(make_space("nasbench201"), accuracy, latency)
    every, front = _slots(state.candidates), _slots(state.front)
    believed_ms = np.array([each.latencies[column].latency_ms for each in state.front])
    error = float(np.median(np.abs(np.log(believed_ms) + truth.points(front)[:, 1])))
    seconds, blocks = cost
    measured, believed = (truth.curve(slots, [len(slots)])[0] for slots in (every, front))
    return Outcome(seconds, blocks, measured, believed, error)


def on_host(seed: int, arguments: argparse.Namespace) -> dict[str, Outcome]:
    """The same campaign by each rule on this machine; small networks, ranked by a proxy."""
    values = {
        "space": {"kind": "nasbench201", "input": [1, 16, 16, 1], "classes": 10, "channels": 16, "cells": 1},
        "generator": {"kind": arguments.generator, "pool": arguments.pool},
        "accuracy": {"kind": "proxy", "proxy": "jacobian_macs"},
        "devices": [{"kind": "host"}],
    }
    found = {rule: campaign(rule, seed, values, arguments) for rule in RULES}
    state = found["tight"][0]
    reference = np.array(state.reference)
    best = hypervolume(state.points(state.measured), reference)

    def share(state: CampaignState) -> float:
        points: FloatArray = state.points(state.measured)
        return hypervolume(points, reference) / best

    return {
        rule: Outcome(seconds, blocks, share(state), share(state), math.nan)
        for rule, (state, (seconds, blocks)) in found.items()
    }


def _slots(candidates: Sequence[Any]) -> Any:
    return np.array([each.row.slots for each in candidates], dtype=np.int64)


def show(title: str, outcomes: dict[str, list[Outcome]]) -> None:
    """One table: medians over seeds, ratios to measuring everything tightly, and mean hypervolumes beside that."""
    count = len(outcomes["tight"])
    print(f"{title}; {count} seeds")
    print(
        f"{'rule':>8} {'device s':>9} {'ratio':>6} {'blocks':>7} {'measured':>9} {'believed':>9} "
        f"{'beside tight':>15} {'error':>7}"
    )
    seconds, believed = (
        np.array([getattr(each, name) for each in outcomes["tight"]]) for name in ("device_s", "believed")
    )
    for rule, found in outcomes.items():
        cost = np.array([each.device_s for each in found])
        gain = np.array([each.believed for each in found]) - believed
        doubt = float(np.std(gain, ddof=1)) / math.sqrt(count) if count > 1 else math.nan
        error = float(np.median([each.error for each in found]))
        shown = "-" if math.isnan(error) else f"{100 * error:.2f} %"
        print(
            f"{rule:>8} {np.median(cost):9.1f} {np.median(cost / seconds):6.2f} "
            f"{np.median([each.blocks for each in found]):7.0f} {np.mean([each.measured for each in found]):9.3f} "
            f"{np.mean([each.believed for each in found]):9.3f} {gain.mean():+6.3f} +- {doubt:5.3f} {shown:>7}",
            flush=True,
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Run and print."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", action="store_true", help="really measure, on this machine")
    parser.add_argument("--accuracy-table", type=Path, default=DATA / "nb201_accuracy.parquet")
    parser.add_argument("--accuracy-column", default="c100_valid_12ep")
    parser.add_argument("--latency-table", type=Path, default=DATA / "nb201_latency.parquet")
    parser.add_argument("--latency-column", nargs="+", default=["samsung_a50", "pixel3"])
    parser.add_argument("--block-noise", type=float, nargs="+", default=[0.02, 0.04])
    parser.add_argument("--evaluations", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--generator", default="diffusion_nag")
    parser.add_argument("--pool", type=int, default=256)
    parser.add_argument("--target", type=float, default=0.02)
    parser.add_argument("--loose", type=float, default=0.08)
    parser.add_argument("--blocks", type=int, nargs=2, default=[3, 10])
    arguments = parser.parse_args(argv)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    if arguments.host:
        by_seed = [on_host(seed, arguments) for seed in seeds]
        show("this host", {rule: [each[rule] for each in by_seed] for rule in RULES})
        return
    for column in arguments.latency_column:
        for noise in arguments.block_noise:
            found = {rule: [on_table(rule, seed, column, noise, arguments) for seed in seeds] for rule in RULES}
            show(f"{column}, blocks with {100 * noise:g} % noise", found)


if __name__ == "__main__":
    main()
