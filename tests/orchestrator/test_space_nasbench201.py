from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import IllegalArchitecture
from orchestrator.space.base import Space
from orchestrator.space.nasbench201 import EDGES, OPERATORS, NASBench201
from orchestrator.space.nasbench201_network import operators_of
from tests.contracts.space_contract import SpaceContract

SPACE = NASBench201()
TABLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "nb201_accuracy.parquet"
CHOICES = st.lists(st.integers(0, len(OPERATORS) - 1), min_size=len(EDGES), max_size=len(EDGES))


class TestContract(SpaceContract):
    @pytest.fixture
    def space(self) -> Space:
        return NASBench201()


@pytest.mark.skipif(not TABLE.exists(), reason=f"the benchmark's table {TABLE.name} is not here")
def test_order_and_classes_are_the_benchmarks() -> None:
    import pandas as pd

    table = pd.read_parquet(TABLE, columns=["arch_str", "unique_str"])
    assert [SPACE.at(index).text for index in range(15_625)] == table["arch_str"].tolist()
    classes = [SPACE.isomorphism_class(SPACE.at(index)) for index in range(15_625)]
    assert classes == table["unique_str"].tolist()
    assert len(set(classes)) == 6_466


def test_order_is_a_permutation_and_known_at_both_ends() -> None:
    assert len(np.unique(SPACE.all(), axis=0)) == SPACE.size == 15_625
    first = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    assert SPACE.at(0).text == first
    for index in (0, 1, 7_812, 15_624):
        assert SPACE.index(SPACE.at(index)) == index
    for index in (-1, 15_625):
        with pytest.raises(IllegalArchitecture, match=str(index)):
            SPACE.at(index)


@given(CHOICES)
@settings(deadline=None)
def test_every_vector_is_an_architecture_and_round_trips(choices: list[int]) -> None:
    architecture = SPACE.architecture(choices)
    assert SPACE.parse(architecture.text) == architecture
    assert SPACE.parse(f"  {architecture.text}\n").slots == tuple(choices)


@given(st.text(max_size=120))
@settings(deadline=None)
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        architecture = SPACE.parse(text)
    except IllegalArchitecture:
        return
    assert SPACE.parse(architecture.text) == architecture


GOOD = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (GOOD.replace("none~1", "none~2"), "none~2"),
        (GOOD.replace("nor_conv_3x3", "nor_conv_5x5"), "nor_conv_5x5"),
        (GOOD.replace("|skip_connect~1", ""), "node 2"),
        (GOOD.rsplit("+", 1)[0], "3 nodes"),
        (GOOD + "+|none~0|none~1|none~2|none~3|", "4"),
        (GOOD.replace("~", ""), "nor_conv_3x30"),
    ],
)
def test_illegal_text_says_where(wrong: str, says: str) -> None:
    with pytest.raises(IllegalArchitecture, match=says) as caught:
        SPACE.parse(wrong)
    assert "operators" in caught.value.hint


def test_edges_see_those_on_a_common_path() -> None:
    apart = {
        (edge, other)
        for edge in EDGES
        for other in EDGES
        if not SPACE.attention_mask[EDGES.index(edge), EDGES.index(other)]
    }
    # Parallel ways from the input, and everything beside the direct edge, share no path.
    assert ((0, 1), (0, 2)) in apart
    assert all(((0, 3), other) in apart for other in EDGES if other != (0, 3))
    assert ((0, 1), (2, 3)) not in apart, "they meet in 0-1-2-3"


@given(CHOICES)
@settings(max_examples=25, deadline=None)
def test_neighbours_differ_in_one_operator(choices: list[int]) -> None:
    neighbours = SPACE.neighbours(SPACE.architecture(choices))
    assert len(neighbours) == 24
    assert ((neighbours != np.array(choices)).sum(axis=1) == 1).all()


@given(CHOICES)
@settings(max_examples=50, deadline=None)  # the first call groups the whole space into classes
def test_the_representative_is_of_the_same_class_and_runs_most_operators(choices: list[int]) -> None:
    architecture = SPACE.architecture(choices)
    representative = SPACE.representative(architecture)
    assert SPACE.isomorphism_class(representative) == SPACE.isomorphism_class(architecture)
    assert SPACE.representative(representative) == representative
    operators = [OPERATORS[value] for value in architecture.slots]
    assert len(operators_of([OPERATORS[v] for v in representative.slots])) >= len(operators_of(operators))


def test_dead_branches_do_not_tell_architectures_apart() -> None:
    dead = "|none~0|+|nor_conv_1x1~0|{}~1|+|skip_connect~0|{}~1|nor_conv_3x3~2|"
    classes = {SPACE.isomorphism_class(SPACE.parse(dead.format(a, b))) for a in OPERATORS for b in OPERATORS}
    assert len(classes) == 1
