from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from orchestrator.errors import ConfigError
from orchestrator.generate.base import CountedUtility, Generator, Proposal, Request
from orchestrator.generate.evolution import RegularizedEvolution
from orchestrator.generate.mixture import Mixture, Part, split
from orchestrator.generate.pool import keys
from orchestrator.generate.random import RandomGenerator
from orchestrator.generate.registry import make_generator
from orchestrator.space.base import IntArray, Space
from orchestrator.space.nasbench201 import NASBench201
from tests.contracts.generator_contract import GeneratorContract, LinearUtility
from tests.orchestrator.generate.spaces import GappedSpace

SPACE = NASBench201()
HALVES = [{"kind": "local_search", "share": 1}, {"kind": "random", "share": 1}]


class TestMixture(GeneratorContract):
    @pytest.fixture
    def generator(self, space: Space) -> Generator:
        return Mixture([Part(RegularizedEvolution(space), 3.0), Part(RandomGenerator(space), 1.0)])

    def calls_per_architecture(self, generator: Generator) -> int:
        return 10  # of either part

    def times_paid(self, generator: Generator) -> int:
        return 2  # parts do not know what other parts pay for


class Fixed:
    """Always proposes the same rows."""

    def __init__(self, name: str, rows: list[list[int]], **statistics: float) -> None:
        self.name = name
        self.space = SPACE
        self._rows = np.array(rows)
        self._statistics = statistics

    def propose(self, request: Request) -> Proposal:
        return Proposal(
            self._rows[: request.count],
            self._statistics.get("validity", 1.0),
            0,
            0.1,
            self._statistics.get("uniqueness"),
        )


@pytest.mark.parametrize(
    ("shares", "count", "counts"),
    [
        ([0.7, 0.3], 256, [179, 77]),
        ([70, 30], 256, [179, 77]),
        ([1, 1, 1], 4, [2, 1, 1]),
        ([5, 1], 1, [1, 0]),
        ([1], 0, [0]),
    ],
)
def test_counts_are_split_by_the_largest_remainder(shares: list[float], count: int, counts: list[int]) -> None:
    assert split(shares, count) == counts


def test_shares_are_kept_and_origins_told() -> None:
    mixture = make_generator([{"kind": "random", "share": 7}, {"kind": "local_search", "share": 3}], SPACE)
    assert mixture.name == "random+local_search"
    proposal = mixture.propose(Request(50, seed=2))
    assert Counter(proposal.origins) == {"random": 35, "local_search": 15}
    assert Counter(proposal.origins[:10]) == {"random": 7, "local_search": 3}, "unguided parts take turns"


def test_the_whole_is_best_first_without_a_call_more() -> None:
    utility = CountedUtility(LinearUtility(6, 5, differentiable=False))
    proposal = make_generator(HALVES, SPACE).propose(Request(30, utility, seed=1))
    assert proposal.utility_calls == utility.calls == 300
    scores = LinearUtility(6, 5, differentiable=False).of(proposal.slots)
    assert (np.diff(scores) <= 1e-9).all()
    by_origin = {name: scores[np.array(proposal.origins) == name] for name in ("local_search", "random")}
    assert by_origin["local_search"].mean() > by_origin["random"].mean(), "each keeps its own origin"


def test_what_two_parts_find_counts_once_and_is_made_up_for() -> None:
    same = [[0] * 6, [1] * 6, [2] * 6]
    mixture = Mixture([Part(Fixed("a", same), 1), Part(Fixed("b", same), 1)])
    proposal = mixture.propose(Request(6))
    assert len(set(keys(proposal.slots))) == 6
    assert Counter(proposal.origins) == {"a": 3, "random": 3}


def test_what_is_missing_is_the_best_that_any_part_has_met() -> None:
    """Both parts climb the same hill and return the same; the next best cost a call too."""
    climbers = [{"kind": "local_search", "calls_per_architecture": 100}] * 2
    utility = LinearUtility(6, 5, differentiable=False)
    found = utility.of(make_generator(climbers, SPACE).propose(Request(20, utility, seed=0)).slots)
    alone = utility.of(make_generator(climbers[0], SPACE).propose(Request(20, utility, seed=0)).slots)
    assert len(found) == 20
    assert found[-1] >= alone[-1] - 1.0
    assert found[-1] > np.quantile(utility.of(SPACE.all()), 0.98)


def test_statistics_are_means_by_architectures() -> None:
    rows = SPACE.sample(8, np.random.default_rng(0)).tolist()
    first = Fixed("a", rows[:6], validity=1.0, uniqueness=0.5)
    second = Fixed("b", rows[6:], validity=0.5)
    proposal = Mixture([Part(first, 3), Part(second, 1)]).propose(Request(8))
    assert proposal.validity_unprojected == pytest.approx(0.875)
    assert proposal.uniqueness == 0.5
    assert proposal.novelty is None


def test_parts_draw_differently() -> None:
    parts = [{"kind": "random"}, {"kind": "random"}]
    proposal = make_generator(parts, SPACE).propose(Request(40, seed=0))
    assert len(set(keys(proposal.slots))) == 40
    assert (proposal.slots[:20] != RandomGenerator(SPACE).propose(Request(20, seed=0)).slots).any()


def test_a_space_can_run_out() -> None:
    utility = LinearUtility(4, 4, differentiable=False)
    for guide in (None, utility):
        proposal = make_generator(HALVES, GappedSpace()).propose(Request(50, guide))
        assert len(proposal.slots) == 20
        assert len(proposal.origins) == 20


def test_mixtures_of_mixtures_and_starts_from_mixtures() -> None:
    nested = {"kind": "mixture", "parts": [{"kind": "mixture", "parts": HALVES}, {"kind": "random", "share": 0.5}]}
    assert make_generator(nested, SPACE).name == "local_search+random+random"
    started = make_generator({"kind": "regularized_evolution", "start": HALVES}, SPACE)
    utility = LinearUtility(6, 5, differentiable=False)
    assert len(started.propose(Request(10, utility)).slots) == 10


def test_every_problem_is_named_with_the_number_of_its_part() -> None:
    config = [
        {"kind": "oracle", "share": -1, "pool": 3},
        {"kind": "random", "broods": 1},
        {"share": float("nan")},
        "random",
        {"kind": "regularized_evolution", "start": [{"kind": "random", "share": 0}]},
    ]
    with pytest.raises(ConfigError) as caught:
        make_generator(config, SPACE)  # type: ignore[arg-type]
    assert {problem.field for problem in caught.value.problems} == {
        "generator[0].kind",
        "generator[0].share",
        "generator[0].pool",
        "generator[1].broods",
        "generator[2].kind",
        "generator[2].share",
        "generator[3]",
        "generator[4].start[0].share",
    }
    for empty in ([], {"kind": "mixture"}, {"kind": "mixture", "parts": []}):
        with pytest.raises(ConfigError, match="at least one"):
            make_generator(empty, SPACE)
    with pytest.raises(ConfigError, match=r"generator\.steps.*a mixture has pool and parts"):
        make_generator({"kind": "mixture", "parts": HALVES, "steps": 3}, SPACE)


def test_rows_are_integers_even_where_there_are_none() -> None:
    rows: IntArray = Mixture([Part(RandomGenerator(SPACE), 1)]).propose(Request(0)).slots
    assert rows.shape == (0, 6)
