"""Heating, cooling and throttling of a virtual phone."""

from __future__ import annotations

import math
import threading
import time

from device_agent.virtual.profile import ThermalBehaviour

SEVERE = 3


class ThermalModel:
    """Skin temperature as a first-order system, integrated whenever somebody looks; thread-safe."""

    def __init__(self, behaviour: ThermalBehaviour) -> None:
        self._behaviour = behaviour
        self._lock = threading.Lock()
        self._temp_c = behaviour.ambient_c
        self._at_s = time.monotonic()
        self._busy = 0
        self._forced_status: int | None = None

    def start(self) -> None:
        """Something heavy starts to run."""
        self._change(+1)

    def stop(self) -> None:
        """It has ended."""
        self._change(-1)

    def force(self, status: int | None) -> None:
        """Throttle at this status whatever the temperature; None: as the temperature says."""
        with self._lock:
            self._forced_status = status

    @property
    def skin_c(self) -> float:
        """Skin temperature now; at least that of a forced status."""
        with self._lock:
            self._integrate()
            floor = self._behaviour.status_c[self._forced_status - 1] + 0.5 if self._forced_status else -math.inf
            return max(self._temp_c, floor)

    @property
    def true_status(self) -> int:
        """Thermal status that the phone acts upon, 0 (none) to 6 (shutdown)."""
        return sum(self.skin_c >= limit for limit in self._behaviour.status_c)

    @property
    def status(self) -> int:
        """Thermal status that the phone reports."""
        return self.true_status if self._behaviour.observable else 0

    @property
    def observable(self) -> bool:
        """Whether the phone reports temperatures at all."""
        return self._behaviour.observable

    @property
    def slowdown(self) -> float:
        """Factor on latencies."""
        factors = self._behaviour.slowdown
        return factors[min(self.true_status, len(factors) - 1)]

    def _change(self, step: int) -> None:
        with self._lock:
            self._integrate()
            self._busy += step

    def _integrate(self) -> None:
        now_s = time.monotonic()
        goal_c = self._behaviour.busy_c if self._busy else self._behaviour.ambient_c
        self._temp_c = goal_c + (self._temp_c - goal_c) * math.exp(
            (self._at_s - now_s) / self._behaviour.time_constant_s
        )
        self._at_s = now_s
