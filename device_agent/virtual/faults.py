"""What can go wrong with a virtual phone, on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

FaultKind = Literal[
    "unplug",  # the link breaks; the phone is gone until `replug`
    "offline",  # the link breaks, and what connects again gets no answer: the server shows `offline`
    "unauthorized",  # the phone forgets the computer's key
    "hang",  # streams are accepted, nothing is answered any more
    "reboot",  # the link breaks, processes die, uptime starts again; `/data` and settings stay
    "storage_full",  # writing fails with ENOSPC, and `df` says so
    "killed",  # a run of the benchmark dies of SIGKILL: exit code 137
    "segfault",  # a run dies of SIGSEGV: exit code 139
    "garbage",  # a run prints bytes that mean nothing, and exits with 0
    "truncated",  # a run's output stops half-way through, and it exits with 0
    "fallback",  # a delegate takes nothing; a run says so in one line and reports the CPU's latency, exit code 0
    "throttle",  # the phone is hot: thermal status severe, frequencies down, latencies up
    "slow_link",  # bytes arrive at `rate` bytes per second
    "clock_jump",  # the phone's clock moves by `rate` seconds
]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
RUN_FAULTS = frozenset({"killed", "segfault", "garbage", "truncated", "fallback"})


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: What happens.
        on: When: `now`, when a `push` has received `after` bytes, or `after` seconds into a `run` of the benchmark.
            The kinds that concern a run wait for one whatever this says.
        after: Bytes or seconds, see `on`.
        times: How many runs are hit by the kinds that concern a run.
        rate: See the kinds.
    """

    kind: FaultKind
    on: Literal["now", "push", "run"] = "now"
    after: float = 0.0
    times: int = 1
    rate: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise ValueError(f"no fault {self.kind!r}; there are {', '.join(FAULT_KINDS)}")
        if self.on not in ("now", "push", "run"):
            raise ValueError(f"a fault comes 'now', on a 'push' or on a 'run', not {self.on!r}")


class FaultBox:
    """The faults that wait for their moment; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Let it wait."""
        with self._lock:
            self._waiting.extend([fault] * (fault.times if fault.kind in RUN_FAULTS else 1))

    def put_back(self, fault: Fault) -> None:
        """It was taken, but its moment did not come."""
        with self._lock:
            self._waiting.insert(0, fault)

    def take_for_run(self) -> Fault | None:
        """The next fault for a run that starts now; it waits no longer."""
        return self._take(lambda fault: fault.kind in RUN_FAULTS or fault.on == "run")

    def take_for_push(self, received_bytes: int) -> Fault | None:
        """The next fault for a push that has received so much; it waits no longer."""
        return self._take(lambda fault: fault.on == "push" and received_bytes >= fault.after)

    def clear(self) -> None:
        """Forget all that wait."""
        with self._lock:
            self._waiting.clear()

    @property
    def waiting(self) -> tuple[Fault, ...]:
        """Those that have not happened yet."""
        with self._lock:
            return tuple(self._waiting)

    def _take(self, matches: Callable[[Fault], bool]) -> Fault | None:
        with self._lock:
            for fault in self._waiting:
                if matches(fault):
                    self._waiting.remove(fault)
                    return fault
        return None
