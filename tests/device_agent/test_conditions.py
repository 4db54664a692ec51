"""Conditions: read in one trip, waited for by state, compared around a block."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Iterator

import pytest

from device_agent.adb_errors import DeviceLost
from device_agent.conditions import (
    ClockLimits,
    Conditions,
    Limits,
    PhoneNotReady,
    limitations,
    obstacles,
    read,
    rejection,
    wait_until_ready,
)
from device_agent.errors import InfrastructureError
from device_agent.phone_script import run_all
from device_agent.phone_state import BatteryState, CpuCluster, StateUnreadable, ThermalState
from device_agent.virtual import Fault
from tests.device_agent.conftest import LONG_S, Pair, until

LIMITS = Limits(max_wait_s=LONG_S, poll_s=0.02, min_uptime_s=0.0)
GOOD = Conditions(
    battery=BatteryState(80.0, 27.0, charging=True, powered=True, overridden=False),
    thermal=ThermalState(0, {"SKIN": 30.0}, 30.0, "full", overridden=False),
    awake=True,
    power_saver=False,
    clusters=(CpuCluster((0, 1), 1_800_000, 300, 1_800_000, 900_000), CpuCluster((2, 3), 2_400_000, 1024, 2_000_000)),
    uptime_s=5000.0,
    booted=True,
)


@pytest.fixture
def ready(phone: Pair) -> Iterator[Pair]:
    yield phone
    phone.virtual.reset_battery()
    phone.virtual.awake = True
    phone.virtual.settings["global"]["low_power"] = "0"


def changed(**parts: object) -> Conditions:
    """`GOOD` with other values of battery, heat, or the rest."""
    battery = {name: parts.pop(name) for name in ("level_percent", "temp_c", "powered") if name in parts}
    thermal = {name: parts.pop(name) for name in ("status", "skin_c", "observability") if name in parts}
    return dataclasses.replace(
        GOOD,
        battery=dataclasses.replace(GOOD.battery, **battery),  # type: ignore[arg-type]
        thermal=dataclasses.replace(GOOD.thermal, **thermal),  # type: ignore[arg-type]
        **parts,  # type: ignore[arg-type]
    )


def limited(khz: int) -> Conditions:
    """The fast cluster may run this fast."""
    slow, fast = GOOD.clusters
    return changed(clusters=(slow, dataclasses.replace(fast, limit_khz=khz)))


class TestReading:
    def test_everything_in_one_trip(self, any_phone: Pair) -> None:
        conditions = read(any_phone.adb)
        assert conditions.awake
        assert conditions.booted
        assert not conditions.power_saver
        assert conditions.battery.level_percent == 87
        assert conditions.uptime_s == pytest.approx(any_phone.virtual.uptime_s, abs=LONG_S)
        assert [cluster.cpus for cluster in conditions.clusters] == [
            cluster.cpus for cluster in any_phone.virtual.profile.clusters
        ]

    def test_a_phone_that_does_not_say_what_it_should(self, phone: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(phone.virtual.battery, "level", 300.0)
        with pytest.raises(StateUnreadable, match="battery") as caught:
            read(phone.adb)
        assert caught.value.device == phone.adb.serial

    def test_commands_cannot_disturb_each_other(self, any_phone: Pair) -> None:
        commands = [["echo", "a\nb"], ["sh", "-c", "echo err >&2; exit 7"], ["printf", "no newline"], ["no-such"]]
        answers = run_all(any_phone.adb, commands, LONG_S)
        assert [answer.exit_code for answer in answers] == [0, 7, 0, 127]
        assert [answer.text.strip() for answer in answers[:3]] == ["a\nb", "err", "no newline"]
        assert run_all(any_phone.adb, [], LONG_S) == ()

    def test_output_that_cannot_be_told_apart_is_no_answer(self, phone: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("device_agent.phone_script.secrets.token_hex", lambda size: "feed")
        with pytest.raises(InfrastructureError, match="3 of 2") as caught:
            run_all(phone.adb, [["true"], ["printf", "\\nfeed 0\\n"]], LONG_S)
        assert caught.value.code == "state_unreadable"


class TestObstacles:
    @pytest.mark.parametrize(
        ("reason", "conditions"),
        [
            ("thermal_status", changed(status=1)),
            ("skin_temperature", changed(skin_c=38.5)),
            ("battery_temperature", changed(temp_c=41.0)),
            ("battery_level", changed(level_percent=29.0)),
            ("power_saver", changed(power_saver=True)),
            ("screen_off", changed(awake=False)),
            ("booting", changed(uptime_s=20.0)),
            ("booting", changed(booted=False)),
        ],
    )
    def test_each_has_its_reason(self, reason: str, conditions: Conditions) -> None:
        assert list(obstacles(conditions, Limits())) == [reason]

    def test_none(self) -> None:
        assert obstacles(GOOD, Limits()) == {}
        assert obstacles(changed(skin_c=None, uptime_s=math.inf), Limits()) == {}


class TestWaiting:
    def test_it_waits_for_the_state(self, ready: Pair) -> None:
        ready.virtual.battery["level"] = 5.0
        ready.virtual.awake = False
        asked = threading.Event()
        real = ready.virtual.temperatures_c
        ready.virtual.temperatures_c = lambda: (asked.set(), real())[1]  # type: ignore[method-assign]
        found: list[tuple[Conditions, float]] = []
        waiter = threading.Thread(
            target=lambda: found.append(wait_until_ready(ready.adb, LIMITS, ClockLimits(), (), threading.Event())),
            daemon=True,
        )
        waiter.start()
        try:
            for repair in (
                lambda: ready.virtual.battery.update(level=60.0),
                lambda: setattr(ready.virtual, "awake", True),
            ):
                asked.clear()
                until(asked.is_set)
                assert not found
                repair()
            waiter.join(LONG_S)
        finally:
            del ready.virtual.temperatures_c  # type: ignore[method-assign]
        conditions, waited_s = found[0]
        assert conditions.battery.level_percent == 60
        assert waited_s > 0

    @pytest.mark.parametrize(
        ("reason", "spoil"),
        [
            ("battery_level", lambda phone: phone.battery.update(level=3.0)),
            ("power_saver", lambda phone: phone.settings["global"].update(low_power="1")),
            ("thermal_status", lambda phone: phone.inject(Fault("throttle"))),
            ("screen_off", lambda phone: setattr(phone, "awake", False)),
        ],
    )
    def test_it_gives_up_with_the_reason(self, ready: Pair, reason: str, spoil: object) -> None:
        spoil(ready.virtual)  # type: ignore[operator]
        limits = dataclasses.replace(LIMITS, max_wait_s=0.1)
        with pytest.raises(PhoneNotReady, match="not ready") as caught:
            wait_until_ready(ready.adb, limits, ClockLimits(), (), threading.Event())
        assert caught.value.reason == reason
        assert caught.value.failure().kind == "infrastructure"
        assert caught.value.hint

    def test_it_can_be_told_to_stop(self, ready: Pair) -> None:
        ready.virtual.awake = False
        stop = threading.Event()
        threading.Timer(0.2, stop.set).start()
        started = time.monotonic()
        with pytest.raises(PhoneNotReady):
            wait_until_ready(ready.adb, Limits(max_wait_s=300, poll_s=300), ClockLimits(), (), stop)
        assert time.monotonic() - started < LONG_S

    def test_a_fresh_reading_is_enough(self, ready: Pair) -> None:
        ready.virtual.unplug()
        conditions, _ = wait_until_ready(ready.adb, LIMITS, ClockLimits(), (), threading.Event(), GOOD)
        assert conditions is GOOD
        ready.lab.replug(ready.virtual)

    def test_clocks_that_are_lowered_are_waited_for(self, ready: Pair) -> None:
        clocks = ClockLimits()
        clocks.see(read(ready.adb))
        ready.virtual.inject(Fault("throttle"))
        limits = dataclasses.replace(LIMITS, max_wait_s=0.1, max_thermal_status=6, max_skin_c=99.0)
        with pytest.raises(PhoneNotReady) as caught:
            wait_until_ready(ready.adb, limits, clocks, (8,), threading.Event())
        assert caught.value.reason == "clock_limit"
        ready.lab.heal(ready.virtual)
        wait_until_ready(ready.adb, limits, clocks, (8,), threading.Event())

    def test_a_phone_that_goes_away_meanwhile(self, ready: Pair) -> None:
        ready.virtual.awake = False
        threading.Timer(0.1, ready.virtual.unplug).start()
        with pytest.raises(InfrastructureError) as caught:
            wait_until_ready(ready.adb, LIMITS, ClockLimits(), (), threading.Event())
        assert not isinstance(caught.value, PhoneNotReady)
        assert isinstance(caught.value, DeviceLost) or "not found" in str(caught.value)
        ready.lab.replug(ready.virtual)


class TestRejection:
    def judge(self, before: Conditions, after: Conditions, cpus: tuple[int, ...] = (2, 3)) -> str:
        clocks = ClockLimits()
        for conditions in (GOOD, before, after):
            clocks.see(conditions)
        return rejection(before, after, clocks, cpus)

    def test_a_quiet_block_is_kept(self) -> None:
        assert self.judge(GOOD, GOOD) == ""

    def test_a_vendor_that_keeps_the_clock_low_for_ever_is_no_throttling(self) -> None:
        assert GOOD.clusters[1].limit_khz != GOOD.clusters[1].max_khz
        assert self.judge(GOOD, GOOD) == ""

    def test_status_and_clocks_tell_of_throttling(self) -> None:
        assert self.judge(GOOD, changed(status=1)) == "throttled"
        assert self.judge(GOOD, limited(1_500_000)) == "throttled"
        assert self.judge(limited(1_500_000), GOOD) == "throttled"  # it was, and ended during the block
        assert self.judge(limited(2_200_000), limited(2_100_000)) == "throttled"

    def test_clusters_that_were_not_used_do_not_matter(self) -> None:
        assert self.judge(GOOD, limited(1_500_000), cpus=(0, 1)) == ""
        assert self.judge(GOOD, limited(1_500_000), cpus=()) == "throttled"

    def test_what_else_came_over_it(self) -> None:
        assert self.judge(GOOD, changed(awake=False)) == "screen_off"
        assert self.judge(GOOD, changed(power_saver=True)) == "power_saver"

    def test_clocks_that_cannot_be_read(self) -> None:
        unknown = changed(clusters=tuple(dataclasses.replace(c, limit_khz=None) for c in GOOD.clusters))
        assert self.judge(unknown, unknown) == ""


def test_limitations_are_named() -> None:
    def say(conditions: Conditions, shell_v2: bool = True, free_bytes: int = 1 << 34) -> str:
        return " / ".join(limitations(conditions, Limits(), shell_v2=shell_v2, free_bytes=free_bytes))

    assert say(GOOD) == ""
    assert "reports no heat" in say(changed(observability="none"))
    assert "battery, which will not last" in say(changed(powered=False))
    assert "battery is at 12 %" in say(changed(level_percent=12.0))
    assert "screen is off" in say(changed(awake=False))
    assert "not pinned" in say(changed(clusters=()))
    assert "before 7" in say(GOOD, shell_v2=False)
    assert "only 10 MiB" in say(GOOD, free_bytes=10 << 20)


def test_conditions_are_json() -> None:
    values = GOOD.to_json()
    assert values["temp_c"] == 30.0
    assert values["frequency_khz"] == [900_000, None]
    assert values["limit_khz"] == [1_800_000, 2_000_000]
