from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from orchestrator.errors import ConfigError, NagError
from orchestrator.generate.dinas.asked import Asked
from orchestrator.generate.dinas.checkpoint import new_network
from orchestrator.generate.dinas.conditions import Conditions, DeviceBudget, Target
from orchestrator.generate.dinas.cost_model import CostModel
from orchestrator.generate.dinas.guidance import compose
from orchestrator.generate.dinas.network import Denoiser, NetworkConfig
from orchestrator.predict.nasbench201_encoding import NASBench201Encoding
from tests.orchestrator.generate.dinas.small import PRICES, SPACE, Prices

REFERENCES = SPACE.sample(4, np.random.default_rng(0))
REFERENCES_MANY = SPACE.sample(8, np.random.default_rng(2))
PHONE = Prices("phone", PRICES["even"])
CONFIG = NetworkConfig(channels=16, layers=1, heads=2, references=4)


class Slotwise(NASBench201Encoding):
    """Every choice of every slot has a price of its own."""

    def costs(self, slots: Tensor) -> Tensor:
        return slots.flatten(-2)


def _denoiser() -> Denoiser:
    """With weights that are random everywhere: its output layer starts at zero."""
    denoiser = new_network(SPACE, CONFIG)
    with torch.no_grad():
        denoiser.cost_model.prices += 0.01
        for weight in denoiser.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    return denoiser.eval()


def _target(quantile: float | None = 0.9, budgets: int = 2, **scales: float | None) -> Target:
    budget = DeviceBudget.on(PHONE.of, 6.0, REFERENCES, "phone", scales.get("first"))
    other = DeviceBudget.on(Prices("b", PRICES["slow_pool"]).of, 9.0, REFERENCES, "b", scales.get("second"))
    return Target(quantile, (budget, other)[:budgets], scales.get("accuracy"))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: DeviceBudget(0.0, (1.0,)), "milliseconds above 0"),
        (lambda: DeviceBudget(math.nan, (1.0,)), "milliseconds above 0"),
        (lambda: DeviceBudget(1.0, (), "pixel9"), "device pixel9"),
        (lambda: DeviceBudget(1.0, (1.0, -2.0), "pixel9"), "latency above 0 of every reference"),
        (lambda: Target(1.0), "below 1"),
        (lambda: Target(-0.1), "below 1"),
        (lambda: Conditions(()), "at least one"),
        (lambda: Asked.of([Target(budgets=(DeviceBudget(1.0, (1.0,) * 3, "pixel9"),))], 4), "pixel9"),
    ],
)
def test_what_cannot_be_asked_is_explained(make: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        make()  # type: ignore[operator]
    assert isinstance(caught.value, NagError)


def test_conditions_become_tensors() -> None:
    asked = Asked.of([Target(), Target(0.9), _target(None, 2)], 4)
    assert asked.share_asked.tolist() == [False, True, False]
    assert float(asked.share[1]) == pytest.approx(math.log(0.1))
    assert asked.budget_asked.tolist() == [[False, False], [False, False], [True, True]]
    assert torch.allclose(asked.budgets[2].exp(), torch.tensor([6.0, 9.0]))
    assert torch.allclose(asked.references[2, 0].exp().double(), torch.from_numpy(PHONE.of(REFERENCES)), rtol=1e-5)


def _logits(denoiser: Denoiser, targets: list[Target], **options: float) -> Tensor:
    z = torch.tensor([[0, 1, 2, 3, 4, 0]]).expand(len(targets), -1)
    return compose(denoiser, targets, **options)(z, 0.4)


def test_scales_compose_as_the_formula_says() -> None:
    """l(c) + sum (w - 1) (l(c) - l(c without i)), for two budgets and accuracy at once."""
    denoiser = _denoiser()
    every, without_first, without_second, without_accuracy = (
        _logits(denoiser, [_target(first=first, second=second, accuracy=accuracy)])
        for first, second, accuracy in [(1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0)]
    )
    got = _logits(denoiser, [_target(first=2.0, second=0.5, accuracy=3.0)])
    expected = every + (every - without_first) - 0.5 * (every - without_second) + 2 * (every - without_accuracy)
    assert torch.allclose(got, expected, rtol=1e-4, atol=1e-4)
    # A scale of 0 is the same as not asking.
    assert torch.allclose(without_accuracy, _logits(denoiser, [_target(None)]), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(every, without_accuracy, atol=1e-3)


def test_a_targets_own_scale_goes_before_the_generators() -> None:
    denoiser = _denoiser()
    mixed = [_target(first=2.0, second=2.0), _target()]
    got = _logits(denoiser, mixed, latency_scale=3.0)
    assert torch.allclose(got[0], _logits(denoiser, [_target()], latency_scale=2.0)[0], rtol=1e-4, atol=1e-4)
    assert torch.allclose(got[1], _logits(denoiser, [_target()], latency_scale=3.0)[0], rtol=1e-4, atol=1e-4)


def test_the_margin_tightens_budgets() -> None:
    denoiser = _denoiser()
    tighter = Target(None, (DeviceBudget(6.0 * math.exp(-0.1), _target().budgets[0].references_ms),))
    assert torch.allclose(_logits(denoiser, [_target(None, 1)], margin=0.1), _logits(denoiser, [tighter]), atol=1e-4)


def test_a_budget_knows_no_unit_and_no_order() -> None:
    """Only latency relative to the references counts; several budgets are a set."""
    denoiser = _denoiser()
    target = _target()
    in_seconds = [DeviceBudget(b.latency_ms / 1000, tuple(r / 1000 for r in b.references_ms)) for b in target.budgets]
    same = Target(target.accuracy_quantile, (in_seconds[1], in_seconds[0]))
    assert torch.allclose(_logits(denoiser, [target]), _logits(denoiser, [same]), atol=1e-3)


def test_the_network_is_told_the_noise_level() -> None:
    denoiser = _denoiser()
    z, nothing = torch.tensor([[0, 1, 2, 3, 4, 0]]), Asked.nothing(1, 4)
    low, high = (
        denoiser(z, torch.tensor([a], dtype=torch.float32), nothing)
        - denoiser.transitions.evidence(z, torch.tensor([a], dtype=torch.float32))
        for a in (0.2, 0.8)
    )
    assert not torch.allclose(low, high, atol=1e-3)


def test_an_untrained_network_is_the_denoiser_of_independent_slots() -> None:
    denoiser = Denoiser((5, 3), Slotwise(), NetworkConfig(channels=16, layers=1, heads=2, references=4))
    z, alpha = torch.tensor([[4, 0]]), torch.tensor([0.5])
    p = denoiser(z, alpha, Asked.nothing(1, 4)).softmax(-1)
    assert p[0, 0].tolist() == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.6], abs=1e-6)
    assert p[0, 1].tolist() == pytest.approx([2 / 3, 1 / 6, 1 / 6, 0, 0], abs=1e-6)


