from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.generate.account import Accountant
from orchestrator.generate.dinas.campaign import along_front, campaign_conditions
from orchestrator.generate.dinas.generator import DiNAS
from orchestrator.generate.mixture import Mixture, Part
from orchestrator.generate.random import RandomGenerator
from orchestrator.predict.surrogates import Measured, SurrogateFitter
from tests.orchestrator.generate.dinas.small import PRICES, SPACE, Prices

REFERENCES = SPACE.sample(4, np.random.default_rng(0))
PHONE = Prices("phone", PRICES["even"])


def test_a_campaign_asks_along_its_front() -> None:
    elites = SPACE.sample(30, np.random.default_rng(1))
    phones = {"a": PHONE.of, "b": Prices("b", PRICES["slow_conv"]).of}
    conditions = along_front(REFERENCES, elites, phones, {"b": 12.0})
    assert conditions is not None
    assert 1 < len(conditions.targets) <= 16
    for target in conditions.targets:
        assert [budget.device for budget in target.budgets] == ["a", "b"]
        assert target.budgets[0].latency_ms in PHONE.of(elites)
        assert target.budgets[1].latency_ms == 12.0
        assert target.budgets[0].references_ms == tuple(PHONE.of(REFERENCES))
    none_yet = np.zeros((0, 6), dtype=np.int64)
    assert along_front(REFERENCES, none_yet, phones, {"b": 12.0}) is None
    bounded = along_front(REFERENCES, none_yet, phones, {"a": 3.0, "b": 12.0})
    assert bounded is not None
    assert [budget.latency_ms for budget in bounded.targets[0].budgets] == [3.0, 12.0]
    assert along_front(REFERENCES, elites, {}, {}) is None


def test_a_campaign_describes_devices_by_its_surrogates(checkpoint: Path) -> None:
    measured = SPACE.sample(60, np.random.default_rng(2))
    surrogate = SurrogateFitter(SPACE).cost(Measured(measured, PHONE.of(measured), np.full(60, 1e-4)))
    generator = DiNAS(SPACE, checkpoint=checkpoint, steps=10)
    conditions = campaign_conditions(generator, measured[:5], {"latency_ms[phone]": surrogate}, {})
    assert conditions is not None
    (budget,) = conditions.targets[0].budgets
    assert budget.references_ms == pytest.approx(PHONE.of(generator.references), rel=0.1)
    assert len(generator.sample(10, conditions)) == 10
    assert campaign_conditions(RandomGenerator(SPACE), measured[:5], {"latency_ms[phone]": surrogate}, {}) is None
    mixed = Accountant(Mixture([Part(RandomGenerator(SPACE), 0.5), Part(generator, 0.5)]))
    assert campaign_conditions(mixed, measured[:5], {"latency_ms[phone]": surrogate}, {}) == conditions
