"""Leases: one holder at a time, whatever happens to it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from device_agent.errors import InfrastructureError
from device_agent.lease import LeaseBook, LeaseHeld, LeaseLost

WAIT_S = 120.0
processes = multiprocessing.get_context("spawn")


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def books(tmp_path: Path, clock: Clock) -> Iterator[tuple[LeaseBook, LeaseBook]]:
    with LeaseBook(tmp_path, ttl_s=30, clock=clock) as ours, LeaseBook(tmp_path, ttl_s=30, clock=clock) as theirs:
        yield ours, theirs


def test_a_device_has_one_holder(books: tuple[LeaseBook, LeaseBook]) -> None:
    ours, theirs = books
    lease = ours.acquire("A")
    ours.check(lease)
    with pytest.raises(LeaseHeld, match=f"in use by process {os.getpid()}") as caught:
        theirs.acquire("A")
    assert caught.value.device == "A"
    with pytest.raises(LeaseHeld):
        ours.acquire("A")
    assert theirs.acquire("B").device == "B", "other devices are free"
    assert [held.lease.device for held in ours.held()] == ["A", "B"]
    ours.release(lease)
    assert theirs.acquire("A").token > lease.token
    with pytest.raises(LeaseLost):
        ours.check(lease)


def test_releasing_late_takes_nothing_away(books: tuple[LeaseBook, LeaseBook]) -> None:
    ours, theirs = books
    old = ours.acquire("A")
    ours.release(old)
    new = theirs.acquire("A")
    ours.release(old)
    theirs.check(new)


def test_who_stands_still_is_fenced_off(books: tuple[LeaseBook, LeaseBook], clock: Clock) -> None:
    ours, theirs = books
    old = ours.acquire("A")
    clock.now_s += 29
    with pytest.raises(LeaseHeld):
        theirs.acquire("A")
    clock.now_s += 2
    new = theirs.acquire("A")
    assert new.token == old.token + 1
    ours.renew()
    theirs.check(new)
    with pytest.raises(LeaseLost, match=f"lease {old.token} is over"):
        ours.check(old)


def test_renewing_extends_and_sleeping_alone_loses_nothing(books: tuple[LeaseBook, LeaseBook], clock: Clock) -> None:
    ours, theirs = books
    lease = ours.acquire("A")
    clock.now_s += 20
    ours.renew()
    clock.now_s += 20
    with pytest.raises(LeaseHeld):
        theirs.acquire("A")
    clock.now_s += 100
    ours.check(lease)


def test_the_heart_beats_by_itself(tmp_path: Path) -> None:
    beats = threading.Semaphore(0)

    def clock() -> float:
        if threading.current_thread().name == "lease-heartbeat":
            beats.release()
        return 0.0

    with LeaseBook(tmp_path, ttl_s=0.01, clock=clock) as book:
        book.acquire("A")
        assert all(beats.acquire(timeout=WAIT_S) for _ in range(3))


def test_tokens_grow_over_programs(tmp_path: Path) -> None:
    tokens = []
    for _ in range(3):
        with LeaseBook(tmp_path) as book:
            tokens.append(book.acquire("A").token)
    assert tokens == [1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["device-A"], "closed books leave no files"


def hold(folder: str, ready: Connection) -> None:
    """Hold a phone until killed."""
    lease = LeaseBook(Path(folder), ttl_s=3600).acquire("A")
    ready.send(lease.token)
    signal.pause()


def test_a_killed_holder_loses_at_once_and_a_stopped_one_in_time(tmp_path: Path) -> None:
    receive, send = processes.Pipe(duplex=False)
    holder = processes.Process(target=hold, args=(str(tmp_path), send))
    holder.start()
    assert receive.poll(WAIT_S)
    token = receive.recv()
    try:
        with LeaseBook(tmp_path) as book:
            with pytest.raises(LeaseHeld, match=f"process {holder.pid} on"):
                book.acquire("A")
            os.kill(holder.pid or 0, signal.SIGKILL)
            holder.join(WAIT_S)
            assert book.held() == ()
            assert book.acquire("A").token == token + 1
            assert len(list(tmp_path.glob("*.alive"))) == 1, "the dead one's is swept away"
    finally:
        holder.kill()
        holder.join()


def compete(folder: str, rounds: int, start: threading.Event, results: Connection) -> None:
    """Get the phone as often as possible; say which tokens."""
    start.wait(WAIT_S)
    tokens: list[int] = []
    with LeaseBook(Path(folder)) as book:
        while len(tokens) < rounds:
            try:
                lease = book.acquire("A")
            except LeaseHeld:
                continue
            book.check(lease)
            tokens.append(lease.token)
            book.release(lease)
    results.send(tokens)


def test_competing_processes_never_share_a_token(tmp_path: Path) -> None:
    start = processes.Event()
    pipes = [processes.Pipe(duplex=False) for _ in range(3)]
    workers = [processes.Process(target=compete, args=(str(tmp_path), 20, start, send)) for _, send in pipes]
    for worker in workers:
        worker.start()
    start.set()
    tokens: list[int] = []
    for receive, _ in pipes:
        assert receive.poll(WAIT_S)
        tokens += receive.recv()
    for worker in workers:
        worker.join(WAIT_S)
    assert sorted(tokens) == list(range(1, 61))


def test_tokens_are_larger_than_any_that_a_journal_has_seen(tmp_path: Path) -> None:
    with LeaseBook(tmp_path) as book:
        lease = book.acquire("A", above=41)
        assert lease.token == 42
        book.release(lease)
        assert book.acquire("A", above=41).token == 43


def test_who_was_late_does_not_get_a_number_that_is_free_again(tmp_path: Path) -> None:
    """Old leases are removed; one who has looked before that must not take their place."""
    with LeaseBook(tmp_path) as book:
        for _ in range(6):
            book.release(book.acquire("A"))
        kept = sorted(path.name for path in (tmp_path / "device-A").iterdir() if path.name.isdigit())
        assert kept == ["4", "5", "6"]
        assert book._add(tmp_path / "device-A", 1), "the number is free"
        assert book.acquire("A").token == 7


@pytest.mark.parametrize("serial", ["127.0.0.1:5555", "..", "a/b", "ü *", "emulator-5554"])
def test_serials_are_only_names(tmp_path: Path, serial: str) -> None:
    with LeaseBook(tmp_path / "leases") as book:
        lease = book.acquire(serial)
        assert [held.lease for held in book.held()] == [lease]
    assert [path.name for path in tmp_path.iterdir()] == ["leases"]
    assert len(list((tmp_path / "leases").iterdir())) == 1


def stop_at_random(folder: str, ready: Connection) -> None:
    """Take and give back as fast as possible, until killed."""
    book = LeaseBook(Path(folder), ttl_s=0.05)
    ready.send(None)
    while True:
        try:
            book.release(book.acquire("A"))
        except LeaseHeld:
            continue


def test_a_program_that_is_stopped_at_any_moment_holds_up_nobody(tmp_path: Path) -> None:
    receive, send = processes.Pipe(duplex=False)
    other = processes.Process(target=stop_at_random, args=(str(tmp_path), send))
    other.start()
    assert receive.poll(WAIT_S)
    try:
        with LeaseBook(tmp_path, ttl_s=0.05) as book:
            for _ in range(20):
                os.kill(other.pid or 0, signal.SIGSTOP)
                lease = None
                while lease is None:
                    try:
                        lease = book.acquire("A")
                    except LeaseHeld:
                        continue
                book.check(lease)
                book.release(lease)
                os.kill(other.pid or 0, signal.SIGCONT)
    finally:
        other.kill()
        other.join()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InfrastructureError, match="cannot be kept") as caught:
        LeaseBook(tmp_path / "file")
    assert caught.value.code == "lease_book_broken"
