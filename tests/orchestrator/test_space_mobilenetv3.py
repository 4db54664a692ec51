"""MobileNetV3 as a space: the contract, OFA's dictionaries, inactive blocks, exact projection."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ConfigError, IllegalArchitecture
from orchestrator.space.base import Space, canonical, one_hot
from orchestrator.space.mobilenetv3 import FIRST_BLOCK, MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from orchestrator.space.registry import SPACES, make_space, parse_space, space_options
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


def test_what_ofa_writes_of_inactive_blocks_does_not_matter() -> None:
    space = MobileNetV3()
    ofa = {"ks": [5, 7, 0, 4] * 5, "e": [6, 3, 0, 9] * 5, "d": [2] * 5, "r": [160]}
    assert space.from_ofa(ofa).text == "|".join(["k5e6,k7e3"] * 5)
    with pytest.raises(IllegalArchitecture):
        space.from_ofa({**ofa, "d": [2, 2, 3, 2, 2]})


@given(st.text(max_size=80) | st.text("k3579e46,|@24 \u0663", max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_text_is_parsed_or_refused(text: str) -> None:
    space = MobileNetV3()
    with contextlib.suppress(IllegalArchitecture):
        assert space.parse(space.parse(text).text).text == space.parse(text).text


@given(
    st.dictionaries(
        st.sampled_from(["ks", "e", "d", "r", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
            lambda inner: st.lists(inner, max_size=21),
            max_leaves=30,
        ),
    )
)
@settings(max_examples=60, deadline=None)
def test_any_dictionary_is_parsed_or_refused(values: dict[str, object]) -> None:
    with contextlib.suppress(IllegalArchitecture):
        MobileNetV3(resolutions=(160, 224)).parse(json.dumps(values))


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
        json.dumps({"ks": [3] * 19, "e": [3] * 19, "d": [2] * 6}),
        json.dumps({"ks": [3] * 20, "e": [1e400] * 20, "d": [2] * 5}),
    ],
)
def test_wrong_text_says_what_to_write(text: str) -> None:
    with pytest.raises(IllegalArchitecture) as caught:
        MobileNetV3().parse(text)
    assert caught.value.hint


@pytest.mark.parametrize("resolutions", [(8,), (224, 224), (-1,), ("large",), 224, (224.5,), (2048,), "224"])
def test_impossible_resolutions_are_refused(resolutions: Any) -> None:
    with pytest.raises(ConfigError, match="32 to 1024"):
        MobileNetV3(resolutions=resolutions)


def test_a_space_and_its_options_by_name() -> None:
    assert isinstance(parse_space("nasbench201"), NASBench201)
    space = parse_space("mobilenetv3:resolutions=160,192,224")
    assert isinstance(space, MobileNetV3)
    assert space.resolutions == (160, 192, 224)
    assert space_options("mobilenetv3") == {"resolutions"}
    assert space_options("nasbench201") == set()


@pytest.mark.parametrize(
    "text",
    ["", "resnet", "mobilenetv3:", "mobilenetv3:resolutions", "mobilenetv3:resolutions=", "mobilenetv3:resolutions=a",
     "mobilenetv3:resolution=160,192", "nasbench201:resolutions=160"],
)  # fmt: skip
def test_other_names_and_options_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_space(text)


def test_other_packages_add_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "mine", lambda: MobileNetV3)  # type: ignore[arg-type]
    assert make_space("mine", resolutions=[64]).choices[-1] == ("64",)
