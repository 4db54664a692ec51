"""A conditional model small enough to train in a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.generate.dinas.train import train_dinas
from tests.orchestrator.generate.dinas import small


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for a few seconds on the labels of `small`."""
    path = tmp_path_factory.mktemp("dinas") / "small.safetensors"
    train_dinas(small.SPACE, small.LABELS, small.POPULATION, small.CONFIG, path)
    return path
