from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.errors import CheckpointError
from orchestrator.generate.base import Generator, Request, Terms
from orchestrator.generate.diffusion_evolution import DiffusionEvolution
from orchestrator.generate.diffusion_nag.checkpoint import new_network, save_checkpoint
from orchestrator.generate.diffusion_nag.generator import DiffusionNAG
from orchestrator.generate.diffusion_nag.score_network import NetworkConfig
from orchestrator.generate.diffusion_nag.sde import VESDE
from orchestrator.generate.diffusion_nag.training_set import random_share
from orchestrator.generate.pool import keys, score
from orchestrator.generate.random import RandomGenerator
from orchestrator.generate.registry import make_generator
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from tests.contracts.generator_contract import GeneratorContract, LinearUtility
from tests.orchestrator.generate.spaces import GappedSpace

SPACE = NASBench201()


@pytest.fixture(scope="module")
def gapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network for a space in which most vectors are illegal."""
    path = tmp_path_factory.mktemp("checkpoints") / "gapped.safetensors"
    space, config = GappedSpace(), NetworkConfig(channels=16, layers=1, heads=2)
    weights = new_network(space, config).state_dict()
    save_checkpoint(path, space, weights, config, VESDE(), random_share(space, 0.5, 0)[1], {})
    return path


class TestAncestral(GeneratorContract):
    @pytest.fixture
    def generator(self) -> Generator:
        return DiffusionNAG(SPACE, steps=10)


class TestDeterministic(GeneratorContract):
    @pytest.fixture
    def generator(self) -> Generator:
        return DiffusionNAG(SPACE, sampler="dpmpp_2m", steps=10)


class TestUntrained(GeneratorContract):
    @pytest.fixture
    def generator(self) -> Generator:
        return DiffusionNAG(SPACE, checkpoint="untrained", steps=10)


class TestMobileNetV3(GeneratorContract):
    @pytest.fixture
    def generator(self) -> Generator:
        return DiffusionNAG(MobileNetV3(), steps=10)


class TestDiffusionEvolution(GeneratorContract):
    @pytest.fixture
    def generator(self) -> Generator:
        return DiffusionEvolution(SPACE)


class TestDiffusionEvolutionOnMobileNetV3(GeneratorContract):
    @pytest.fixture
    def generator(self) -> Generator:
        return DiffusionEvolution(MobileNetV3())


class TestBreedingAlone(GeneratorContract):
    @pytest.fixture
    def generator(self) -> Generator:
        return DiffusionEvolution(SPACE, diffusion_share=0)


def test_samples_are_valid_unique_and_half_of_them_new() -> None:
    proposal = DiffusionNAG(SPACE).propose(Request(500, seed=0))
    assert proposal.validity_unprojected >= 0.99
    assert proposal.uniqueness is not None
    assert proposal.uniqueness >= 0.95
    assert proposal.novelty is not None
    assert 0.4 <= proposal.novelty <= 0.6, "the network was trained on half of the space"


def test_marginals_are_nearly_uniform() -> None:
    slots = DiffusionNAG(SPACE).propose(Request(1000, seed=1)).slots
    shares = np.stack([(slots == value).mean(axis=0) for value in range(5)])
    assert np.abs(shares - 0.2).max() < 0.06


def test_guided_samples_stay_valid_and_beat_filtering_at_equal_calls() -> None:
    utility = LinearUtility(6, 5, differentiable=True)
    guided = DiffusionNAG(SPACE).propose(Request(32, utility, seed=0))
    filtered = RandomGenerator(SPACE, calls_per_architecture=4).propose(Request(32, utility, seed=0))
    assert guided.utility_calls <= filtered.utility_calls == 128
    assert guided.validity_unprojected >= 0.99
    assert utility.of(guided.slots[:10]).mean() > utility.of(filtered.slots[:10]).mean()


def test_stronger_guidance_climbs_higher_and_varies_less() -> None:
    """Of the samples themselves, not of what they met."""
    utility = LinearUtility(6, 5, differentiable=True)
    uniqueness = [
        DiffusionNAG(SPACE, strength=(w, w), calls_per_architecture=10).propose(Request(40, utility, seed=0)).uniqueness
        or 0.0
        for w in (0.1, 20.0)
    ]
    assert uniqueness[0] > uniqueness[1]


def test_renoised_elites_stay_near_and_forget_with_noise() -> None:
    elites = np.full((1, 6), 3)
    distances = [
        (DiffusionNAG(SPACE, elite_share=1.0, elite_start=start).propose(Request(40, elites=elites)).slots != 3)
        .sum(axis=1)
        .mean()
        for start in (0.45, 1.0)
    ]
    assert distances[0] < 3.5 < distances[1]


def test_illegal_samples_are_projected(gapped: Path) -> None:
    space = GappedSpace()
    proposal = DiffusionNAG(space, checkpoint=gapped).propose(Request(15))
    assert len(proposal.slots) == 15
    assert space.is_legal(proposal.slots).all()
    assert proposal.validity_unprojected < 0.9, "an untrained network knows nothing of legality"
    everything = DiffusionNAG(space, checkpoint=gapped).propose(Request(100, LinearUtility(4, 4, differentiable=True)))
    assert len(set(keys(everything.slots))) == 20
    with pytest.raises(CheckpointError, match="gapped"):
        DiffusionNAG(SPACE, checkpoint=gapped)


def test_a_gradient_that_is_undefined_somewhere_does_no_harm() -> None:
    class Rooted:
        """Square roots have infinite slope at 0, where many architectures are."""

        differentiable = True

        def __call__(self, slots: torch.Tensor) -> torch.Tensor:
            return slots[:, :, 3].sum(dim=1).sqrt() + slots[:, :, 2].sum(dim=1).log()

    proposal = DiffusionNAG(SPACE).propose(Request(16, Rooted(), seed=0))
    assert proposal.validity_unprojected >= 0.95
    assert {2, 3} >= set(proposal.slots[0].tolist())


def test_torch_is_left_as_it_was() -> None:
    """Global random state, gradient mode and threads are as before."""
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    DiffusionNAG(SPACE, steps=4).propose(Request(4, LinearUtility(6, 5, differentiable=True)))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == threads


def test_options_reach_the_generator() -> None:
    config = {
        "kind": "diffusion_nag",
        "pool": 8,
        "steps": 4,
        "strength": [1, 2],
        "sampler": "dpmpp_2m",
        "elite_share": 0,
    }
    assert len(make_generator(config, SPACE).propose(Request(8)).slots) == 8


def test_breeding_meets_a_whole_space_and_ends() -> None:
    proposal = DiffusionEvolution(GappedSpace(), diffusion_share=0).propose(
        Request(30, LinearUtility(4, 4, differentiable=True))
    )
    assert len(proposal.slots) == proposal.utility_calls == 20


@pytest.mark.parametrize("differentiable", [True, False])
def test_breeding_finds_the_best_of_a_space_it_cannot_list(differentiable: bool) -> None:
    """The optimum of a sum of slots, where all blocks count: 25 slots in 600 calls, from uniform draws."""
    space = MobileNetV3()
    utility = LinearUtility(25, 9, differentiable=differentiable)
    optimum = utility.of(space.project(utility.weights.numpy()[None]))[0]
    generator = DiffusionEvolution(space, diffusion_share=0, calls_per_architecture=600)
    best = utility.of(generator.propose(Request(1, utility, seed=0)).slots)[0]
    drawn = utility.of(space.sample(600, np.random.default_rng(0)))
    assert best > drawn.max()
    assert best > (0.98 if differentiable else 0.7) * optimum


def test_first_order_predictions_pay_within_limits() -> None:
    """At equal calls, breeding that sees where a limit lies is ahead of breeding that does not."""
    space = SPACE
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=(6, 5)))

    class Limited:
        def __init__(self, differentiable: bool) -> None:
            self.differentiable = differentiable

        def __call__(self, slots: torch.Tensor) -> torch.Tensor:
            return self.terms(slots).utility

        def terms(self, slots: torch.Tensor) -> Terms:
            excess = slots[:, :, 3].sum(dim=1) / 2 - 1 - 0.1 * slots[:, 0, 2]
            return Terms((slots * weights).sum(dim=(1, 2)) + 2 * slots[:, :, 3].sum(dim=1), excess[:, None], 50.0)

    worth = {}
    for differentiable in (True, False):
        generator = DiffusionEvolution(space, diffusion_share=0, calls_per_architecture=60)
        found = [generator.propose(Request(1, Limited(differentiable), seed=s)).slots for s in range(8)]
        worth[differentiable] = score(Limited(False), np.concatenate(found), space).mean()
    assert worth[True] > worth[False]


def test_other_resolutions_need_no_training(gapped: Path) -> None:
    """The network that ships is of another space then, and says so; the untrained one serves."""
    space = MobileNetV3(resolutions=(160, 224))
    with pytest.raises(CheckpointError, match="other choices") as caught:
        DiffusionNAG(space)
    assert "untrained" in caught.value.hint
    assert len(DiffusionNAG(space, checkpoint="untrained").propose(Request(4)).slots) == 4
    with pytest.raises(CheckpointError, match="'gapped', not for 'mobilenetv3'"):
        DiffusionEvolution(MobileNetV3(), checkpoint=gapped)
