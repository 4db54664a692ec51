"""Simulated sessions on one device."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from profiling.spread import Session


def sessions(
    rng: np.random.Generator,
    count: int,
    *,
    models: int = 12,
    blocks: int = 5,
    block_sd: float = 0.015,
    common_sd: float = 0.0,
    change: Mapping[str, float] | None = None,
) -> list[Session]:
    """Passes over models `m0`, `m1`, ... of fixed levels; `change` multiplies latencies."""
    levels = {f"m{index}": 0.3 * index for index in range(models)}
    made = []
    for _ in range(count):
        common = rng.normal(0, common_sd)
        logs = {
            model: level + common + np.log((change or {}).get(model, 1.0)) + rng.normal(0, block_sd, blocks)
            for model, level in levels.items()
        }
        made.append(Session(logs))
    return made
