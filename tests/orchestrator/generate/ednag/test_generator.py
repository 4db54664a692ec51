from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.errors import ConfigError
from orchestrator.generate.base import CountedUtility, Generator, Request
from orchestrator.generate.ednag.generator import EDNAG
from orchestrator.generate.measured import MeasuredUtility
from orchestrator.generate.pool import keys
from orchestrator.generate.random import RandomGenerator
from orchestrator.generate.registry import make_generator
from orchestrator.space.base import Architecture, Space
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from tests.contracts.generator_contract import GeneratorContract, LinearUtility, utility_on
from tests.orchestrator.generate.spaces import GappedSpace

SPACE = NASBench201()


class TestEDNAG(GeneratorContract):
    @pytest.fixture
    def generator(self, space: Space) -> Generator:
        return EDNAG(space)


class TestWithoutDriftAndNoise(GeneratorContract):
    @pytest.fixture
    def generator(self) -> Generator:
        return EDNAG(SPACE, drift=0.0, noise=0.0, mutation=1.0, population=8)


class TestOnASearchedResolution(GeneratorContract):
    """Slots with more and with fewer choices than the others."""

    @pytest.fixture
    def generator(self) -> Generator:
        return EDNAG(MobileNetV3(resolutions=(160, 192, 224)))


def test_it_beats_random_draws_at_equal_calls() -> None:
    for space in (SPACE, MobileNetV3()):
        utility = utility_on(space, differentiable=False)
        random, evolved = (make(space).propose(Request(20, utility, seed=0)) for make in (RandomGenerator, EDNAG))
        assert random.utility_calls == evolved.utility_calls == 200
        assert utility.of(evolved.slots[:10]).mean() > utility.of(random.slots[:10]).mean()


def test_higher_pressure_gives_higher_fitness() -> None:
    utility = utility_on(MobileNetV3(), differentiable=False)
    means = [
        np.mean(
            [
                utility.of(EDNAG(MobileNetV3(), pressure=p, drift=0.0).propose(Request(30, utility, seed=s)).slots)
                for s in range(3)
            ]
        )
        for p in (0.0, 3.0, 10.0)
    ]
    assert (np.diff(means) > 0).all()


def test_the_drift_pays_where_choices_add_up() -> None:
    utility = utility_on(MobileNetV3(), differentiable=False)
    with_drift, without = (
        np.mean([utility.of(EDNAG(MobileNetV3(), drift=d).propose(Request(30, utility, seed=s)).slots) for s in (0, 1)])
        for d in (1.0, 0.0)
    )
    assert with_drift > without


def test_a_measured_objective_is_asked_once_for_each_architecture() -> None:
    asked: list[str] = []

    def measure(architecture: Architecture) -> float:
        asked.append(architecture.text)
        convolutions = architecture.text.count("nor_conv_3x3")
        return float("nan") if "none" in architecture.text else float(convolutions)

    proposal = EDNAG(SPACE).propose(Request(10, MeasuredUtility(SPACE, measure), seed=0))
    assert proposal.utility_calls == len(asked) == len(set(asked)) == 100
    assert SPACE.architecture(proposal.slots[0]).text.count("nor_conv_3x3") == 6


def test_only_architectures_are_measured() -> None:
    with pytest.raises(ValueError, match="mixtures"):
        MeasuredUtility(SPACE, lambda _: 0.0)(torch.full((1, 6, 5), 0.2))


def test_it_does_not_collapse() -> None:
    """The ten best of 500 are not copies of each other but for one slot."""
    utility = utility_on(MobileNetV3(), differentiable=False)
    best = EDNAG(MobileNetV3()).propose(Request(50, utility, seed=0)).slots[:10]
    apart = (best[:, None] != best[None]).sum(axis=2)[np.triu_indices(10, k=1)]
    assert apart.mean() > 2


def test_gradients_are_not_asked_for() -> None:
    class Watched(LinearUtility):
        def __call__(self, slots: torch.Tensor) -> torch.Tensor:
            assert not slots.requires_grad
            return super().__call__(slots)

    EDNAG(SPACE).propose(Request(5, Watched(6, 5, differentiable=True)))


def test_unguided_elites_are_noised() -> None:
    elites = SPACE.sample(3, np.random.default_rng(0))
    proposal = EDNAG(SPACE).propose(Request(200, elites=elites, seed=0))
    apart = (proposal.slots[:, None] != elites[None]).sum(axis=2).min(axis=1)
    assert 0.3 < (apart <= 2).mean() < 0.8, "of uniform draws, 0.05"
    assert proposal.validity_unprojected == 1.0
    assert 0.5 < (proposal.uniqueness or 0) <= 1.0


def test_raw_samples_are_counted_before_projection() -> None:
    proposal = EDNAG(GappedSpace()).propose(Request(10, LinearUtility(4, 4, differentiable=False)))
    assert 0.1 < proposal.validity_unprojected < 0.9
    assert GappedSpace().is_legal(proposal.slots).all()


def test_a_space_can_run_out() -> None:
    utility = CountedUtility(LinearUtility(4, 4, differentiable=False))
    proposal = EDNAG(GappedSpace()).propose(Request(50, utility))
    assert len(set(keys(proposal.slots))) == utility.calls == 20


@pytest.mark.parametrize("calls", [1, 2, 7])
def test_small_budgets_are_kept(calls: int) -> None:
    utility = CountedUtility(utility_on(SPACE, differentiable=False))
    assert len(EDNAG(SPACE, calls_per_architecture=calls).propose(Request(1, utility)).slots) == 1
    assert utility.calls == calls


def test_options_reach_the_generator() -> None:
    with pytest.raises(ConfigError) as caught:
        make_generator({"kind": "ednag", "population": 1, "noise": 2, "changes": [1, 0], "elites": 3}, SPACE)
    assert {problem.field for problem in caught.value.problems} == {
        "generator.population",
        "generator.noise",
        "generator.changes.1",
        "generator.elites",
    }
    assert len(make_generator({"kind": "ednag", "population": 10}, SPACE).propose(Request(3)).slots) == 3
