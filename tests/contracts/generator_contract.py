"""What every Generator promises. A generator's tests subclass `GeneratorContract` and give it the fixture.

A fixture `generator` that asks for the fixture `space` is run on a space that can be listed, in which every vector of
choices means something else, and on one that cannot, in which many mean the same.
"""

from __future__ import annotations

import inspect
from collections import Counter

import numpy as np
import pytest
import torch

from orchestrator.generate.base import CountedUtility, Generator, Request
from orchestrator.space.base import IntArray, Space, canonical
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201


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

    def best(self, space: Space) -> IntArray:
        """(`S`,) the legal architecture of the highest utility."""
        return space.project(self.weights.numpy()[None])[0]


class GeneratorContract:
    """Run against a generator.

    Attributes:
        uses_elites: Whether unguided proposals lie nearer to the elites of a request than without them.
    """

    uses_elites = True

    @pytest.fixture(params=[NASBench201, MobileNetV3], ids=lambda kind: kind.name)
    def space(self, request: pytest.FixtureRequest) -> Space:
        """Where the generator proposes from."""
        made: Space = request.param()
        return made

    @pytest.fixture
    def generator(self) -> Generator:
        """The generator."""
        raise NotImplementedError

    def times_paid(self, generator: Generator) -> int:
        """How often one architecture may be evaluated: once, unless it is several generators."""
        return 1

    def calls_per_architecture(self, generator: Generator) -> int:
        """How many calls it may spend on each architecture asked for: the default of its constructor's option."""
        allowed: int = inspect.signature(type(generator)).parameters["calls_per_architecture"].default
        return allowed

    def test_is_a_generator(self, generator: Generator) -> None:
        assert isinstance(generator, Generator)
        assert generator.name

    @pytest.mark.parametrize("count", [1, 5, 40])
    def test_gives_as_many_different_legal_ones_as_asked(self, generator: Generator, count: int) -> None:
        proposal = generator.propose(Request(count, seed=3))
        _check(proposal.slots, generator.space, count)
        assert proposal.utility_calls == 0
        assert 0 <= proposal.validity_unprojected <= 1
        assert proposal.seconds > 0

    @pytest.mark.parametrize("differentiable", [True, False])
    def test_guided_gives_as_many_too(self, generator: Generator, differentiable: bool) -> None:
        utility = utility_on(generator.space, differentiable=differentiable)
        _check(generator.propose(Request(20, utility, seed=3)).slots, generator.space, 20)

    @pytest.mark.parametrize("differentiable", [True, False])
    def test_a_utility_pays(self, generator: Generator, differentiable: bool) -> None:
        utility = utility_on(generator.space, differentiable=differentiable)
        guided = utility.of(generator.propose(Request(20, utility, seed=3)).slots)
        uniform = utility.of(generator.space.sample(2000, np.random.default_rng(0)))
        assert guided.mean() > uniform.mean() + uniform.std()
        assert (np.diff(guided) <= 1e-9).all(), "best first"

    @pytest.mark.parametrize("count", [1, 10, 40])
    @pytest.mark.parametrize("differentiable", [True, False])
    def test_calls_are_counted_and_stay_within_the_budget(
        self, generator: Generator, differentiable: bool, count: int
    ) -> None:
        utility = CountedUtility(utility_on(generator.space, differentiable=differentiable))
        proposal = generator.propose(Request(count, utility, seed=0))
        assert proposal.utility_calls == utility.calls > 0
        assert utility.calls <= count * self.calls_per_architecture(generator)

    def test_nothing_is_paid_for_twice(self, generator: Generator) -> None:
        class Remembers(LinearUtility):
            def __call__(self, slots: torch.Tensor) -> torch.Tensor:
                rows.extend(map(bytes, slots.detach().argmax(dim=2).to(torch.uint8).numpy()))
                return super().__call__(slots)

        rows: list[bytes] = []
        choices = generator.space.choices
        utility = Remembers(len(choices), max(map(len, choices)), differentiable=True)
        generator.propose(Request(10, utility, generator.space.sample(4, np.random.default_rng(9)), seed=0))
        assert max(Counter(rows).values()) <= self.times_paid(generator)

    @pytest.mark.parametrize("guided", [True, False])
    def test_the_same_request_gives_the_same(self, generator: Generator, guided: bool) -> None:
        utility = utility_on(generator.space, differentiable=True) if guided else None
        first, second, other = (generator.propose(Request(12, utility, seed=seed)).slots for seed in (5, 5, 6))
        assert (first == second).all()
        assert guided or (first.shape != other.shape or (first != other).any())

    @pytest.mark.parametrize("guided", [True, False])
    def test_takes_elites(self, generator: Generator, guided: bool) -> None:
        utility = utility_on(generator.space, differentiable=True) if guided else None
        elites = generator.space.sample(6, np.random.default_rng(9))
        _check(generator.propose(Request(12, utility, elites, seed=1)).slots, generator.space, 12)

    def test_elites_draw_proposals_near(self, generator: Generator) -> None:
        elite = generator.space.sample(1, np.random.default_rng(9))
        changed = [
            float((generator.propose(Request(40, elites=elites, seed=1)).slots != elite).sum(axis=1).mean())
            for elites in (elite, elite[:0])
        ]
        assert changed[0] < changed[1] - 0.5 or not self.uses_elites

    def test_a_good_elite_is_not_lost(self, generator: Generator) -> None:
        utility = utility_on(generator.space, differentiable=True)
        best = utility.best(generator.space)
        neighbours = generator.space.neighbours(generator.space.architecture(best))
        elite = neighbours[utility.of(neighbours).argmax()][None]
        found = utility.of(generator.propose(Request(20, utility, elite, seed=2)).slots)
        assert found.max() >= utility.of(elite)[0] - 1e-9 or not self.uses_elites

    def test_a_flat_or_undefined_utility_is_survived(self, generator: Generator) -> None:
        class Nowhere:
            differentiable = True

            def __call__(self, slots: torch.Tensor) -> torch.Tensor:
                return (slots * 0).sum(dim=(1, 2)) * float("nan")

        assert len(generator.propose(Request(5, Nowhere(), seed=0)).slots) == 5


def utility_on(space: Space, *, differentiable: bool) -> LinearUtility:
    """A utility that fits a space."""
    return LinearUtility(len(space.choices), max(map(len, space.choices)), differentiable=differentiable)


def _check(slots: IntArray, space: Space, count: int) -> None:
    """So many different legal rows, each the one that stands for all that mean the same."""
    assert slots.shape == (count, len(space.choices))
    assert slots.dtype == np.int64
    assert len(np.unique(slots, axis=0)) == count
    assert space.is_legal(slots).all()
    assert (slots == canonical(space, slots)).all()
