from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.generate.ednag.codec import Codec
from orchestrator.generate.ednag.denoise import forward
from orchestrator.generate.ednag.schedule import Noise, alpha, alphas, expected_changes
from orchestrator.space.base import Space
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201


def test_the_cosine_schedule_in_closed_form() -> None:
    count = 100
    expected = [(1 + math.cos(math.pi * j / (count - 1))) / 2 for j in range(count - 1, -1, -1)]
    assert alphas(count) == pytest.approx(expected, abs=1e-12)
    assert (alpha(0), alpha(0.5), alpha(1)) == pytest.approx((1, 0.5, 0))
    assert alphas(3, 0.5, 0.25) == pytest.approx([0.5, alpha(0.375), alpha(0.25)])


@pytest.mark.parametrize("space", [NASBench201(), MobileNetV3()], ids=lambda space: space.name)
@pytest.mark.parametrize("signal", [0.05, 0.4, 0.6])
def test_expected_changes_are_those_that_noise_makes(space: Space, signal: float) -> None:
    codec, rng = Codec(space), np.random.default_rng(0)
    slots = np.stack([rng.integers(0, size, 4000) for size in codec.sizes], axis=1)
    clean = codec._codes[np.arange(slots.shape[1]), slots]  # of inactive slots, too
    noised = (forward(clean, signal, rng) + codec._barred).argmax(axis=2)
    expected = expected_changes(codec.gaps, codec.sizes.astype(float), np.array([signal]))[0]
    assert (noised != slots).sum(axis=1).mean() == pytest.approx(expected, rel=0.03, abs=0.02)


def test_pure_noise_forgets_everything() -> None:
    codec = Codec(NASBench201())
    assert expected_changes(codec.gaps, codec.sizes.astype(float), np.array([0.0]))[0] == pytest.approx(6 * 4 / 5)


def test_noise_times_and_changes_are_each_others_inverse() -> None:
    noise = Noise(Codec(MobileNetV3()))
    for changes in (0.3, 1.0, 5.0):
        assert noise.changes(noise.time(changes)) == pytest.approx(changes, rel=0.01)
    assert noise.time(1.0) < noise.time(2.0)
    assert noise.time(1000.0) == pytest.approx(0.99), "almost pure noise is the most there is"
