"""The conditional models that ship with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.generate.base import Generator, Request
from orchestrator.generate.dinas.checkpoint import shipped_checkpoint
from orchestrator.generate.dinas.conditions import Conditions, DeviceBudget
from orchestrator.generate.dinas.generator import DiNAS
from orchestrator.space.base import Space
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from profiling.table import read_table
from tests.contracts.generator_contract import GeneratorContract

DATA = Path(__file__).resolve().parents[5] / "shared" / "data"
SPACES: tuple[Space, ...] = (NASBench201(), MobileNetV3())


class TestOnMobileNetV3(GeneratorContract):
    @pytest.fixture
    def generator(self) -> Generator:
        return DiNAS(MobileNetV3())


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_they_are_small_and_say_how_they_were_made(space: Space) -> None:
    assert shipped_checkpoint(space).stat().st_size <= 4_000_000
    checkpoint = DiNAS(space).checkpoint
    assert str(checkpoint.provenance["command"]).startswith(f"nag train dinas --space {space.name} --accuracy ")
    assert checkpoint.provenance["cpu_seconds"] > 0
    assert min(checkpoint.calibration.kept) > 0.9


def test_two_phones_were_never_seen() -> None:
    seen = {name.rpartition(":")[2] for name in DiNAS(NASBench201()).checkpoint.labels["latency"]}
    assert len(seen) == 11
    assert not seen & {"pixel3", "samsung_s7"}


@pytest.mark.skipif(not DATA.exists(), reason="the tables of measurements are not here")
@pytest.mark.parametrize("device", ["samsung_a50", "pixel3", "samsung_s7"])
def test_budgets_on_phones_are_kept_and_accuracy_is_high(device: str) -> None:
    """By the table; two of the phones are unseen. A looser budget is kept as often as a tighter one, give or take."""
    space = NASBench201()
    generator = DiNAS(space)
    table, accuracies = read_table(DATA / "nb201_latency.parquet"), read_table(DATA / "nb201_accuracy.parquet")
    latency, accuracy = table.column(device), accuracies.column("c100_valid_12ep")

    def of(values: dict[str, float], slots: np.ndarray) -> np.ndarray:
        return np.array([values[space.architecture(row).text] for row in slots])

    budgets = np.quantile(list(latency.values()), [0.1, 0.3, 0.6, 0.9])
    kept, gains = [], []
    for budget in budgets:
        asked = DeviceBudget.on(lambda slots: of(dict(latency), slots), float(budget), generator.references, device)
        slots = generator.sample(64, Conditions.of(0.95, [asked]))
        within = of(dict(latency), slots) <= budget
        kept.append(within.mean())
        usual = np.median([accuracy[text] for text, each in latency.items() if each <= budget])
        gains.append(of(dict(accuracy), slots[within]).mean() - usual)
    assert min(gains) > 0
    assert np.mean(gains) > 5
    assert min(kept) > 0.8
    assert (np.diff(kept) > -0.15).all(), "three standard errors of the difference of two such shares of 64"


def test_novelty_is_told() -> None:
    half = DiNAS(NASBench201()).propose(Request(300, seed=1)).novelty
    assert half is not None
    assert 0.35 < half < 0.65, "half of the space was kept out"
    vast = DiNAS(MobileNetV3()).propose(Request(50, seed=1)).novelty
    assert vast is not None
    assert vast > 0.95
