"""Small believable tables of NAS-Bench-201 for tests, made from operator counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.campaign.config import Config, parse_config
from orchestrator.space.nasbench201 import NASBench201

_ACCURACY = np.array([0.0, 2.0, 5.0, 8.0, 1.0])
_COST_MS = np.array([0.0, 0.1, 1.0, 3.0, 0.6])


def write_table(path: Path, *, count: int | None = None, seed: int = 0) -> Path:
    """Accuracy (percent) and latency (ms) of all architectures, or of a random subset, as CSV."""
    space = NASBench201()
    slots = space.all()
    rng = np.random.default_rng(seed)
    accuracy = 30 + _ACCURACY[slots].sum(axis=1) + rng.normal(0, 0.5, len(slots))
    latency = (1 + _COST_MS[slots].sum(axis=1)) * np.exp(rng.normal(0, 0.02, len(slots)))
    rows = range(len(slots)) if count is None else rng.choice(len(slots), count, replace=False)
    lines = [f"{space.at(i).text},{accuracy[i]:.4f},{latency[i]:.4f}" for i in rows]
    path.write_text("arch,accuracy,phone\n" + "\n".join(lines) + "\n")
    return path


def table_config(table: Path, **changes: Any) -> Config:
    """A campaign on such a table."""
    values: dict[str, Any] = {
        "name": "table",
        "space": {"kind": "nasbench201"},
        "generator": {"kind": "random", "pool": 64},
        "accuracy": {"kind": "table", "path": str(table), "column": "accuracy"},
        "devices": [{"kind": "table", "path": str(table), "column": "phone", "noise": 0.01}],
        "budget": {"candidates": 14, "batch": 3, "initial": 8},
    }
    return parse_config({**values, **changes}, source="test")
