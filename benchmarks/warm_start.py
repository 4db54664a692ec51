"""What an earlier campaign on the same phone is worth: hypervolume by evaluation, begun cold, warm, or with hints.

The earlier campaign looked for the front of another data set. `cold` knows nothing of it; `warm` has its latencies;
`updated` has them, too, but the phone's system has changed since (another epoch of the table, its figures the same), so
that they are hints only. Values are fractions of the true front's hypervolume, noise-free, medians over seeds.

    python benchmarks/warm_start.py --latency-column samsung_a50 pixel3 --seeds 4
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from yardstick import DATA, Yardstick

from orchestrator.campaign.config import Config, parse_config
from orchestrator.campaign.loop import run_campaign
from orchestrator.campaign.state import CampaignState
from orchestrator.space.registry import make_space

ACCURACY, LATENCY = DATA / "nb201_accuracy.parquet", DATA / "nb201_latency.parquet"
NOISE, UPDATED_NOISE = 0.02, 0.0201  # another noise is another epoch


def config(column: str, accuracy: str, seed: int, evaluations: int, noise: float, generator: str) -> Config:
    """A campaign on tables."""
    values: dict[str, Any] = {
        "name": "warm-start",
        "seed": seed,
        "space": {"kind": "nasbench201"},
        "generator": {"kind": generator},
        "accuracy": {"kind": "table", "path": str(ACCURACY), "column": accuracy},
        "devices": [{"kind": "table", "path": str(LATENCY), "column": column, "noise": noise}],
        "budget": {"candidates": evaluations, "batch": 5, "initial": min(10, evaluations)},
    }
    return parse_config(values, source="warm_start.py")


def curves(column: str, seed: int, marks: Sequence[int], given: argparse.Namespace) -> dict[str, list[float]]:
    """By way of beginning, hypervolume at the marks."""
    truth = Yardstick.of_tables(make_space("nasbench201"), (ACCURACY, given.accuracy_column), (LATENCY, column))

    def run(folder: Path, noise: float, earlier: Path | None = None) -> CampaignState:
        asked = config(column, given.accuracy_column, seed, marks[-1], noise, given.generator)
        return run_campaign(asked, folder, lambda event: None, [earlier] if earlier else [])

    def curve(state: CampaignState) -> list[float]:
        return truth.curve(np.array([each.row.slots for each in state.candidates], dtype=np.int64), marks)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        earlier = folder / "earlier"
        other = config(column, given.earlier_column, seed + 1000, given.earlier, NOISE, given.generator)
        run_campaign(other, earlier, lambda event: None)
        return {
            "cold": curve(run(folder / "cold", NOISE)),
            "warm": curve(run(folder / "warm", NOISE, earlier)),
            "updated": curve(run(folder / "updated", UPDATED_NOISE, earlier)),
        }


def main() -> None:
    """Run and print."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency-column", nargs="+", default=["samsung_a50", "pixel3"])
    parser.add_argument("--accuracy-column", default="c100_valid_12ep")
    parser.add_argument("--earlier-column", default="c10_valid_12ep", help="accuracies of the earlier campaign")
    parser.add_argument("--earlier", type=int, default=50, help="its evaluations")
    parser.add_argument("--marks", type=int, nargs="+", default=[15, 20, 25])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--generator", default="diffusion_nag")
    given = parser.parse_args()
    for column in given.latency_column:
        seeds = range(given.first_seed, given.first_seed + given.seeds)
        found = [curves(column, seed, given.marks, given) for seed in seeds]
        print(f"{column}: hypervolume as a fraction of the true front's; medians of {len(found)} seeds")
        for way in found[0]:
            medians = np.median([each[way] for each in found], axis=0)
            print(
                f"{way:>8} "
                + " ".join(f"@{mark} {value:.3f}" for mark, value in zip(given.marks, medians, strict=True)),
                flush=True,
            )


if __name__ == "__main__":
    main()
