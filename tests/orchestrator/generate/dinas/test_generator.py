from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.errors import CheckpointError, ConfigError
from orchestrator.generate.base import Generator, Request
from orchestrator.generate.dinas import train
from orchestrator.generate.dinas.calibration import Calibration
from orchestrator.generate.dinas.checkpoint import (
    fingerprints,
    known,
    load_checkpoint,
    new_network,
    save_checkpoint,
    shipped_checkpoint,
)
from orchestrator.generate.dinas.conditions import Conditions, DeviceBudget, Target
from orchestrator.generate.dinas.generator import DiNAS
from orchestrator.generate.dinas.network import NetworkConfig
from orchestrator.generate.dinas.train import train_dinas
from orchestrator.generate.registry import make_generator
from orchestrator.generate.tensor_file import read_tensors, write_tensors
from orchestrator.generate.training import Progress, state_file
from orchestrator.space.base import FloatArray, IntArray
from orchestrator.space.mobilenetv3 import MobileNetV3
from tests.contracts.generator_contract import GeneratorContract, LinearUtility
from tests.orchestrator.generate.dinas.small import (
    CONFIG,
    LABELS,
    POPULATION,
    PRICES,
    SPACE,
    UNSEEN,
    Prices,
    Worth,
)
from tests.orchestrator.generate.dinas.test_conditions import Slotwise
from tests.orchestrator.generate.spaces import GappedSpace

DEVICES = [*(Prices(name, prices) for name, prices in PRICES.items()), Prices("unseen", UNSEEN)]
SHARES = (0.05, 0.15, 0.4, 0.8)  # of the space that budgets let through


def _budget(device: Prices, share: float, references: IntArray) -> DeviceBudget:
    latency_ms = float(np.quantile(device.of(SPACE.all()), share))
    return DeviceBudget.on(device.of, latency_ms, references, device.name)


def _kept(generator: DiNAS, device: Prices, quantile: float | None, count: int = 150) -> FloatArray:
    """Share of the samples within the budget, by tightness."""
    budgets = [_budget(device, share, generator.references) for share in SHARES]
    raw = [generator.sample(count, Conditions.of(quantile, [budget])) for budget in budgets]
    return np.array(
        [(device.of(slots) <= budget.latency_ms).mean() for slots, budget in zip(raw, budgets, strict=True)]
    )


class TestContract(GeneratorContract):
    @pytest.fixture
    def generator(self, checkpoint: Path) -> Generator:
        return DiNAS(SPACE, checkpoint=checkpoint, steps=10)


@pytest.fixture(scope="module")
def generator(checkpoint: Path) -> DiNAS:
    return DiNAS(SPACE, checkpoint=checkpoint, steps=10)


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_budgets_are_kept_and_looser_ones_no_worse(generator: DiNAS, device: Prices) -> None:
    """Also on a device that training never saw."""
    kept = _kept(generator, device, None)
    assert (kept > np.array(SHARES) + 0.1).all()
    assert kept[-1] > 0.9
    assert (np.diff(kept) > -0.1).all(), "two standard errors of the difference of two shares of 150"


def test_accuracy_is_raised_within_the_budget(generator: DiNAS) -> None:
    device = DEVICES[0]
    budget = _budget(device, 0.4, generator.references)
    means = []
    for quantile in (None, 0.5, 0.9, 0.99):
        slots = generator.sample(200, Conditions.of(quantile, [budget]))
        means.append(Worth().of(slots[device.of(slots) <= budget.latency_ms]).mean())
    assert means == sorted(means)
    assert means[-1] > means[0] + 5


def test_guidance_is_monotone_in_each_scale(checkpoint: Path) -> None:
    device = DEVICES[1]
    kept, worth = [], []
    for scale in (0.0, 1.0, 3.0):
        insisting = DiNAS(SPACE, checkpoint=checkpoint, steps=10, latency_scale=scale, margin=0.0)
        budget = _budget(device, 0.15, insisting.references)
        kept.append((device.of(insisting.sample(200, Conditions.of(None, [budget]))) <= budget.latency_ms).mean())
        ambitious = DiNAS(SPACE, checkpoint=checkpoint, steps=10, accuracy_scale=scale)
        worth.append(Worth().of(ambitious.sample(200, Conditions.of(0.8))).mean())
    assert kept == sorted(kept)
    assert kept[0] < kept[1]
    assert worth == sorted(worth)
    assert worth[0] < worth[1]


def test_budgets_on_several_devices_hold_together(generator: DiNAS) -> None:
    first, second = DEVICES[1], DEVICES[2]
    budgets = [_budget(device, 0.4, generator.references) for device in (first, second)]

    def both(slots: IntArray) -> float:
        return float(
            np.all([d.of(slots) <= b.latency_ms for d, b in zip((first, second), budgets, strict=True)], axis=0).mean()
        )

    alone = both(generator.sample(300, Conditions.of(None, budgets[:1])))
    assert both(generator.sample(300, Conditions.of(None, budgets))) > max(alone + 0.1, 0.6)


def test_targets_are_taken_in_turn(generator: DiNAS) -> None:
    device = DEVICES[0]
    tight, loose = (Target(0.9, (_budget(device, share, generator.references),)) for share in (0.05, 0.9))
    latency = device.of(generator.sample(100, Conditions((tight, loose))))
    assert latency[0::2].mean() < latency[1::2].mean() - 1


