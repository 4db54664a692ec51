"""Winners in int8: calibrated on the campaign's images, compared with float32 on others."""

from __future__ import annotations

import pytest

from orchestrator.campaign.config import parse_config
from orchestrator.errors import ConfigError, ExportError
from orchestrator.report.precision import Images, agreement, converted, images_of
from profiling import precision
from profiling.tflite import emit
from profiling.weights import random_weights

_CAMPAIGN = {
    "name": "small",
    "space": {"kind": "nasbench201", "input": [1, 8, 8, 1], "classes": 10, "channels": 4, "cells": 1},
    "generator": {"kind": "random"},
    "accuracy": {"kind": "training", "dataset": "digits"},
    "devices": [{"kind": "host"}],
    "measure": {"precision": "int8"},
}


def test_an_int8_winner_answers_like_its_float32_form() -> None:
    pytest.importorskip("ai_edge_quantizer", reason="devicenag[quantize] is not installed")
    config = parse_config(_CAMPAIGN, source="test")
    space = config.make_space()
    network = space.network(space.architecture([3] * 6), config.space.network_options())
    images = images_of(config, network)
    assert images.calibration[0].shape == network.input_shape
    exact = emit(network, random_weights(network))
    rounded = converted(exact, "int8", images, "winner")
    alike = agreement(exact, rounded, images.compared)
    assert alike is not None
    assert alike > 0.8


def test_float32_needs_no_images() -> None:
    config = parse_config({**_CAMPAIGN, "measure": {}}, source="test")
    space = config.make_space()
    network = space.network(space.architecture([3] * 6), config.space.network_options())
    assert images_of(config, network) == Images()
    assert agreement(b"", b"", ()) is None


def test_what_cannot_be_converted_is_the_users_error() -> None:
    with pytest.raises(ExportError):
        converted(b"no model", "int8", Images(), "winner")


def test_a_campaign_asks_for_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="quantize"):
        parse_config(_CAMPAIGN, source="test")
