"""What an error says about a job: is it a result, and if not, who is to blame and when is it tried again?

Only what is certainly the model's fault may end as a failure of kind `model`, because campaigns learn from those. A
runtime that refuses a model says so, once is enough. But a process that was killed or crashed, or a delegate that took
nothing, may have met a bad phone, so it has to happen `confirmations` times, and never to a model that has worked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from device_agent.adb_errors import AdbServerLost, DeviceNoPermissions, DeviceUnauthorized
from device_agent.errors import DeviceError
from device_agent.lease import LeaseHeld, LeaseLost
from profiling.records import Failure

Blame = Literal["device", "undecided", "nobody"]

# Nobody's fault: no strike for the phone and no attempt of the job's.
INTERRUPTIONS = (AdbServerLost, DeviceNoPermissions, DeviceUnauthorized, LeaseHeld, LeaseLost)
_CIRCUMSTANTIAL = frozenset({"crash", "out_of_memory", "delegate_fallback", "delegate_refused"})


@dataclass(frozen=True)
class RetryPolicy:
    """How often a job is tried, by class of error.

    Attributes:
        attempts: Ends with its error after so many infrastructure errors.
        timeouts: The same for missed deadlines.
        confirmations: A crash is the model's after so many, if it never worked; 1: devices that can tell by themselves.
        interruptions: The same for what is nobody's fault.
        first_delay_s, longest_delay_s: Wait before the next attempt on the same device, doubling.
    """

    attempts: int = 5
    timeouts: int = 2
    confirmations: int = 2
    interruptions: int = 100
    first_delay_s: float = 1.0
    longest_delay_s: float = 60.0

    def delay_s(self, earlier: int) -> float:
        """The wait after so many earlier attempts."""
        return min(self.first_delay_s * 2.0 ** min(earlier, 64), self.longest_delay_s)


@dataclass(frozen=True)
class History:
    """What a job has been through.

    Attributes:
        faults, timeouts, doubts, interruptions: Infrastructure errors, missed deadlines, possible faults of the model,
            and what was nobody's fault.
        worked: The model has completed a block.
    """

    faults: int = 0
    timeouts: int = 0
    doubts: int = 0
    interruptions: int = 0
    worked: bool = False


@dataclass(frozen=True)
class Judgement:
    """What follows from an error.

    Attributes:
        history: The job's, this error included.
        failure: The job's end; None: it is tried again.
        blame: `device`: a strike; `undecided`: a strike if the model then works on another one.
        delay_s: Before it is tried again on the same device.
    """

    history: History
    failure: Failure | None
    blame: Blame
    delay_s: float = 0.0


def judge(error: DeviceError, history: History, policy: RetryPolicy) -> Judgement:
    """What an error means for the job that met it, and for the device."""
    if isinstance(error, INTERRUPTIONS):
        after = replace(history, interruptions=history.interruptions + 1)
        return _again_or(error.failure(), after, after.interruptions, policy.interruptions, "nobody", policy)
    if error.kind == "timeout":
        after = replace(history, timeouts=history.timeouts + 1)
        return _again_or(error.failure(), after, after.timeouts, policy.timeouts, "undecided", policy)
    if error.kind == "infrastructure":
        after = replace(history, faults=history.faults + 1)
        return _again_or(error.failure(), after, after.faults, policy.attempts, "device", policy)
    if error.kind == "user" or error.code not in _CIRCUMSTANTIAL:
        return Judgement(history, error.failure(), "nobody")
    if not history.worked or policy.confirmations == 1:
        after = replace(history, doubts=history.doubts + 1)
        return _again_or(error.failure(), after, after.doubts, policy.confirmations, "undecided", policy)
    after = replace(history, faults=history.faults + 1)
    failure = replace(
        error.failure(), kind="infrastructure", detail=f"{error.message}; but the model had worked on such a device"
    )
    return _again_or(failure, after, after.faults, policy.attempts, "device", policy)


def _again_or(
    failure: Failure, history: History, count: int, limit: int, blame: Blame, policy: RetryPolicy
) -> Judgement:
    """Another attempt, or the end when there were enough."""
    if count >= limit:
        return Judgement(history, failure, blame)
    return Judgement(history, None, blame, policy.delay_s(count - 1))
