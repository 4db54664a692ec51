"""A lab of virtual phones behind the real adb server, shared by all tests of one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from device_agent.adb import AdbPhone
from device_agent.adb_errors import DeviceUnresponsive
from device_agent.errors import CommandTimeout
from device_agent.virtual import PROFILES, VirtualLab, VirtualPhone

TEMPORARY = "/data/local/tmp"
LONG_S = 120.0  # only a hang takes so long, however busy the computer is


@dataclass(frozen=True)
class Pair:
    """A virtual phone, and how our own code sees it."""

    lab: VirtualLab
    virtual: VirtualPhone
    adb: AdbPhone

    @property
    def left_running(self) -> list[str]:
        """Command lines of what runs on the phone."""
        return [" ".join(process.words) for process in self.virtual.processes.listing()]


@pytest.fixture(scope="session")
def lab() -> Iterator[VirtualLab]:
    """A phone of today, another one, and one with Android 6."""
    with VirtualLab(3, [PROFILES["virtual8"], PROFILES["virtual6"], PROFILES["virtual1"]]) as lab:
        yield lab


def _pair(lab: VirtualLab, number: int) -> Iterator[Pair]:
    virtual = lab.phones[number]
    yield Pair(lab, virtual, lab.client.phone(virtual.serial))
    virtual.processes.kill_all()
    lab.heal(virtual)
    for name in virtual.files.names(TEMPORARY):
        virtual.files.remove(f"{TEMPORARY}/{name}")


@pytest.fixture
def phone(lab: VirtualLab) -> Iterator[Pair]:
    """A phone of today."""
    yield from _pair(lab, 0)


@pytest.fixture
def old_phone(lab: VirtualLab) -> Iterator[Pair]:
    """A phone with Android 6: no exit codes, one merged stream."""
    yield from _pair(lab, 2)


@pytest.fixture(params=[0, 2], ids=["android14", "android6"])
def any_phone(lab: VirtualLab, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Both of them."""
    yield from _pair(lab, request.param)


def until(condition: Callable[[], bool], timeout_s: float = LONG_S) -> None:
    """Wait for something that nobody announces."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        threading.Event().wait(0.01)


def overdue(pair: Pair, attempt: Callable[[float], object]) -> CommandTimeout:
    """What an attempt that would take minutes raises when it has only moments.

    A busy computer's phone may not even get to say the number of the process that is to be killed then; such an attempt
    shows nothing, and is made again with more time.
    """
    for timeout_s in (0.3, 1.0, 4.0, 16.0):
        started = time.monotonic()
        with pytest.raises((CommandTimeout, DeviceUnresponsive)) as caught:
            attempt(timeout_s)
        assert time.monotonic() - started < LONG_S
        if isinstance(caught.value, CommandTimeout):
            return caught.value
        pair.virtual.processes.kill_all()
    raise caught.value


@contextmanager
def once_running(pair: Pair, words: str, then: Callable[[], object]) -> Iterator[None]:
    """Do something to a phone the moment that a command with these words runs there."""

    def wait_and_do() -> None:
        until(lambda: any(words in command for command in pair.left_running))
        then()

    thread = threading.Thread(target=wait_and_do)
    thread.start()
    try:
        yield
    finally:
        thread.join()
