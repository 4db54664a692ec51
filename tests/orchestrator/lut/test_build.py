"""Building block tables: what is found on phones whose truth is known, drift, interruption, faults."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_agent.errors import InfrastructureError, ModelRefused, WrongRequest
from device_agent.journal import Journal
from device_agent.local import LocalBackend
from orchestrator.errors import DataError, DataPartial, NagError
from orchestrator.lut.build import DEFAULT_PLAN, BuildRequest, build_table
from orchestrator.lut.items import EMPTY, Target, part_items, spread_architectures
from orchestrator.lut.ledger import DRIFTED, REFERENCE, Ledger
from orchestrator.lut.passes import Passes, Progress
from orchestrator.lut.result import LutResult
from orchestrator.predict.block_table import OFFSET, BlockTable, part_keys
from profiling.network import Network
from profiling.plan import MeasurementPlan
from tests.orchestrator.lut.phones import TARGET, TruePhone

ONCE = MeasurementPlan(min_blocks=1, max_blocks=1)
QUICK = MeasurementPlan(min_blocks=2, max_blocks=8, target_half_width=0.1)
KEYS = part_keys(TARGET.width, TARGET.resolutions[0], TARGET.classes)


@pytest.fixture(autouse=True)
def _small_artifacts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The phone knows what it runs by its label, so the bytes may be few."""
    monkeypatch.setattr("orchestrator.lut.items.random_weights", lambda network: network)
    monkeypatch.setattr("orchestrator.lut.items.emit", lambda network, weights: _name(network))


def _name(network: Network) -> bytes:
    return network.name.encode()


def build(phone: TruePhone, folder: Path, request: BuildRequest) -> LutResult:
    result = build_table(phone, request, folder / "journal.sqlite")
    assert result is not None
    return result


def test_the_overhead_is_taken_off_and_given_back_once(tmp_path: Path) -> None:
    phone = TruePhone(overhead_ms=0.05)
    result = build(phone, tmp_path, BuildRequest(TARGET, validate=0, plan=ONCE))
    assert result.latencies[32, OFFSET] == pytest.approx(0.05)
    for at, value in phone.latencies.items():
        assert result.latencies[at] == pytest.approx(value)
    assert not result.agreements
    assert Counter(phone.ran) == {**dict.fromkeys([EMPTY, *(f"32/{key}" for key in KEYS)], 1), REFERENCE: 11}


def test_calibration_finds_what_networks_take_more(tmp_path: Path) -> None:
    phone = TruePhone(overhead_ms=0.05, scale=1.3, extra_ms=0.2, noise=0.003)
    result = build(phone, tmp_path, BuildRequest(TARGET, validate=16, plan=QUICK))
    assert result.calibration.scale == pytest.approx(1.3, rel=0.05)
    assert result.calibration.offset_ms == pytest.approx(0.25, abs=0.05)
    plain, calibrated = result.agreements["sum_of_parts"], result.agreements["calibrated"]
    assert calibrated.networks == 8
    assert calibrated.within_5_percent == 100
    assert abs(calibrated.bias_percent) < 1 < abs(plain.bias_percent)


def test_the_files_are_a_table_with_its_story(tmp_path: Path) -> None:
    phone = TruePhone(overhead_ms=0.05, scale=1.1)
    result = build(phone, tmp_path, BuildRequest(TARGET, validate=6, plan=ONCE))
    table, about = result.write(tmp_path / "phone.csv")
    read = BlockTable.read(table, TARGET.space, width=TARGET.width, resolution=32, classes=10)
    for architecture in spread_architectures(TARGET, 5, seed=9):
        assert read.look_up(architecture) == pytest.approx(phone.true_ms(architecture), rel=1e-6)
    assert table.read_text().startswith("resolution,key,count,mean,std\n32,Conv-input:32x32x3")
    assert '"overhead_ms": 0.05' in about.read_text()
    assert not list(tmp_path.glob("*.part"))


