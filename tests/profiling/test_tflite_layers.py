"""What operators take, by hand-made files of every kind."""

from __future__ import annotations

import pytest

from profiling.precision import can_convert, convert
from profiling.tflite import emit
from profiling.tflite_layers import ModelLayer, model_layers
from profiling.tflite_reader import read_model
from profiling.weights import random_weights
from tests.profiling.model_files import Made, Op, constant, model_file
from tests.profiling.network_cases import squeeze_excite

IMAGE = Made((1, 4, 6, 3))  # 72 numbers, 288 bytes
WINDOW = {"strideH": 2, "strideW": 2}


def layers(tensors: list[Made], operators: list[Op], inputs: tuple[int, ...] = (0,)) -> tuple[ModelLayer, ...]:
    """The last tensor is the output."""
    return model_layers(read_model(model_file(tensors, operators, inputs, (len(tensors) - 1,))))


def layer(code: str, tensors: list[Made], options: str = "", **fields: object) -> ModelLayer:
    """Of one operator that reads all tensors but the last, which it computes."""
    last = len(tensors) - 1
    (found,) = layers(tensors, [Op(code, tuple(range(last)), (last,), options, fields)])
    return found


def test_a_convolution() -> None:
    weights, bias = constant((8, 3, 3, 3)), constant((8,))
    found = layer("CONV_2D", [IMAGE, weights, bias, Made((1, 2, 3, 8))], "Conv2DOptions", **WINDOW)
    assert (found.kind, found.multiply_adds) == ("convolution", 2 * 3 * 8 * 27)
    assert (found.bytes_read, found.bytes_written, found.weight_bytes) == (288, 192, 4 * (8 * 27 + 8))
    assert found.shape == (3, 2, 1, 4, 6, 3, 1, 2, 3, 8)
    assert (found.integer, found.priced, found.waits_for) == (False, True, ())


def test_the_channels_of_a_group_are_what_each_filter_sees() -> None:
    found = layer("CONV_2D", [Made((1, 4, 4, 8)), constant((8, 1, 1, 2)), Made((1, 4, 4, 8))])
    assert (found.kind, found.multiply_adds) == ("pointwise", 16 * 8 * 2)


@pytest.mark.parametrize(
    ("code", "tensors", "kind", "multiply_adds"),
    [
        ("DEPTHWISE_CONV_2D", [IMAGE, constant((1, 3, 3, 6)), Made((1, 4, 6, 6))], "depthwise", 24 * 6 * 9),
        ("FULLY_CONNECTED", [Made((2, 5)), constant((7, 5)), Made((2, 7))], "fully connected", 70),
        (
            "TRANSPOSE_CONV",
            [constant((4,), "INT32"), constant((5, 2, 2, 3)), IMAGE, Made((1, 8, 12, 5))],
            "convolution",
            72 * 4 * 5,
        ),
        ("CONV_3D", [Made((1, 2, 4, 4, 3)), constant((1, 3, 3, 3, 5)), Made((1, 2, 4, 4, 5))], "convolution", 32 * 135),
        ("BATCH_MATMUL", [Made((2, 4, 6)), Made((2, 6, 3)), Made((2, 4, 3))], "fully connected", 24 * 6),
        (
            "UNIDIRECTIONAL_SEQUENCE_RNN",
            [Made((1, 9, 4)), constant((5, 4)), constant((5, 5)), Made((1, 9, 5))],
            "fully connected",
            9 * 45,
        ),
    ],
)
def test_products(code: str, tensors: list[Made], kind: str, multiply_adds: int) -> None:
    found = layer(code, tensors)
    assert (found.kind, found.multiply_adds, found.priced) == (kind, multiply_adds, True)


def test_transposed_matrices() -> None:
    tensors = [Made((2, 6, 4)), Made((2, 6, 3)), Made((2, 4, 3))]
    assert layer("BATCH_MATMUL", tensors, "BatchMatMulOptions", adjX=True).multiply_adds == 24 * 6


@pytest.mark.parametrize(
    ("code", "arguments"),
    [("MEAN", (2,)), ("RESIZE_BILINEAR", (2,)), ("PAD", (4, 2)), ("TRANSPOSE", (4,)), ("SPLIT", ())],
)
def test_axes_and_sizes_are_no_weights(code: str, arguments: tuple[int, ...]) -> None:
    found = layer(code, [IMAGE, constant(arguments, "INT32"), IMAGE])
    assert (found.weight_bytes, found.bytes_read, found.multiply_adds, found.priced) == (0, 288, 0, True)
    assert found.kind == ("pooling" if code == "MEAN" else "elementwise")


