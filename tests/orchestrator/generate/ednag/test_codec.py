from __future__ import annotations

import numpy as np
import pytest

from orchestrator.generate.ednag.codec import Codec
from orchestrator.space.base import Space, canonical
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from tests.orchestrator.generate.spaces import GappedSpace

SPACES = [NASBench201(), MobileNetV3(), MobileNetV3(resolutions=(160, 224)), GappedSpace()]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"{space.name}-{len(space.choices)}")
def test_what_is_encoded_is_decoded(space: Space) -> None:
    codec = Codec(space)
    slots = canonical(space, space.sample(200, np.random.default_rng(0)))
    decoded, legal = codec.decode(codec.encode(slots))
    assert (decoded == slots).all()
    assert legal.all()


def test_uniform_choices_have_mean_0_and_variance_1() -> None:
    """So that the forward process keeps the variance, whatever the sizes of the slots."""
    for space in (NASBench201(), MobileNetV3(resolutions=(160, 192, 224))):
        codec = Codec(space)
        for slot, size in enumerate(codec.sizes):
            codes = codec._codes[slot, :size, :size]
            assert codes.mean(axis=0) == pytest.approx(0, abs=1e-6)
            assert codes.var(axis=0) == pytest.approx(1, abs=1e-5)
            assert np.diag(codes)[0] - codes[0, 1] == pytest.approx(codec.gaps[slot], abs=1e-5)
            assert not codec._codes[slot, :, size:].any(), "choices that do not exist"


def test_nothing_is_said_of_slots_without_effect() -> None:
    space = MobileNetV3()
    slots = space.sample(50, np.random.default_rng(0))
    codes = Codec(space).encode(slots)
    silent = ~codes.any(axis=2)
    assert (silent == space.inactive(slots)).all()


def test_noise_is_decoded_to_legal_architectures_and_says_which_were() -> None:
    space = GappedSpace()
    noise = np.random.default_rng(0).standard_normal((500, 4, 4)).astype(np.float32)
    slots, legal = Codec(space).decode(noise)
    assert space.is_legal(slots).all()
    assert 0.05 < legal.mean() < 0.6
    assert (slots[legal] == np.where(np.arange(4) < [[3], [3], [4], [3]], noise, -9).argmax(axis=2)[legal]).all()
