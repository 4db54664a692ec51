"""What every Generator promises. A generator's tests subclass `GeneratorContract` and give it the fixture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.generate.base import CountedUtility, Generator, Request


class LinearUtility:
    """Sum of weights of the chosen operators: the best architecture is known slot by slot."""

    def __init__(self, slots: int, choices: int, *, differentiable: bool) -> None:
        self.differentiable = differentiable
        self.weights = torch.from_numpy(np.random.default_rng(0).normal(size=(slots, choices)))

    def __call__(self, slots: torch.Tensor) -> torch.Tensor:
        return (slots.to(torch.float64) * self.weights).sum(dim=(1, 2))

    def of(self, slots: np.ndarray) -> np.ndarray:
        """(`B`,) utilities of (`B`, `S`) architectures."""
        return np.take_along_axis(self.weights.numpy()[None], slots[:, :, None], axis=2)[:, :, 0].sum(axis=1)


class GeneratorContract:
    """Run against a generator."""

    @pytest.fixture
    def generator(self) -> Generator:
        """The generator."""
        raise NotImplementedError

    def _utility(self, generator: Generator, differentiable: bool) -> LinearUtility:
        choices = generator.space.choices
        return LinearUtility(len(choices), max(map(len, choices)), differentiable=differentiable)

    def test_is_a_generator(self, generator: Generator) -> None:
        assert isinstance(generator, Generator)
        assert generator.name

    @pytest.mark.parametrize("count", [1, 5, 40])
    def test_gives_as_many_different_legal_ones_as_asked(self, generator: Generator, count: int) -> None:
        proposal = generator.propose(Request(count, seed=3))
        assert proposal.slots.shape == (count, len(generator.space.choices))
        assert len(np.unique(proposal.slots, axis=0)) == count
        assert generator.space.is_legal(proposal.slots).all()
        assert proposal.utility_calls == 0
        assert 0 <= proposal.validity_unprojected <= 1
        assert proposal.seconds > 0

    @pytest.mark.parametrize("differentiable", [True, False])
    def test_guided_gives_as_many_too(self, generator: Generator, differentiable: bool) -> None:
        utility = self._utility(generator, differentiable)
        proposal = generator.propose(Request(20, utility, seed=3))
        assert len(np.unique(proposal.slots, axis=0)) == 20
        assert generator.space.is_legal(proposal.slots).all()

    @pytest.mark.parametrize("differentiable", [True, False])
    def test_a_utility_pays(self, generator: Generator, differentiable: bool) -> None:
        utility = self._utility(generator, differentiable)
        guided = utility.of(generator.propose(Request(20, utility, seed=3)).slots)
        uniform = utility.of(generator.space.sample(2000, np.random.default_rng(0)))
        assert guided.mean() > uniform.mean() + uniform.std()
        assert guided[0] == guided.max(), "best first"

    @pytest.mark.parametrize("differentiable", [True, False])
    def test_calls_are_counted(self, generator: Generator, differentiable: bool) -> None:
        utility = CountedUtility(self._utility(generator, differentiable))
        proposal = generator.propose(Request(10, utility, seed=0))
        assert proposal.utility_calls == utility.calls > 0

    @pytest.mark.parametrize("guided", [True, False])
    def test_the_same_request_gives_the_same(self, generator: Generator, guided: bool) -> None:
        utility = self._utility(generator, True) if guided else None
        first, second, other = (generator.propose(Request(12, utility, seed=seed)).slots for seed in (5, 5, 6))
        assert (first == second).all()
        assert guided or (first.shape != other.shape or (first != other).any())

    @pytest.mark.parametrize("guided", [True, False])
    def test_takes_elites(self, generator: Generator, guided: bool) -> None:
        utility = self._utility(generator, True) if guided else None
        elites = generator.space.sample(6, np.random.default_rng(9))
        proposal = generator.propose(Request(12, utility, elites, seed=1))
        assert len(np.unique(proposal.slots, axis=0)) == 12

    def test_a_flat_or_undefined_utility_is_survived(self, generator: Generator) -> None:
        class Nowhere:
            differentiable = True

            def __call__(self, slots: torch.Tensor) -> torch.Tensor:
                return (slots * 0).sum(dim=(1, 2)) * float("nan")

        assert len(generator.propose(Request(5, Nowhere(), seed=0)).slots) == 5
