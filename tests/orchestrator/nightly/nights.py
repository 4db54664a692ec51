"""Nights that are known, without any device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.nightly.night import Night
from profiling.records import DeviceInfo, Failure
from tests.orchestrator.compare.runs import LEVELS_MS, PHONE, collection


def night(
    folder: Path,
    passes: int = 2,
    again: int = 0,
    *,
    seed: int = 0,
    phones: Sequence[DeviceInfo] = (PHONE,),
    change: Mapping[str, float] | None = None,
    models: Sequence[str] = tuple(LEVELS_MS),
    failures: Mapping[str, Failure] | None = None,
    again_change: Mapping[str, float] | None = None,
) -> Path:
    """A run folder with so many passes; `again_change` is what the passes over suspects find instead of `change`."""
    parts = [f"passes/{n}" for n in range(1, passes + 1)] + [f"again/{n}" for n in range(1, again + 1)]
    for number, part in enumerate(parts):
        factors = again_change if part.startswith("again") and again_change is not None else change
        collection(
            folder / part, seed=100 * seed + number, phones=phones, change=factors, models=models, failures=failures
        )
    Night("farm", 1000.0, {model: model for model in models}, tuple(parts)).write(folder)
    return folder
