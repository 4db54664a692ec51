"""Small believable block tables for tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from orchestrator.predict.block_table import part_keys
from orchestrator.space.mobilenetv3_network import part_network


def block_latencies(
    *, width: float = 1.0, resolutions: Iterable[int] = (64,), classes: int = 10, seed: int = 0
) -> dict[tuple[int, str], float]:
    """(resolution, key) -> milliseconds: by multiply-adds, and some chance."""
    rng = np.random.default_rng(seed)
    return {
        (size, key): 0.005 + part_network(key).multiply_adds / 1e8 * float(np.exp(rng.normal(0, 0.3)))
        for size in resolutions
        for key in part_keys(width, size, classes)
    }


def write_block_table(path: Path, latencies: dict[tuple[int, str], float]) -> Path:
    """A file with these entries."""
    rows = "".join(f"{size},{key},100,{value!r},0.01\n" for (size, key), value in latencies.items())
    path.write_text(f"resolution,key,count,mean,std\n{rows}")
    return path
