"""No training while a block runs, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from device_agent.gate import GateClosed, HostGate
from tests.device_agent.conftest import LONG_S


def start(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def finish(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(LONG_S)
        assert not thread.is_alive(), "deadlock"


def test_blocks_exclude_training_and_each_other() -> None:
    """Many trainers and measurers for real: an interval of measuring never overlaps a batch or another block."""
    gate = HostGate()
    busy: set[str] = set()
    overlaps: list[set[str]] = []
    counts = {"blocks": 0, "batches": 0}
    guard = threading.Lock()

    def enter(name: str, kind: str) -> None:
        with guard:
            busy.add(name)
            counts[kind] += 1
            if any(other.startswith("measure") for other in busy) and len(busy) > 1:
                overlaps.append(set(busy))

    def leave(name: str) -> None:
        with guard:
            busy.discard(name)

    def train(name: str) -> None:
        for _ in range(5):
            with gate.training():
                for _ in range(20):
                    gate.checkpoint()
                    enter(name, "batches")
                    time.sleep(0.0005)
                    leave(name)

    def measure(name: str) -> None:
        for _ in range(40):
            with gate.measuring():
                enter(name, "blocks")
                time.sleep(0.0005)
                leave(name)

    finish(
        *(start(lambda i=i: train(f"train{i}")) for i in range(3)),
        *(start(lambda i=i: measure(f"measure{i}")) for i in range(2)),
    )
    assert overlaps == []
    assert counts == {"blocks": 80, "batches": 300}


def test_measuring_waits_until_the_trainer_has_parked() -> None:
    gate = HostGate()
    training, measuring, measured = threading.Event(), threading.Event(), threading.Event()

    def train() -> None:
        with gate.training():
            training.set()
            while not measured.is_set():
                assert not measuring.is_set(), "a batch ran while a block did"
                gate.checkpoint()

    def measure() -> None:
        with gate.measuring():
            measuring.set()
            time.sleep(0.02)
            measuring.clear()
        measured.set()

    trainer = start(train)
    assert training.wait(LONG_S)
    finish(start(measure), trainer)


def test_training_does_not_start_while_a_block_runs() -> None:
    gate = HostGate()
    started = threading.Event()

    def train() -> None:
        with gate.training():
            started.set()

    with gate.measuring():
        trainer = start(train)
        assert not started.wait(0.05)
    finish(trainer)
    assert started.is_set()


def test_a_trainer_that_fails_or_leaves_blocks_nobody() -> None:
    gate = HostGate()
    with pytest.raises(ZeroDivisionError), gate.training():
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), gate.measuring():
        raise ZeroDivisionError
    with gate.measuring():
        pass
    with gate.training():
        gate.checkpoint()


def test_checkpoints_outside_of_training_wait_but_are_not_waited_for() -> None:
    gate = HostGate()
    passed = threading.Event()
    with gate.measuring():
        visitor = start(lambda: (gate.checkpoint(), passed.set()))
        assert not passed.wait(0.05)
    finish(visitor)
    with gate.measuring():
        pass


def test_a_thread_does_not_wait_for_itself() -> None:
    gate = HostGate()

    def nested() -> None:
        with gate.training(), gate.training():
            gate.checkpoint()
            with gate.measuring():
                pass
            gate.checkpoint()
        with gate.measuring():
            pass

    finish(start(nested))


def test_close_wakes_everybody() -> None:
    gate = HostGate()
    in_training, stop = threading.Event(), threading.Event()
    outcomes: list[str] = []

    def train() -> None:
        with gate.training():
            in_training.set()
            stop.wait(LONG_S)

    def measure() -> None:
        try:
            with gate.measuring():
                outcomes.append("measured")
        except GateClosed:
            outcomes.append("closed")

    trainer = start(train)
    assert in_training.wait(LONG_S)
    waiting = start(measure)
    gate.close()
    gate.close()
    finish(waiting)
    assert outcomes == ["closed"]
    stop.set()
    finish(trainer)
    gate.checkpoint()
    with gate.training():
        pass
    with pytest.raises(GateClosed), gate.measuring():
        pass


def test_close_frees_parked_trainers_while_a_block_runs() -> None:
    gate = HostGate()
    with gate.measuring():
        parked = start(gate.checkpoint)
        gate.close()
        finish(parked)
