"""What the shell user, who is not root, can change on a phone: how each is read and set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from device_agent.phone_script import Answer
from device_agent.phone_state import StateUnreadable, parse_power, parse_setting


class Switch(Protocol):
    """Something on a phone that the shell user can change. Values are text; None: never set."""

    @property
    def name(self) -> str:
        """How the journal calls it."""
        ...

    def reading(self) -> tuple[str, ...]:
        """The command that prints its value; empty where nothing tells it."""
        ...

    def value(self, answer: Answer) -> str | None:
        """The value in what that command printed. Raises StateUnreadable."""
        ...

    def writing(self, value: str | None) -> tuple[str, ...]:
        """The command that sets it."""
        ...

    @property
    def drifts(self) -> bool:
        """Whether the system itself moves it once it is restored, so that reading it then proves nothing."""
        ...


@dataclass(frozen=True)
class _Setting:
    """One of Android's settings, e.g. `global/stay_on_while_plugged_in`."""

    space: str
    key: str
    drifts: bool = False

    @property
    def name(self) -> str:
        return f"{self.space}/{self.key}"

    def reading(self) -> tuple[str, ...]:
        return ("settings", "get", self.space, self.key)

    def value(self, answer: Answer) -> str | None:
        return parse_setting(answer.text)

    def writing(self, value: str | None) -> tuple[str, ...]:
        if value is None:
            return ("settings", "delete", self.space, self.key)
        return ("settings", "put", self.space, self.key, value)


@dataclass(frozen=True)
class _FixedPerformance:
    """Android's fixed-performance mode (11 and later): clocks that can be kept up. Nothing tells whether it is on."""

    name: str = "fixed_performance"
    drifts: bool = False

    def reading(self) -> tuple[str, ...]:
        return ()

    def value(self, answer: Answer) -> str | None:
        raise StateUnreadable("nothing tells whether the fixed-performance mode is on")

    def writing(self, value: str | None) -> tuple[str, ...]:
        return ("cmd", "power", "set-fixed-performance-mode-enabled", value or "false")


@dataclass(frozen=True)
class _ScreenAwake:
    """Whether the screen is on, without a lock screen where no secret is needed for that."""

    name: str = "awake"
    drifts: bool = False

    def reading(self) -> tuple[str, ...]:
        return ("sh", "-c", "dumpsys power | grep mWakefulness=")

    def value(self, answer: Answer) -> str | None:
        return str(parse_power(answer.text).awake).lower()

    def writing(self, value: str | None) -> tuple[str, ...]:
        if value == "true":
            return ("sh", "-c", "input keyevent KEYCODE_WAKEUP && { wm dismiss-keyguard || true; }")
        return ("input", "keyevent", "KEYCODE_SLEEP")


@dataclass(frozen=True)
class _Airplane:
    """Airplane mode; the setting alone would not reach the radios."""

    name: str = "airplane"
    drifts: bool = False

    def reading(self) -> tuple[str, ...]:
        return ("settings", "get", "global", "airplane_mode_on")

    def value(self, answer: Answer) -> str | None:
        return "true" if parse_setting(answer.text) == "1" else "false"

    def writing(self, value: str | None) -> tuple[str, ...]:
        return ("cmd", "connectivity", "airplane-mode", "enable" if value == "true" else "disable")


SWITCHES: Mapping[str, Switch] = {
    switch.name: switch
    for switch in (
        _Setting("global", "stay_on_while_plugged_in"),
        _ScreenAwake(),
        _Setting("system", "screen_brightness_mode"),
        _Setting("system", "screen_brightness", drifts=True),  # the automatic mode moves it
        _Setting("system", "accelerometer_rotation"),
        _Airplane(),
        _FixedPerformance(),
    )
}
