"""Output of the runner as the phone's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.benchmark_model import parse
from device_agent.virtual.rescale import OutputFilter, fixed_output, scaled
from profiling.plan import MeasurementPlan
from profiling.records import Block

COUNT = "INFO: count=50 first=100 curr=110 min=90 max=200 avg=105.5 std=12 p5=91 median=100 p95=150"


@pytest.mark.parametrize(
    ("line", "twice"),
    [
        (COUNT, "INFO: count=50 first=200 curr=220 min=180 max=400 avg=211 std=24 p5=182 median=200 p95=300"),
        ("count=7 curr=12(all same)", "count=7 curr=24(all same)"),
        ("count=9 first=1 curr=1 min=1 max=9 avg=1.2e+06 std=0",
         "count=9 first=2 curr=2 min=2 max=18 avg=2.4e+06 std=0"),
        ("INFO: Inference timings in us: Init: 855, First inference: 49, Warmup (avg): 34.5, Inference (avg): 3.25",
         "INFO: Inference timings in us: Init: 1710, First inference: 98, Warmup (avg): 69, Inference (avg): 6.5"),
        ("INFO: Loaded model min=3.tflite", "INFO: Loaded model min=3.tflite"),
        ("", ""),
    ],
)  # fmt: skip
def test_only_times_are_scaled(line: str, twice: str) -> None:
    assert scaled(line, 2.0) == twice


@given(st.text(), st.floats(0.1, 10))
def test_any_line_can_be_scaled(line: str, factor: float) -> None:
    assert isinstance(scaled(line, factor), str)


def test_paths_are_the_phones() -> None:
    output = OutputFilter(1.0, "/tmp/lab/phone0")
    assert output.line(b"INFO: Loaded model /tmp/lab/phone0/data/m.tflite\n") == b"INFO: Loaded model /data/m.tflite\n"


def test_coverage_takes_the_place_of_the_runners_own() -> None:
    output = OutputFilter(1.0, "/nowhere", coverage="INFO: covered")
    own = b"INFO: Explicitly applied XNNPACK delegate, and the model graph will be completely executed by the delegate."
    assert output.line(own) == b""
    assert output.line(b"INFO: Initialized session in 1ms.") == b"INFO: covered\nINFO: Initialized session in 1ms.\n"


def test_damage() -> None:
    lines = [b"INFO: count=1 curr=5\n", COUNT.encode(), b"INFO: Inference timings in us: Init: 1\n"]
    truncated = OutputFilter(1.0, "/nowhere", damage="truncated")
    assert b"".join(map(truncated.line, lines)) == b"INFO: count=1 curr=5\n" + COUNT[: len(COUNT) // 2].encode()
    garbage = OutputFilter(1.0, "/nowhere", damage="garbage")
    assert b"".join(map(garbage.line, lines)) == b""
    assert garbage.end()


def test_a_run_of_fixed_time_reads_like_a_real_one() -> None:
    block = parse(fixed_output("/m.tflite", 12.5, 20), "", 0, MeasurementPlan())
    assert isinstance(block, Block)
    assert (block.value_ms, block.runs) == (12.5, 20)
