from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.generate.base import Generator, Request
from orchestrator.generate.local_search import LocalSearch
from orchestrator.generate.pool import keys
from orchestrator.generate.random import RandomGenerator
from orchestrator.space.base import Space
from orchestrator.space.nasbench201 import NASBench201
from tests.contracts.generator_contract import GeneratorContract, LinearUtility
from tests.orchestrator.generate.spaces import GappedSpace

SPACE = NASBench201()


class TestLocalSearch(GeneratorContract):
    @pytest.fixture
    def generator(self, space: Space) -> Generator:
        return LocalSearch(space)


class TestBestImprovement(GeneratorContract):
    @pytest.fixture
    def generator(self) -> Generator:
        return LocalSearch(SPACE, brood=100)


@pytest.mark.parametrize("brood", [1, 8, 100])
def test_a_climb_ends_at_the_top_of_a_separable_hill(brood: int) -> None:
    """Six slots of five choices: a few neighbourhoods of 24 each lead to the optimum."""
    utility = LinearUtility(6, 5, differentiable=False)
    found = LocalSearch(SPACE, brood=brood, draws=1).propose(Request(20, utility, seed=1))
    assert (found.slots[0] == utility.weights.argmax(dim=1).numpy()).all()


def test_it_climbs_from_every_elite_first() -> None:
    """Two hills: a search that began at uniform draws would miss the narrow one."""

    class TwoHills:
        differentiable = False

        def __call__(self, slots: torch.Tensor) -> torch.Tensor:
            wide, narrow = slots[:, :, 3].sum(dim=1), slots[:, :, 0].sum(dim=1)
            return torch.maximum(wide, 10 * (narrow - 4))

    elite = np.array([[1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 2]])
    found = LocalSearch(SPACE).propose(Request(20, TwoHills(), elite, seed=0))
    assert found.slots[0].tolist() == [0] * 6


def test_it_starts_again_from_elsewhere_until_the_calls_are_spent() -> None:
    utility = LinearUtility(6, 5, differentiable=False)
    proposal = LocalSearch(SPACE, calls_per_architecture=50).propose(Request(20, utility, seed=0))
    assert proposal.utility_calls == 1000


def test_it_beats_random_draws_at_equal_calls() -> None:
    utility = LinearUtility(6, 5, differentiable=False)
    random, climbed = (make(SPACE).propose(Request(20, utility, seed=0)) for make in (RandomGenerator, LocalSearch))
    assert random.utility_calls == climbed.utility_calls == 200
    assert utility.of(climbed.slots[:10]).mean() > utility.of(random.slots[:10]).mean()


def test_unguided_most_are_neighbours_of_elites() -> None:
    elites = SPACE.sample(3, np.random.default_rng(0))
    proposal = LocalSearch(SPACE).propose(Request(40, elites=elites))
    apart = (proposal.slots[:, None] != elites[None]).sum(axis=2).min(axis=1)
    assert (apart == 1).sum() >= 28
    assert not set(keys(elites)) & set(keys(proposal.slots[apart == 1]))


def test_a_space_can_run_out() -> None:
    utility = LinearUtility(4, 4, differentiable=False)
    proposal = LocalSearch(GappedSpace()).propose(Request(50, utility))
    assert len(proposal.slots) == proposal.utility_calls == 20
    assert len(LocalSearch(GappedSpace()).propose(Request(50)).slots) == 20
