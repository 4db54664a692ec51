"""float16 and int8 artifacts against the float32 ones that they come from."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from profiling.network import FullyConnected, GlobalMean, Network, Scale
from profiling.precision import PRECISIONS, PrecisionError, convert, noise, outputs
from profiling.tflite import emit
from profiling.weights import random_weights
from tests.profiling.network_cases import activated, chain, squeeze_excite

pytest.importorskip("ai_edge_quantizer", reason="devicenag[quantize] is not installed")

_NETWORKS = {"squeeze_excite": squeeze_excite(), "relu6": activated("relu6"), "hard_swish": activated("hard_swish")}
_NETWORKS["constant"] = chain(GlobalMean, partial(Scale, factor=0.0), partial(FullyConnected, units=5))
_ERROR = {"float16": 0.005, "int8": 0.05}  # relative to the largest output; weights are random


@pytest.fixture(params=_NETWORKS)
def network(request: pytest.FixtureRequest) -> Network:
    return _NETWORKS[request.param]


def test_float32_is_left_alone(network: Network) -> None:
    model = emit(network, random_weights(network))
    assert convert(model, "float32") is model


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_outputs_stay_close(network: Network, precision: str, capfd: pytest.CaptureFixture[str]) -> None:
    model = emit(network, random_weights(network))
    converted = convert(model, precision)  # type: ignore[arg-type]
    image = noise(network.input_shape)[3]  # one that it was calibrated with
    (exact,), (rounded,) = outputs(model, [image]), outputs(converted, [image])
    assert exact.shape == rounded.shape
    assert np.abs(rounded - exact).max() < _ERROR[precision] * np.abs(exact).max()
    assert "it/s" not in capfd.readouterr().err, "no progress bars"


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_the_same_arguments_give_the_same_bytes(precision: str) -> None:
    network = squeeze_excite()
    model = emit(network, random_weights(network))
    assert convert(model, precision) == convert(model, precision)  # type: ignore[arg-type]


def test_int8_is_integer_throughout() -> None:
    network = squeeze_excite()
    interpreter = Interpreter(model_content=convert(emit(network, random_weights(network)), "int8"))
    types = {np.dtype(detail["dtype"]) for detail in interpreter.get_tensor_details()}
    assert np.dtype(np.float32) not in types
    assert interpreter.get_input_details()[0]["dtype"] == np.int8


def test_calibration_sets_the_range() -> None:
    """Inputs ten times as large as those calibrated with are cut off; calibrated with, they are not."""
    network = squeeze_excite()
    model = emit(network, random_weights(network))
    large = [10 * image for image in noise(network.input_shape)]
    (exact,) = outputs(model, large[:1])
    narrow, wide = (
        np.abs(outputs(convert(model, "int8", images), large[:1])[0] - exact).max() for images in (None, large)
    )
    assert wide < narrow


@pytest.mark.parametrize("model", [b"", b"no model at all", b"\x18\x00\x00\x00TFL3" + b"\xff" * 40])
@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_what_is_no_model_is_refused(model: bytes, precision: str) -> None:
    with pytest.raises(PrecisionError) as caught:
        convert(model, precision)  # type: ignore[arg-type]
    assert caught.value.hint