def test_margin_and_steps_are_options(checkpoint: Path) -> None:
    config = {"kind": "dinas", "checkpoint": str(checkpoint), "steps": 6, "margin": 0.3, "latency_scale": 2, "pool": 8}
    careful = make_generator(config, SPACE)
    assert isinstance(careful, DiNAS)
    budget = _budget(DEVICES[0], 0.3, careful.references)
    careless = DiNAS(SPACE, checkpoint=checkpoint, steps=6, margin=0.0)
    kept = [
        (DEVICES[0].of(each.sample(200, Conditions.of(0.9, [budget]))) <= budget.latency_ms).mean()
        for each in (careless, careful)
    ]
    assert kept[0] < kept[1]
    with pytest.raises(ConfigError, match=r"generator\.steps"):
        make_generator({"kind": "dinas", "steps": 0}, SPACE)


def test_conditions_and_a_utility_go_together(generator: DiNAS) -> None:
    """Ranked by the utility, whose calls are counted, and still within the budget mostly."""
    device = DEVICES[0]
    budget = _budget(device, 0.3, generator.references)
    for differentiable in (True, False):
        utility = LinearUtility(6, 5, differentiable=differentiable)
        plain = generator.propose(Request(20, utility, seed=0))
        asked = generator.propose(Request(20, utility, seed=0, conditions=Conditions.of(None, [budget])))
        assert 0 < asked.utility_calls <= 80
        worth = utility.of(asked.slots)
        assert worth[0] == worth.max()
        kept = [(device.of(each.slots) <= budget.latency_ms).mean() for each in (plain, asked)]
        assert kept[1] > kept[0]


def test_quality_is_reported(generator: DiNAS) -> None:
    proposal = generator.propose(Request(300, seed=0))
    assert proposal.validity_unprojected == 1.0
    assert proposal.uniqueness is not None
    assert proposal.uniqueness > 0.9
    assert proposal.novelty is not None
    seen = known(proposal.slots, fingerprints(POPULATION.slots))
    assert proposal.novelty == pytest.approx(1 - seen, abs=0.05)


def test_torch_is_left_as_it_was(generator: DiNAS) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    generator.propose(Request(4, LinearUtility(6, 5, differentiable=True)))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == threads


def test_a_device_of_another_model_is_refused(generator: DiNAS) -> None:
    with pytest.raises(ConfigError, match=r"pixel9.*3 latencies"):
        generator.propose(Request(4, conditions=Conditions.of(None, [DeviceBudget(3.0, (1.0, 2.0, 3.0), "pixel9")])))


def test_illegal_samples_are_projected(tmp_path: Path) -> None:
    """In a space with gaps, where an untrained network knows nothing of legality."""

    class Priced(GappedSpace):
        def encoding(self) -> Slotwise:
            return Slotwise()

    space, config = Priced(), NetworkConfig(channels=8, layers=1, heads=1, references=2)
    path = tmp_path / "gapped.safetensors"
    some = space.sample(20, np.random.default_rng(0))
    weights = new_network(space, config).state_dict()
    save_checkpoint(path, space, weights, config, some[:2], some, Calibration(0.0, ()), {}, {})
    proposal = DiNAS(space, checkpoint=path).propose(Request(15))
    assert len(np.unique(proposal.slots, axis=0)) == 15
    assert space.is_legal(proposal.slots).all()
    assert proposal.validity_unprojected < 0.9


def test_interrupted_training_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "calibrate", lambda *_: Calibration(0.1, (1.0,)))  # after eight steps, it takes long
    config = replace(CONFIG, steps=8, batch=16, save_every=3)
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"

    def run(out: Path, until: int | None = None, resume: bool = False) -> Progress:
        reached = 0

        def note(now: Progress) -> None:
            nonlocal reached
            reached = now.step

        return train_dinas(
            SPACE, LABELS, POPULATION, config, out, resume=resume, progress=note, stop=lambda: reached == until
        )

    assert run(whole).step == 8
    assert run(parts, until=5).step == 5
    assert not parts.exists()
    with pytest.raises(CheckpointError, match="unfinished"):
        run(parts)
    assert run(parts, resume=True).step == 8
    expected, got = read_tensors(whole)[0], read_tensors(parts)[0]
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert not state_file(parts).exists()


def test_a_checkpoint_says_what_it_is(checkpoint: Path) -> None:
    loaded = load_checkpoint(checkpoint, SPACE)
    assert (loaded.references == POPULATION.references).all()
    assert loaded.labels == {"accuracy": "worth", "latency": list(PRICES)}
    assert loaded.provenance["train"]["steps"] == CONFIG.steps
    assert loaded.calibration.margin >= 0
    assert json.dumps(dict(loaded.provenance))
    assert known(POPULATION.slots, loaded.trained_on) == 1.0


def test_unusable_checkpoints_are_told_apart(checkpoint: Path, tmp_path: Path) -> None:
    tensors, header = read_tensors(checkpoint)

    def broken(drop: str = "", **changes: object) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.safetensors"
        write_tensors(path, {k: v for k, v in tensors.items() if k != drop}, {**header, **changes})
        return path

    for path, says in [
        (tmp_path / "absent.safetensors", "no checkpoint at"),
        (broken(format="devicenag-score-network/1"), "not a conditional model"),
        (broken(choices=[["a"]]), "other choices"),
        (broken(network={"channels": 16}), "do not fit"),
        (broken(calibration={}), "do not fit"),
        (broken(drop="references"), "do not fit"),
    ]:
        with pytest.raises(CheckpointError, match=says) as caught:
            load_checkpoint(path, SPACE)
        assert caught.value.hint
    with pytest.raises(CheckpointError, match="'nasbench201', not for 'mobilenetv3'"):
        DiNAS(MobileNetV3(), checkpoint=checkpoint)
    with pytest.raises(CheckpointError, match="no conditional model for gapped"):
        shipped_checkpoint(GappedSpace())
