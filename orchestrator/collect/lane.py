"""Lane: one device's way through its jobs: which come next, on which phone, and whether the device can be asked at all.

A job that a device fails at, for reasons that say nothing of the model, is put off to the end of the lane and tried
again; a device that fails at everything, or is gone, rests, so that it neither wears out the queue nor holds up others.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from orchestrator.collect.records import CollectJob
from orchestrator.collect.store import CollectStore
from profiling.records import DeviceInfo, Failure

PASSES = 3  # attempts at a job in one run
PATIENCE = 5  # failures in a row after which a device rests
GONE = "no_device"
_PAGE = 64


class Lane:
    """The jobs of one device: a host's, or those that all phones of a model share.

    Attributes:
        device: Its name, or the phone model.
        in_flight: Jobs that were handed out, and to which phone (its serial's hash; empty: to any).
        reason: Why it rests; empty: it does not.
        shelved: Replicates that wait for a phone other than those which measured the model already.
    """

    def __init__(self, device: str, store: CollectStore, *, window: int, rest_s: float) -> None:
        """Args:
        device: Its name, or the phone model.
        store: Has the jobs.
        window: Jobs handed out at a time, for each phone.
        rest_s: How long it rests.
        """
        self.device = device
        self.in_flight: dict[int, tuple[CollectJob, str]] = {}
        self.reason = ""
        self.shelved: list[CollectJob] = []
        self._phones: frozenset[str] = frozenset()
        self._store = store
        self._window = window
        self._rest_s = rest_s
        self._rests_until_s = 0.0
        self._failures = 0
        self._queue: deque[CollectJob] = deque()
        self._cursor = -1
        self._put_off = False  # a job, in this pass
        self._attempts: Counter[int] = Counter()
        self._given: Counter[str] = Counter()

    def next(self, devices: Sequence[DeviceInfo]) -> tuple[CollectJob, str] | None:
        """Hand out a job, if there is one to be had now.

        Args:
            devices: All that take jobs at the moment.

        Returns:
            The job and the name of the device or model to give it to; None: nothing, for now.
        """
        phones = [info for info in devices if self.device in (info.name, info.model)]
        if self.reason or len(self.in_flight) >= self._window * max(len(phones), 1):
            return None
        self._unshelve(frozenset(info.serial_hash for info in phones))
        while (job := self._take()) is not None:
            if not job.overlap:
                self.in_flight[job.id] = job, ""
                return job, self.device
            if (phone := self._another_phone(job, phones)) is not None:
                self._given[phone.serial_hash] += 1
                self.in_flight[job.id] = job, phone.serial_hash
                return job, phone.name
            self.shelved.append(job)
        return None

    def arrived(self, job: CollectJob) -> None:
        """A job has a result."""
        del self.in_flight[job.id]
        self._failures = 0

    def failed(self, job: CollectJob, failure: Failure, now_s: float) -> bool:
        """The device failed at a job.

        Returns:
            Whether it rests from now on.
        """
        _, phone = self.in_flight.pop(job.id)
        self._attempts[job.id] += 1
        self._put_off = True
        self._failures += 1
        gone = failure.code == GONE and not phone  # where one phone was wanted, only that one is gone
        if self.reason or (not gone and self._failures < PATIENCE):
            return False
        self.reason, self._rests_until_s = failure.detail, now_s + self._rest_s
        return True

    def wake(self, devices: Sequence[DeviceInfo], now_s: float) -> bool:
        """Let a device go on that has rested and is there. Returns whether it does."""
        there = any(self.device in (info.name, info.model) for info in devices)
        if not self.reason or self.in_flight or not there or now_s < self._rests_until_s:
            return False
        self.reason = ""
        self._failures = PATIENCE - 1  # the next failure proves that it is not well
        return True

    def _take(self) -> CollectJob | None:
        """The next job in this pass, or in another one, once nothing is under way that it might be waiting for."""
        while True:
            while self._queue:
                job = self._queue.popleft()
                if job.id not in self.in_flight and self._attempts[job.id] < PASSES:
                    return job
            page = self._store.waiting(self.device, self._cursor, _PAGE)
            if page:
                self._cursor = page[-1].id
                self._queue.extend(page)
            elif self._put_off and not self.in_flight:
                self._cursor, self._put_off = -1, False
                self.shelved.clear()  # they come again, too
            else:
                return None

    def _unshelve(self, phones: frozenset[str]) -> None:
        """Other phones are there than before: replicates may find theirs."""
        if phones != self._phones:
            self._phones = phones
            self._queue.extendleft(reversed(self.shelved))
            self.shelved.clear()

    def _another_phone(self, job: CollectJob, phones: Sequence[DeviceInfo]) -> DeviceInfo | None:
        """The phone for a replicate: one that has none of the others, and has had the fewest so far."""
        siblings = {
            phone
            for other, phone in self.in_flight.values()
            if (other.model.id, other.setting) == (job.model.id, job.setting)
        }
        taken = siblings | self._store.phones_of_overlaps(job)
        free = [info for info in phones if info.serial_hash not in taken]
        return min(free, key=lambda info: self._given[info.serial_hash], default=None)
