"""What a night is said to have found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.compare.latencies import read_latencies
from orchestrator.nightly.judge import SHIFT, compare_places, judge, suspects
from orchestrator.nightly.night import read_night
from orchestrator.nightly.result import PhoneResult
from profiling.compare import Policy
from profiling.records import Failure
from tests.orchestrator.compare.runs import LEVELS_MS, OTHER, PHONE, collection, updated
from tests.orchestrator.nightly.nights import night

POLICY = Policy()


def judged(folder: Path, *baselines: Path, models: tuple[str, ...] = tuple(LEVELS_MS)) -> tuple[PhoneResult, ...]:
    run, earlier = read_latencies(folder), [read_latencies(path) for path in baselines]
    passes = len(read_night(folder).full_passes)
    return judge(compare_places(run, earlier, POLICY), earlier, models, run.latencies, POLICY, passes)


def statuses(phone: PhoneResult) -> dict[str, str]:
    return {model.model: model.status for model in phone.models}


def test_a_slow_down_that_is_there_again_is_an_alarm(tmp_path: Path) -> None:
    base = night(tmp_path / "base", 4, seed=1)
    tonight = night(tmp_path / "tonight", 2, 3, seed=2, change={"net3.tflite": 1.05})
    (phone,) = judged(tonight, base)
    assert {name for name, status in statuses(phone).items() if status == "slower"} == {"net3.tflite"}
    (model,) = [model for model in phone.models if model.model == "net3.tflite"]
    assert model.own is not None
    assert model.own.low < 1.05 < model.own.high
    assert model.measured_again
    assert phone.status != "slower"
    assert phone.detectable is not None
    assert 1.0 < phone.detectable < 1.06


def test_a_disturbance_that_is_gone_when_measured_again_is_none(tmp_path: Path) -> None:
    base = night(tmp_path / "base", 4, seed=1)
    tonight = night(tmp_path / "tonight", 2, 1, seed=2, change={"net3.tflite": 1.2}, again_change={})
    (phone,) = judged(tonight, base)
    assert "slower" not in statuses(phone).values()


def test_what_was_not_measured_again_raises_no_alarm_but_is_suspect(tmp_path: Path) -> None:
    base = night(tmp_path / "base", 4, seed=1)
    tonight = night(tmp_path / "tonight", 2, seed=2, change={"net3.tflite": 1.2})
    (phone,) = judged(tonight, base)
    assert statuses(phone)["net3.tflite"] == "unclear"
    found = compare_places(read_latencies(tonight), [read_latencies(base)], POLICY)
    assert suspects(found, POLICY) == {("aaaa", "original, cpu, 1 thread"): {"net3.tflite"}}


def test_a_slow_phone_is_one_alarm_and_not_one_for_each_model(tmp_path: Path) -> None:
    base = night(tmp_path / "base", 4, seed=1)
    tonight = night(tmp_path / "tonight", 2, 4, seed=2, change=dict.fromkeys(LEVELS_MS, 1.1))
    (phone,) = judged(tonight, base)
    assert phone.status == "slower"
    assert phone.shift is not None
    assert phone.shift.ratio == pytest.approx(1.1, rel=0.02)
    assert "slower" not in statuses(phone).values()
    found = compare_places(read_latencies(tonight), [read_latencies(base)], POLICY)
    assert SHIFT in suspects(found, POLICY)["aaaa", "original, cpu, 1 thread"]


def test_a_phone_that_is_not_there_is_missing_and_not_failed(tmp_path: Path) -> None:
    base = night(tmp_path / "base", seed=1, phones=[PHONE, OTHER])
    here, gone = judged(night(tmp_path / "tonight", seed=2), base)
    assert "missing" not in statuses(here).values()
    assert (gone.device.name, gone.status) == ("Pixel 8 bbbb", "missing")
    assert set(statuses(gone).values()) == {"missing"}
    assert len(gone.models) == len(LEVELS_MS)


def test_another_runtime_is_compared_and_marked(tmp_path: Path) -> None:
    base = night(tmp_path / "base", seed=1)
    newer = updated(PHONE, runtime="benchmark_model 2222", epoch="build-2")
    (phone,) = judged(night(tmp_path / "tonight", seed=2, phones=[newer]), base)
    assert [change.what for change in phone.other_system] == ["build", "runtime"]
    assert phone.shift is not None


def test_any_of_several_baselines_may_be_of_another_system(tmp_path: Path) -> None:
    older = night(tmp_path / "older", seed=1, phones=[updated(PHONE, epoch="build-0")])
    base = night(tmp_path / "base", seed=2)
    (phone,) = judged(night(tmp_path / "tonight", seed=3), older, base)
    assert [(change.what, change.before) for change in phone.other_system] == [("build", "build-0")]


def test_a_model_that_fails_now_is_broken_and_one_that_always_did_is_failed(tmp_path: Path) -> None:
    crash = {"net0.tflite": Failure("model", "crash", "it crashed")}
    good, bad = night(tmp_path / "good", seed=1), night(tmp_path / "bad", seed=2, failures=crash)
    (phone,) = judged(bad, good)
    assert statuses(phone)["net0.tflite"] == "broken"
    (phone,) = judged(night(tmp_path / "bad again", seed=3, failures=crash), bad)
    assert statuses(phone)["net0.tflite"] == "failed"


def test_models_that_the_night_did_not_get_to_are_missing(tmp_path: Path) -> None:
    base = night(tmp_path / "base", seed=1)
    some = list(LEVELS_MS)[:5]
    (phone,) = judged(night(tmp_path / "tonight", seed=2, models=some), base)
    assert {name for name, status in statuses(phone).items() if status == "missing"} == set(LEVELS_MS) - set(some)


def test_without_a_baseline_everything_is_new(tmp_path: Path) -> None:
    (phone,) = judged(night(tmp_path / "tonight"))
    assert (phone.status, set(statuses(phone).values())) == ("new", {"new"})


def test_a_collection_can_be_the_baseline_and_several_nights_can(tmp_path: Path) -> None:
    collected = collection(tmp_path / "collected", seed=7)
    first = night(tmp_path / "first", seed=1)
    (phone,) = judged(night(tmp_path / "tonight", seed=2), collected, first)
    assert phone.shift is not None
    assert "new" not in statuses(phone).values()


def test_a_phone_that_missed_a_pass_is_partial(tmp_path: Path) -> None:
    base = night(tmp_path / "base", seed=1)
    tonight = night(tmp_path / "tonight", seed=2)
    shutil.rmtree(tonight / "passes" / "2")
    (phone,) = judged(tonight, base)
    assert phone.passes_missed == len(LEVELS_MS)
    assert "missing" not in statuses(phone).values()