def test_the_cost_model_tells_what_every_change_would_use() -> None:
    """Fitted on additive devices, it knows another such device from eight references, for every single change."""
    rng = np.random.default_rng(0)
    slots, prices = SPACE.sample(200, rng), rng.uniform(0.1, 3.0, size=(40, 5))
    latencies, references = (torch.from_numpy(1 + prices[:, rows].sum(axis=-1)) for rows in (slots, REFERENCES_MANY))
    model = CostModel(SPACE.encoding(), 6, 5, len(REFERENCES_MANY)).double()
    amounts = SPACE.encoding().costs(torch.eye(5, dtype=torch.float64)[torch.from_numpy(slots)])
    model.fit(amounts, references, latencies, torch.ones(len(latencies)))
    device = Prices("new", np.array([0.3, 0.2, 2.0, 1.0, 1.5]))
    target = Target(None, (DeviceBudget.on(device.of, 7.0, REFERENCES_MANY, "new"),))
    z = torch.from_numpy(slots[:1])
    asked = Asked.of([target], len(REFERENCES_MANY))
    used, changed = model(
        torch.eye(5, dtype=torch.float64)[z],
        replace(asked, references=asked.references.double(), budgets=asked.budgets.double()),
    )
    assert float(used) == pytest.approx(float(device.of(slots[:1])[0]) / 7.0, rel=0.1)
    for slot in range(6):
        for value in range(5):
            other = slots[:1].copy()
            other[0, slot] = value
            assert float(changed[0, 0, slot, value]) == pytest.approx(float(device.of(other)[0]) / 7.0, rel=0.1)