def test_several_resolutions_share_a_calibration(tmp_path: Path) -> None:
    target = Target(0.35, (32, 64), 10)
    phone = TruePhone(target, overhead_ms=0.02)
    result = build(phone, tmp_path, BuildRequest(target, validate=8, plan=ONCE))
    assert {name.partition("@")[2] for name in result.networks} == {"32", "64"}
    assert result.agreements["calibrated"].within_5_percent == 100
    assert {size for size, key in result.latencies if key == OFFSET} == {32, 64}


def test_the_stop_rule_spends_blocks_where_they_are_needed(tmp_path: Path) -> None:
    plan = replace(DEFAULT_PLAN, min_blocks=2, max_blocks=12)
    items = part_items(TARGET)[:12]
    taken = {}
    for noise in (0.05, 0.001):
        phone = TruePhone(noise=noise)
        with Journal(tmp_path / f"{noise}.sqlite") as journal:
            ledger, backend = Ledger(journal, "test"), LocalBackend([phone], accept_unusable=True)
            passes = Passes(
                backend, phone.info, plan, ledger, seed=0, progress=lambda _: None, stop=lambda: False
            )  # fmt: skip
            assert passes.run(items)
            backend.close()
        taken[noise] = [len(ledger.blocks(item.name)) for item in items]
    assert set(taken[0.001]) == {3}
    assert max(taken[0.05]) == 12
    assert min(taken[0.05]) < 12


def test_blocks_before_a_reference_out_of_line_are_measured_again(tmp_path: Path) -> None:
    phone = TruePhone(noise=0.001, pace=lambda count: 1.5 if 130 <= count < 141 else 1.0)
    result = build(phone, tmp_path, BuildRequest(TARGET, validate=0, plan=QUICK))
    assert result.drift.shifted >= 1
    spoilt = [block for part in result.parts.values() for block in part.blocks if block.reason == DRIFTED]
    assert len(spoilt) >= 10
    for at, value in phone.latencies.items():
        assert result.parts[at].latency_ms == pytest.approx(value, rel=0.01)


@pytest.mark.parametrize(("begin", "end", "level"), [(30, 10_000, 1.5), (205, 10_000, 1.5), (100, 150, 1.0)])
def test_a_table_is_about_the_device_at_one_level(tmp_path: Path, begin: int, end: int, level: float) -> None:
    phone = TruePhone(noise=0.001, pace=lambda count: 1.5 if begin <= count < end else 1.0)
    result = build(phone, tmp_path, BuildRequest(TARGET, validate=0, plan=QUICK))
    assert result.drift.levels_ms[:2] == pytest.approx((5.0, 7.5), rel=0.01)
    for at, value in phone.latencies.items():
        assert result.parts[at].latency_ms == pytest.approx(level * value, rel=0.01)


def test_a_stopped_build_goes_on_where_it_was(tmp_path: Path) -> None:
    request = BuildRequest(TARGET, validate=6, plan=QUICK)
    journal = tmp_path / "journal.sqlite"
    first, second = TruePhone(noise=0.01), TruePhone(noise=0.01)
    assert build_table(first, request, journal, stop=lambda: len(first.ran) >= 123) is None
    seen: list[Progress] = []
    result = build_table(second, request, journal, progress=seen.append)
    assert result is not None
    assert seen[0].blocks == 124
    assert seen[-1].done == seen[-1].items == len(KEYS) + 7
    measured = [block for part in result.parts.values() for block in part.blocks]
    counted = [name for name in first.ran + second.ran if name in {f"32/{key}" for key in KEYS}]
    assert len(measured) == len(counted)


def test_a_finished_build_measures_only_what_is_new(tmp_path: Path) -> None:
    build(TruePhone(), tmp_path, BuildRequest(TARGET, validate=0, plan=ONCE))
    again = TruePhone()
    build(again, tmp_path, BuildRequest(TARGET, validate=0, plan=ONCE))
    assert not again.ran
    build(again, tmp_path, BuildRequest(TARGET, validate=6, plan=ONCE))
    assert set(again.ran) == {REFERENCE, *spread_architectures(TARGET, 6, seed=0)}


