"""Errors by class: what is a result, what is tried again, and who is to blame."""

from __future__ import annotations

import pytest

from device_agent.adb_errors import AdbServerLost, DeviceLost, DeviceStorageFull, DeviceUnauthorized, TransferStalled
from device_agent.errors import (
    CommandTimeout,
    DeviceError,
    InfrastructureError,
    ModelCrashed,
    ModelOutOfMemory,
    ModelRefused,
    RunnerBroken,
    TableMiss,
    WrongRequest,
)
from device_agent.lease import LeaseLost
from device_agent.retry import History, Judgement, RetryPolicy, judge
from profiling.records import Failure

POLICY = RetryPolicy()


def until_the_end(error: DeviceError, history: History | None = None) -> list[Judgement]:
    """The same error again and again."""
    judgements = [judge(error, history or History(), POLICY)]
    while judgements[-1].failure is None:
        judgements.append(judge(error, judgements[-1].history, POLICY))
    return judgements


@pytest.mark.parametrize(
    ("error", "attempts", "blame", "kind"),
    [
        (ModelRefused("no such operator", code="unsupported_operator"), 1, "nobody", "model"),
        (ModelRefused("corrupt"), 1, "nobody", "model"),
        (TableMiss("not there"), 1, "nobody", "model"),
        (WrongRequest("no such CPU"), 1, "nobody", "user"),
        (ModelCrashed("segfault"), 2, "undecided", "model"),
        (ModelOutOfMemory("killed"), 2, "undecided", "model"),
        (ModelRefused("the CPU did it", code="delegate_fallback"), 2, "undecided", "model"),
        (CommandTimeout("too slow"), 2, "undecided", "timeout"),
        (InfrastructureError("something"), 5, "device", "infrastructure"),
        (RunnerBroken("nonsense"), 5, "device", "infrastructure"),
        (DeviceLost("unplugged"), 5, "device", "infrastructure"),
        (DeviceStorageFull("no room"), 5, "device", "infrastructure"),
        (TransferStalled("slow"), 5, "device", "infrastructure"),
        (AdbServerLost("gone"), 100, "nobody", "infrastructure"),
        (DeviceUnauthorized("no key"), 100, "nobody", "infrastructure"),
        (LeaseLost("stale"), 100, "nobody", "infrastructure"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_attempts_blame_and_kind(error: DeviceError, attempts: int, blame: str, kind: str) -> None:
    judgements = until_the_end(error)
    assert len(judgements) == attempts
    assert {judgement.blame for judgement in judgements} == {blame}
    assert judgements[-1].failure == Failure(error.kind, error.code, error.message)
    assert error.kind == kind


@pytest.mark.parametrize("error", [ModelCrashed("segfault"), ModelOutOfMemory("killed")], ids=["crash", "memory"])
def test_a_model_that_has_worked_is_never_blamed_for_a_crash(error: DeviceError) -> None:
    judgements = until_the_end(error, History(worked=True))
    assert len(judgements) == POLICY.attempts
    end = judgements[-1].failure
    assert end is not None
    assert (end.kind, end.code) == ("infrastructure", error.code)
    assert {judgement.blame for judgement in judgements} == {"device"}


def test_kinds_of_errors_are_counted_apart() -> None:
    history = History()
    for error in (DeviceLost("x"), CommandTimeout("x"), ModelCrashed("x"), AdbServerLost("x"), DeviceLost("x")):
        judgement = judge(error, history, POLICY)
        assert judgement.failure is None
        history = judgement.history
    assert history == History(faults=2, timeouts=1, doubts=1, interruptions=1)


def test_waits_double_up_to_a_limit() -> None:
    waits = [judgement.delay_s for judgement in until_the_end(AdbServerLost("gone"))]
    assert waits[:4] == [1, 2, 4, 8]
    assert max(waits) == POLICY.longest_delay_s
