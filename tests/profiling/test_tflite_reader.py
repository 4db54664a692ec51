"""Reading anybody's files: what is in them, and one error for whatever is wrong with them."""

from __future__ import annotations

import random
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiling.tflite import emit
from profiling.tflite_layers import model_layers
from profiling.tflite_reader import UnreadableModel, read_file, read_model
from profiling.weights import random_weights
from tests.profiling.model_files import Made, Op, model_file
from tests.profiling.network_cases import squeeze_excite

IMAGE = Made((1, 4, 4, 2))
unhurried = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
WHOLE = emit(squeeze_excite(), random_weights(squeeze_excite()))


def test_a_file_is_its_operators_and_tensors() -> None:
    model = read_model(WHOLE)
    assert model.description == "DeviceNAG"
    assert [operator.code for operator in model.operators[:3]] == ["CONV_2D", "HARD_SWISH", "DEPTHWISE_CONV_2D"]
    source, weights, bias = (model.tensors[index] for index in model.operators[0].inputs)
    assert (source.shape, source.constant) == ((1, 7, 10, 3), False)
    assert (weights.shape, weights.constant, bias.constant) == ((8, 1, 1, 3), True, True)
    assert model.operators[0].options == {"StrideH": 1, "StrideW": 1}
    assert model.tensors[model.outputs[0]].shape == (1, 5)


def test_custom_operators_have_their_names() -> None:
    model = read_model(model_file([IMAGE, IMAGE], [Op("CUSTOM:Fancy", (0, -1), (1,))], (0,), (1,)))
    assert [(each.code, each.inputs) for each in model.operators] == [("CUSTOM:Fancy", (0, -1))]


def test_the_batch_may_be_open_and_nothing_else() -> None:
    relu = [Op("RELU", (0,), (1,))]
    assert read_model(model_file([Made((1, 8), signature=(-1, 8)), Made((1, 8))], relu, (0,), (1,)))
    for made in (Made((1, 1, 1, 3), signature=(-1, -1, -1, 3)), Made((1, 5), signature=(1, -1))):
        with pytest.raises(UnreadableModel, match="input 'tensor0' has no fixed shape: axes") as raised:
            read_model(model_file([made, made], relu, (0,), (1,)))
        assert "fixed input shape" in raised.value.hint
    with pytest.raises(UnreadableModel, match=r"operator 0 \(RELU\): tensor 'tensor1' has no fixed shape: \[-1, 8\]"):
        read_model(model_file([Made((1, 8)), Made((-1, 8))], relu, (0,), (1,)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"<html>not found</html>", "is no .tflite file"),
        (b"\0\0\0\0TFL3", "is damaged or incomplete"),
        (struct.pack("<I4s", 8, b"TFL3") + bytes(64), "is damaged or incomplete"),
        (model_file([IMAGE], [], (0,), (0,)), "has no operators"),
        (model_file([IMAGE], [Op("RELU", (0,), (7,))], (0,), (0,)), "tensors that are not there"),
        (model_file([Made((2**30, 2**30))], [Op("RELU", (0,), (0,))], (0,), (0,)), "damaged or incomplete"),
        (WHOLE[: len(WHOLE) // 2], "is damaged or incomplete"),
    ],
)
def test_what_cannot_be_read_is_said(data: bytes, said: str) -> None:
    with pytest.raises(UnreadableModel, match=said) as raised:
        read_model(data)
    assert raised.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnreadableModel, match="cannot be opened: No such file"):
        read_file(tmp_path / "none.tflite")


def described(data: bytes) -> None:
    """Everything there is to read, or the reader's error and no other."""
    with suppress(UnreadableModel):
        assert all(layer.bytes_read >= 0 <= layer.multiply_adds for layer in model_layers(read_model(data)))


@unhurried
@given(st.binary(max_size=400))
def test_random_bytes_never_crash_the_reader(rest: bytes) -> None:
    described(rest)
    described(struct.pack("<I4s", min(len(rest), 60), b"TFL3") + rest)


@unhurried
@given(st.integers(0, len(WHOLE)))
def test_a_truncated_file_never_crashes_the_reader(size: int) -> None:
    described(WHOLE[:size])


@unhurried
@given(st.integers(0, 2**32), st.integers(1, 8))
def test_a_damaged_file_never_crashes_the_reader(seed: int, count: int) -> None:
    rng, damaged = random.Random(seed), bytearray(WHOLE)
    for _ in range(count):
        damaged[rng.randrange(8, len(damaged))] = rng.randrange(256)
    described(bytes(damaged))