@pytest.mark.parametrize("other", ["epoch", "threads"])
def test_a_journal_of_another_build_is_refused(tmp_path: Path, other: str) -> None:
    build(TruePhone(), tmp_path, BuildRequest(TARGET, validate=0, plan=ONCE))
    phone = TruePhone(epoch="2") if other == "epoch" else TruePhone()
    plan = replace(ONCE, threads=2) if other == "threads" else ONCE
    with pytest.raises(DataError, match="begun otherwise or on another device"):
        build(phone, tmp_path, BuildRequest(TARGET, validate=0, plan=plan))
    assert not phone.ran


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.orchestrator.lut.phones import TARGET, TruePhone
from orchestrator.lut.build import BuildRequest, build_table

def pace(count):
    if count == 60:
        os.kill(os.getpid(), signal.SIGKILL)
    return 1.0

build_table(TruePhone(pace=pace), BuildRequest(TARGET, validate=0), Path(sys.argv[1]))
"""


def test_after_kill_9_every_block_is_there(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", KILLED, str(tmp_path / "journal.sqlite")]
    done = subprocess.run(command, cwd=root, capture_output=True, timeout=280, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    seen: list[Progress] = []
    request = BuildRequest(TARGET, validate=0, plan=ONCE)
    assert build_table(TruePhone(), request, tmp_path / "journal.sqlite", progress=seen.append) is not None
    assert seen[0].blocks == 61


def raises(error: Exception, *, times: int) -> TruePhone:
    """A phone that fails so often, from its 30th block on."""
    left = [error] * times

    def pace(count: int) -> float:
        if count >= 30 and left:
            raise left.pop()
        return 1.0

    return TruePhone(pace=pace)


def test_faults_of_the_moment_are_retried(tmp_path: Path) -> None:
    phone = raises(InfrastructureError("the cable", device="phone"), times=2)
    build(phone, tmp_path, BuildRequest(TARGET, validate=0, plan=ONCE))


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (InfrastructureError("the cable", device="phone"), DataPartial, 3),
        (ModelRefused("no such operator", device="phone"), DataPartial, 3),
        (WrongRequest("no delegate 'npu' here", device="phone"), NagError, 2),
    ],
)
def test_what_cannot_be_measured_ends_the_build_and_keeps_the_rest(
    tmp_path: Path, error: Exception, kind: type[NagError], code: int
) -> None:
    phone = raises(error, times=100)
    with pytest.raises(kind) as caught:
        build(phone, tmp_path, BuildRequest(TARGET, validate=0, plan=ONCE))
    assert caught.value.exit_code == code
    mended = TruePhone()
    build(mended, tmp_path, BuildRequest(TARGET, validate=0, plan=ONCE))
    assert len(set(mended.ran) & set(phone.ran)) <= 1  # the reference


def test_items_without_any_usable_block_are_named(tmp_path: Path) -> None:
    phone = TruePhone(pace=lambda count: 1.0 if count < 40 else 10.0 ** (count % 7))
    with pytest.raises(DataPartial, match=r"have no usable block.*drifted \d+ times"):
        build(phone, tmp_path, BuildRequest(TARGET, validate=0, plan=ONCE))


def test_architectures_are_spread_over_the_sizes_that_there_are() -> None:
    target = Target(1.0, (128,), 1000)
    chosen = spread_architectures(target, 12, seed=3)
    assert len(set(chosen)) == 12
    assert chosen == spread_architectures(target, 12, seed=3)
    assert chosen != spread_architectures(target, 12, seed=4)
    work = np.array([target.network(text).multiply_adds for text in chosen])
    steps = np.diff(np.log(work))
    assert work[-1] > 2.5 * work[0]
    assert (steps > 0).all()
    assert steps.max() < 2 * steps.mean()
