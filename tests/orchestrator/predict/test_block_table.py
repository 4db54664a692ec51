"""Block tables: sums by hand, relaxed architectures, what files may be like, and what errors say."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import DataError, IllegalArchitecture
from orchestrator.predict.block_table import OFFSET, BlockTable, contents, part_keys, read_block_latencies
from orchestrator.space.base import one_hot
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.mobilenetv3_blocks import fixed_keys, stage_block
from tests.orchestrator.predict.block_tables import block_latencies, write_block_table

NOTE10 = Path(__file__).resolve().parents[4] / "shared" / "data" / "ofa_note10_latency_lut.csv.gz"
SIZES = (64, 96)
LATENCIES = block_latencies(resolutions=SIZES)


def table(space: MobileNetV3) -> BlockTable:
    return BlockTable(LATENCIES, space, width=1.0, resolution=64, classes=10)


def by_hand(
    text: str, size: int, latencies: Mapping[tuple[int, str], float] = LATENCIES, width: float = 1.0, classes: int = 10
) -> float:
    """The sum, from an architecture's text."""
    total = sum(latencies[size, key] for key in fixed_keys(width, size, classes))
    for stage, blocks in enumerate(text.split("@")[0].split("|")):
        for position, block in enumerate(blocks.split(",")):
            key = stage_block(stage, position, int(block[1]), int(block[3]), width, size).key
            total += latencies[size, key]
    return total


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_a_network_is_the_sum_of_its_parts(seed: int) -> None:
    for space in (MobileNetV3(), MobileNetV3(resolutions=SIZES)):
        slots = space.sample(5, np.random.default_rng(seed))
        texts = [space.architecture(row).text for row in slots]
        sizes = [int(text.partition("@")[2] or 64) for text in texts]
        expected = [by_hand(text, size) for text, size in zip(texts, sizes, strict=True)]
        latency = table(space)
        assert latency.of(slots) == pytest.approx(expected)
        assert latency(torch.from_numpy(one_hot(slots, 9))).tolist() == pytest.approx(expected)
        assert latency.look_up(texts[0]) == pytest.approx(expected[0])


def test_choices_of_blocks_that_are_not_there_cost_nothing() -> None:
    space = MobileNetV3()
    slots = np.zeros((1, 25), dtype=np.int64)  # every stage has two blocks
    other = slots.copy()
    other[0, 5 + 3] = 7
    assert table(space).of(other) == table(space).of(slots)


def test_a_relaxed_architecture_lies_between_and_has_a_gradient() -> None:
    space = MobileNetV3()
    first, second = one_hot(space.sample(2, np.random.default_rng(0)), 9)
    second[:5] = first[:5]  # linear in the blocks where the depths agree
    ends = table(space)(torch.from_numpy(np.stack([first, second])))
    middle = torch.from_numpy((first + second) / 2).requires_grad_()
    latency = table(space)(middle[None])
    assert latency.item() == pytest.approx(ends.mean().item())
    torch.autograd.backward(latency.sum())
    assert middle.grad is not None
    assert (middle.grad >= 0).all()


def test_an_offset_is_added_to_every_network() -> None:
    space = MobileNetV3(resolutions=SIZES)
    slots = space.sample(20, np.random.default_rng(0))
    shifted = BlockTable({**LATENCIES, (96, OFFSET): -0.02}, space, width=1.0, classes=10)
    assert shifted.of(slots) - table(space).of(slots) == pytest.approx(np.where(slots[:, 25] == 1, -0.02, 0.0))
    with pytest.raises(DataError, match="fastest network"):
        BlockTable({**LATENCIES, (96, OFFSET): -100.0}, space, width=1.0, classes=10)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"width": 1.2}, "lacks 96 of the 96 parts of networks of width 1.2"),
        ({"classes": 1000}, "lacks 1 of the 96 parts .* the first: Logits-input:1x1x1280-output:1000 at 64"),
        ({"resolution": 128}, "at 128"),
    ],
)
def test_what_is_missing_is_said_and_what_there_is(wanted: dict[str, float], said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        BlockTable(LATENCIES, MobileNetV3(), **{"width": 1.0, "resolution": 64, "classes": 10, **wanted})  # type: ignore[arg-type]
    assert caught.value.hint == "it has width 1; classes 10; resolutions 64, 96"


def test_contents_of_an_odd_table() -> None:
    assert str(contents({})) == "nothing"
    assert str(contents({(64, "Logits-input:1x1x8-output:5"): 1.0})) == "width none; classes 5; resolutions 64"


def test_parts_that_occur_at_several_places_are_listed_once() -> None:
    for size in SIZES:
        keys = part_keys(1.0, size, 10)
        assert len(set(keys)) == len(keys)
        # Five stages, first or later blocks, three kernels, three expansions; six more.
        assert len(keys) <= 5 * 2 * 9 + 6


def test_files_are_read_packed_or_not(tmp_path: Path) -> None:
    plain = write_block_table(tmp_path / "table.csv", LATENCIES)
    packed = tmp_path / "table.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_block_latencies(plain) == read_block_latencies(packed) == LATENCIES
    space = MobileNetV3()
    read = BlockTable.read(packed, space, width=1.0, resolution=64, classes=10)
    assert read.content == table(space).content
    with pytest.raises(DataError, match=r"table\.csv\.gz: the table lacks"):
        BlockTable.read(packed, space, width=1.2, resolution=64, classes=10)
    with pytest.raises(IllegalArchitecture):
        read.look_up("nonsense")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no table of blocks"),
        ("key,mean\na,1\n", "no table of blocks"),
        ("resolution,key,mean\n", "no table of blocks"),
        ("resolution,key,mean\nx,a,1\n", "line 2"),
        ("resolution,key,mean\n64,a,1\n64,a\n", "line 3"),
        ("resolution,key,mean\n64,a,nan\n", "latency of nan"),
        ("resolution,key,mean\n64,a,0\n", "latency of 0"),
        ("resolution,key,mean\n64,a,1\n64,a,2\n", "line 3: a at 64 stands there twice"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        read_block_latencies(path)
    assert caught.value.hint


@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"resolution,key,mean\n{text}".encode()))
@settings(max_examples=150, deadline=None)
def test_any_file_is_a_table_or_a_clear_error(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("any") / "table.csv"
    path.write_bytes(data)
    with suppress(DataError):  # anything else is a bug
        latencies = read_block_latencies(path)
        assert all(isinstance(size, int) and isinstance(value, float) for (size, _), value in latencies.items())


@pytest.mark.skipif(not NOTE10.is_file(), reason="OFA's Note10 table (shared/data) is not here")
def test_ofas_table_of_the_note10() -> None:
    latencies = read_block_latencies(NOTE10)
    assert str(contents(latencies)).startswith("width 1.2; classes 1000; resolutions 160, 164")
    space = MobileNetV3(resolutions=(160, 192, 224))
    slots = space.sample(200, np.random.default_rng(0))
    texts = [space.architecture(row).text for row in slots]
    expected = [by_hand(text, int(text.partition("@")[2]), latencies, 1.2, 1000) for text in texts]
    milliseconds = BlockTable(latencies, space, width=1.2).of(slots)
    assert milliseconds == pytest.approx(expected)
    assert 10 < milliseconds.min() < milliseconds.max() < 100
