from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.errors import ConfigError
from orchestrator.generate.base import Generator, Request
from orchestrator.generate.evolution import RegularizedEvolution, crossover, mutate
from orchestrator.generate.random import RandomGenerator
from orchestrator.generate.registry import generator_kinds, make_generator
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from tests.contracts.generator_contract import GeneratorContract, LinearUtility
from tests.orchestrator.generate.spaces import GappedSpace


class TestRandom(GeneratorContract):
    uses_elites = False

    @pytest.fixture
    def generator(self) -> Generator:
        return RandomGenerator(NASBench201())


class TestEvolution(GeneratorContract):
    @pytest.fixture
    def generator(self) -> Generator:
        return RegularizedEvolution(NASBench201())


class TestRandomOnMobileNetV3(GeneratorContract):
    uses_elites = False

    @pytest.fixture
    def generator(self) -> Generator:
        return RandomGenerator(MobileNetV3())


class TestEvolutionOnMobileNetV3(GeneratorContract):
    @pytest.fixture
    def generator(self) -> Generator:
        return RegularizedEvolution(MobileNetV3(), population=100, tournament=25)


class TestEvolutionOfAStart(GeneratorContract):
    uses_elites = False

    @pytest.fixture
    def generator(self) -> Generator:
        space = NASBench201()
        return RegularizedEvolution(space, start=RandomGenerator(space, calls_per_architecture=2))


def test_evolution_beats_random_draws_at_equal_calls() -> None:
    space = NASBench201()
    utility = LinearUtility(6, 5, differentiable=False)
    random, evolved = (
        make(space).propose(Request(20, utility, seed=0)) for make in (RandomGenerator, RegularizedEvolution)
    )
    assert random.utility_calls == evolved.utility_calls == 200
    assert utility.of(evolved.slots[:10]).mean() > utility.of(random.slots[:10]).mean()


def test_mutation_changes_at_most_so_many_slots() -> None:
    rng = np.random.default_rng(0)
    space = NASBench201()
    parents = space.sample(500, rng)
    assert ((mutate(space, parents, rng) != parents).sum(axis=1) == 1).all()
    changed = (mutate(space, parents, rng, changes=3) != parents).sum(axis=1)
    assert changed.max() == 3
    assert changed.min() >= 1 or (changed == 0).mean() < 0.05


def test_children_are_made_legal() -> None:
    rng = np.random.default_rng(0)
    space = GappedSpace()
    parents = space.sample(200, rng)
    assert space.is_legal(mutate(space, parents, rng, changes=2)).all()
    assert space.is_legal(crossover(space, parents, space.sample(200, rng), rng)).all()


@pytest.mark.parametrize("kind", ["random", "regularized_evolution"])
def test_a_space_can_run_out(kind: str) -> None:
    proposal = make_generator({"kind": kind}, GappedSpace()).propose(Request(50))
    assert len(proposal.slots) == 20
    utility = LinearUtility(4, 4, differentiable=False)
    assert len(make_generator({"kind": kind}, GappedSpace()).propose(Request(50, utility)).slots) == 20


def test_worst_scores_are_no_obstacle() -> None:
    class HalfUndefined:
        differentiable = False

        def __call__(self, slots: torch.Tensor) -> torch.Tensor:
            return torch.where(slots[:, 0, 0] > 0, torch.nan, slots[:, :, 3].sum(dim=1))

    for kind in ("random", "regularized_evolution"):
        best = make_generator({"kind": kind}, NASBench201()).propose(Request(5, HalfUndefined())).slots[0]
        assert best[0] != 0
        assert (best == 3).sum() >= 3


def test_options_come_from_the_configuration() -> None:
    config = {"kind": "regularized_evolution", "pool": 64, "start": {"kind": "random", "calls_per_architecture": 1}}
    proposal = make_generator(config, NASBench201()).propose(Request(8, LinearUtility(6, 5, differentiable=True)))
    assert proposal.utility_calls == 80


def test_all_wrong_options_are_named_at_once() -> None:
    config = {
        "kind": "regularized_evolution",
        "population": 0,
        "broods": 3,
        "start": {"kind": "random", "calls_per_architecture": "many"},
    }
    with pytest.raises(ConfigError) as caught:
        make_generator(config, NASBench201())
    fields = {problem.field for problem in caught.value.problems}
    assert fields == {"generator.population", "generator.broods", "generator.start.calls_per_architecture"}
    with pytest.raises(ConfigError, match=r"diffusion_evolution, diffusion_nag, .*random, regularized_evolution"):
        make_generator({"kind": "diffusion"}, NASBench201())
    assert set(generator_kinds()) >= {"diffusion_nag", "random", "regularized_evolution"}
