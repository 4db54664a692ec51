"""`nag train latency --models`: what devices that ran a folder's `.tflite` files have in common."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_DEFAULT = Path("latency_models.safetensors")


def train_models(
    folder: Path,
    table: Path | None,
    devices: Sequence[str] | None,
    runs: Sequence[str],
    synthetic: int,
    seed: int,
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    """Learn from runs, data sets and tables, and from made-up devices; see the options of `nag train latency`.

    Raises:
        ConfigError, DataError, RunFolderError, CheckpointError: Something cannot be used.
    """
    from orchestrator.predict.latency.model_prior import fit_model_prior, save_model_prior
    from orchestrator.predict.latency.model_sources import gather_model_sources
    from orchestrator.predict.latency.models import read_models

    started = time.perf_counter()
    models, left_out = read_models(folder)
    for name, why in left_out.items():
        print(f"left out: {name} {why}", file=sys.stderr)
    sources = gather_model_sources(
        models, [Path(run) for run in runs], table, devices,
        progress=lambda text: print(text, file=sys.stderr, flush=True),
    )  # fmt: skip
    for why, count in sources.unmatched.items():
        print(f"note: {count} measurements are of {why}, and say nothing", file=sys.stderr)
    provenance = {
        "table": table.name if table else None,
        "latency": [Path(run).name for run in runs],
        "models": len(models),
        "synthetic": synthetic,
        "seed": seed,
    }
    prior = fit_model_prior(models, sources, synthetic=synthetic, seed=seed, provenance=provenance)
    target = out or _DEFAULT
    save_model_prior(target, prior)
    prices = prior.prices
    found = [
        {
            "device": device,
            "family": prices.families[row],
            "models": len(sources.tables[device][1]) if device in sources.tables else 0,
            "median_ms": float(prices.medians_ms[row]),
            "residual_sd": float(prices.spreads[row]),
        }
        for row, device in enumerate(prices.devices)
    ]
    values = {
        "checkpoint": str(target),
        "seconds": round(time.perf_counter() - started, 2),
        "amounts": len(prices.amounts_of),
        "models": len(models),
        "left_out": left_out,
        "unmatched": dict(sources.unmatched),
        "devices": found,
    }
    if as_json:
        print(json.dumps(values, indent=2))
        return
    print(f"{target}: {len(found)} devices, {len(prices.amounts_of)} prices each, {len(models)} models")
    print(f"{'device':32} {'models':>7} {'median ms':>10} {'residual':>9}")
    for row, device in enumerate(prices.devices):
        ran = len(sources.tables[device][1]) if device in sources.tables else "made up"
        print(f"{device:32} {ran:>7} {prices.medians_ms[row]:10.3f} {prices.spreads[row]:9.1%}")
