"""How far a device can be trusted: strikes, quarantine, probation. A pure state machine; callers bring the time.

healthy --strikes--> quarantined --time passes--> on probation --success--> healthy
                         ^                              |
                         +---------- any strike --------+      each quarantine is longer than the one before
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

HealthState = Literal["healthy", "quarantined", "probation"]


@dataclass(frozen=True)
class HealthPolicy:
    """When a device is set aside, and for how long.

    Attributes:
        strikes: Faults without a success between them that a healthy device is allowed, plus one.
        first_quarantine_s, factor, longest_quarantine_s: Each quarantine lasts `factor` times the one before.
        recovery: Successes in a row after which the next quarantine is a first one again.
    """

    strikes: int = 3
    first_quarantine_s: float = 60.0
    factor: float = 2.0
    longest_quarantine_s: float = 3600.0
    recovery: int = 10

    def __post_init__(self) -> None:
        if self.strikes < 1 or self.factor < 1 or not 0 <= self.first_quarantine_s <= self.longest_quarantine_s:
            raise ValueError(f"no policy: {self}")

    def quarantine_s(self, earlier: int) -> float:
        """How long the quarantine lasts that follows so many earlier ones."""
        # The exponent is bounded, or a device that fails for weeks would overflow it.
        return min(self.first_quarantine_s * self.factor ** min(earlier, 64), self.longest_quarantine_s)


@dataclass(frozen=True)
class Health:
    """One device's health; every transition gives a new one.

    Attributes:
        policy: The rules.
        strikes: Faults since the last success.
        successes: Successes since the last fault.
        quarantines: Quarantines that have not been forgotten.
        until_s: End of the quarantine, on the caller's clock; None: in none.
        reason: Of the last strike: a code, `device_lost`.
    """

    policy: HealthPolicy = HealthPolicy()
    strikes: int = 0
    successes: int = 0
    quarantines: int = 0
    until_s: float | None = None
    reason: str = ""

    def state(self, now_s: float) -> HealthState:
        """What it is now."""
        if self.until_s is None:
            return "healthy"
        return "quarantined" if now_s < self.until_s else "probation"

    def struck(self, reason: str, now_s: float) -> Health:
        """After a fault that is the device's: on probation, or once too often, it is set aside.

        During a quarantine (a fault that came to light late) nothing changes.
        """
        state = self.state(now_s)
        if state == "quarantined":
            return self
        strikes = self.strikes + 1
        after = replace(self, strikes=strikes, successes=0, reason=reason)
        if state == "healthy" and strikes < self.policy.strikes:
            return after
        until_s = now_s + self.policy.quarantine_s(self.quarantines)
        return replace(after, quarantines=self.quarantines + 1, until_s=until_s)

    def succeeded(self, now_s: float) -> Health:
        """After a measurement: probation is over, strikes are forgotten, and in time quarantines are as well.

        During a quarantine nothing changes: what was still running when it began proves nothing.
        """
        if self.state(now_s) == "quarantined":
            return self
        successes = self.successes + 1
        forgiven = successes >= self.policy.recovery
        return Health(self.policy, successes=successes, quarantines=0 if forgiven else self.quarantines)