def test_scales_are_weights_and_scalars_are_not() -> None:
    assert layer("MUL", [IMAGE, constant((3,)), IMAGE]).weight_bytes == 12
    assert layer("MUL", [IMAGE, constant((1,)), IMAGE]).weight_bytes == 0


def test_views_move_nothing_and_lookups_read_what_they_write() -> None:
    view = layer("RESHAPE", [IMAGE, constant((2,), "INT32"), Made((1, 72))])
    assert (view.bytes_read, view.bytes_written) == (0, 0)
    found = layer("GATHER", [constant((1000, 8)), Made((4,), "INT32"), Made((4, 8))])
    assert (found.bytes_read, found.bytes_written, found.weight_bytes) == (128, 128, 0)


@pytest.mark.parametrize("code", ["CUSTOM:Fancy", "NON_MAX_SUPPRESSION_V4", "STABLEHLO_ADD"])
def test_what_is_not_known_is_said_and_read_and_written_all_the_same(code: str) -> None:
    found = layer(code, [IMAGE, Made((1, 10))])
    assert (found.priced, found.kind, found.multiply_adds) == (False, "elementwise", 0)
    assert (found.bytes_read, found.bytes_written) == (288, 40)


def test_sizes_that_do_not_fit_their_operator_are_not_priced() -> None:
    assert not layer("CONV_2D", [IMAGE, constant((8,)), IMAGE]).priced
    assert not layer("TRANSPOSE_CONV", [constant((5, 2, 2, 3)), IMAGE, IMAGE]).priced
    assert not layer("LSTM", [IMAGE, IMAGE]).priced


def test_what_waits_for_what() -> None:
    operators = [
        Op("RELU", (0,), (1,)),
        Op("SPLIT", (1,), (2, 3)),
        Op("ADD", (2, 3), (4,)),
        Op("CONCATENATION", (4, 1, 0), (5,)),
    ]
    found = layers([IMAGE] * 6, operators)
    assert [each.waits_for for each in found] == [(), (0,), (1,), (0, 2)]


def test_integer_models() -> None:
    tensors = [Made((1, 4, 6, 3), "INT8"), constant((8, 3, 3, 3), "INT8", 1), constant((8,), "INT32")]
    found = layer("CONV_2D", [*tensors, Made((1, 4, 6, 8), "INT8")])
    assert (found.integer, found.bytes_read, found.weight_bytes) == (True, 72, 216 + 32)
    hybrid = layer("FULLY_CONNECTED", [Made((1, 5)), constant((7, 5), "INT8", 1), Made((1, 7))])
    assert hybrid.integer, "integer weights are multiplied as integers, whatever goes in and out"
    assert not layer("QUANTIZE", [Made((1, 5), "INT8"), Made((1, 5))]).integer


def test_weights_in_half_precision_are_expanded_when_the_model_is_loaded() -> None:
    tensors = [IMAGE, constant((8, 3, 3, 3), "FLOAT16", 2), Made((8, 3, 3, 3)), Made((1, 4, 6, 8))]
    found = layers(tensors, [Op("DEQUANTIZE", (1,), (2,)), Op("CONV_2D", (0, 2), (3,))])
    assert [(each.code, each.weight_bytes) for each in found] == [("CONV_2D", 4 * 216)]
    (kept,) = layers([Made((1, 5), "INT8"), Made((1, 5))], [Op("DEQUANTIZE", (0,), (1,))])
    assert kept.code == "DEQUANTIZE"


@pytest.mark.skipif(not can_convert("int8"), reason="ai-edge-quantizer is not installed")
def test_our_own_conversions() -> None:
    whole = emit(squeeze_excite(), random_weights(squeeze_excite()))
    exact = model_layers(read_model(whole))
    assert model_layers(read_model(convert(whole, "float16"))) == exact
    quantised = model_layers(read_model(convert(whole, "int8")))
    assert [each.multiply_adds for each in quantised] == [each.multiply_adds for each in exact]
    assert all(each.integer for each in quantised)
    assert [4 * each.bytes_read for each in quantised] == [each.bytes_read for each in exact]
