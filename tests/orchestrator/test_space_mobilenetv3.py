"""MobileNetV3 as a space: the contract, OFA's dictionaries, inactive blocks, exact projection."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ConfigError, IllegalArchitecture
from orchestrator.space.base import Space, canonical, one_hot
from orchestrator.space.mobilenetv3 import FIRST_BLOCK, MobileNetV3
from tests.contracts.space_contract import SpaceContract


class TestMobileNetV3(SpaceContract):
    """With the resolution left to the network's options."""

    @pytest.fixture
    def space(self) -> Space:
        return MobileNetV3()


class TestSearchedResolution(SpaceContract):
    """With a slot for the resolution."""

    @pytest.fixture
    def space(self) -> Space:
        return MobileNetV3(resolutions=(160, 192, 224))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_ofa_dictionaries_round_trip(seed: int) -> None:
    space = MobileNetV3(resolutions=(160, 224))
    architecture = space.architecture(space.sample(1, np.random.default_rng(seed))[0])
    assert space.from_ofa(space.to_ofa(architecture)) == architecture
    assert space.parse(json.dumps(space.to_ofa(architecture))) == architecture


def test_inactive_blocks_do_not_tell_architectures_apart() -> None:
    space = MobileNetV3()
    row = space.parse("k3e6,k5e4|k3e3,k7e6,k3e4|k3e3,k3e3|k5e6,k5e6|k7e6,k3e3,k3e4,k5e6").slots
    other = np.array(row)
    other[FIRST_BLOCK + 3] = 5  # the fourth block of a stage of two
    assert space.is_legal(other[None]).all()
    assert space.architecture(other).slots == row
    assert (canonical(space, other[None])[0] == row).all()


def test_projection_is_the_best_of_a_stage() -> None:
    """Against enumeration of all depths and blocks of one stage."""
    space = MobileNetV3()
    scores = np.random.default_rng(0).normal(size=(1, 25, 9))
    chosen = space.project(scores)
    best = -np.inf
    for depth in range(3):
        for blocks in itertools.product(range(9), repeat=depth + 2):
            row = chosen[0].copy()
            row[0] = depth
            row[FIRST_BLOCK : FIRST_BLOCK + 4] = [*blocks, *[0] * (2 - depth)]
            best = max(best, float((scores[0] * one_hot(row[None], 9)[0]).sum()))
    assert float((scores[0] * one_hot(chosen, 9)[0]).sum()) == pytest.approx(best)


@pytest.mark.parametrize(
    "text",
    [
        "k3e6,k5e4|k3e3,k7e6",
        "k3e6|k3e3,k7e6|k3e3,k3e3|k5e6,k5e6|k7e6,k3e3",
        "k3e5,k5e4|k3e3,k7e6|k3e3,k3e3|k5e6,k5e6|k7e6,k3e3",
        "k3e6,k5e4|k3e3,k7e6|k3e3,k3e3|k5e6,k5e6|k7e6,k3e3@224",
        '{"ks": [3], "e": [3], "d": [2]}',
        '{"ks": 3}',
        "{",
        "[]",
        '{"ks": null, "e": null, "d": null}',
    ],
)
def test_wrong_text_says_what_to_write(text: str) -> None:
    with pytest.raises(IllegalArchitecture) as caught:
        MobileNetV3().parse(text)
    assert caught.value.hint


@pytest.mark.parametrize("resolutions", [(8,), (224, 224), (-1,)])
def test_impossible_resolutions_are_refused(resolutions: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError):
        MobileNetV3(resolutions=resolutions)
