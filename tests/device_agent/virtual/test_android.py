"""What a virtual phone says about itself, read by the code that reads real phones."""

from __future__ import annotations

import pytest

from device_agent import phone_state
from device_agent.virtual import PROFILES, Fault, VirtualLab
from tests.device_agent.conftest import LONG_S, TEMPORARY, Pair


def _say(phone: Pair, *words: str) -> str:
    return phone.adb.run(words, 5, check=True).stdout


def test_identity(lab: VirtualLab) -> None:
    for virtual in lab.phones:
        identity = phone_state.parse_identity(lab.client.phone(virtual.serial).run(["getprop"], LONG_S).stdout)
        profile = virtual.profile
        assert (identity.model, identity.soc, identity.abi) == (profile.model, profile.soc, profile.abi)
        assert (identity.fingerprint, identity.sdk) == (profile.fingerprint, profile.sdk)


def test_one_property(phone: Pair) -> None:
    assert _say(phone, "getprop", "ro.devicenag.virtual") == "1\n"
    assert _say(phone, "getprop", "no.such.property", "default") == "default\n"


def test_battery(phone: Pair) -> None:
    battery = phone_state.parse_battery(_say(phone, "dumpsys", "battery"))
    assert (battery.level_percent, battery.temp_c, battery.overridden) == (87, 28.5, False)
    _say(phone, "dumpsys", "battery", "set", "level", "12")
    battery = phone_state.parse_battery(_say(phone, "dumpsys", "battery"))
    assert (battery.level_percent, battery.overridden) == (12, True)
    assert "battery_overridden" in phone.virtual.changes()
    _say(phone, "dumpsys", "battery", "reset")
    assert phone.virtual.changes() == {}


def test_heat_and_frequency(phone: Pair) -> None:
    before = phone_state.parse_thermal(_say(phone, "dumpsys", "thermalservice"))
    assert (before.status, before.observability) == (0, "full")
    fast = _clusters(phone)
    phone.virtual.inject(Fault("throttle"))
    hot = phone_state.parse_thermal(_say(phone, "dumpsys", "thermalservice"))
    assert hot.status == 3
    assert hot.skin_c is not None
    assert before.skin_c is not None
    assert hot.skin_c > before.skin_c + 5
    assert all(
        (slow.limit_khz or 0) < (cluster.limit_khz or 0) for slow, cluster in zip(_clusters(phone), fast, strict=True)
    )


def test_a_phone_without_a_thermal_service(old_phone: Pair) -> None:
    result = old_phone.adb.run(["dumpsys", "thermalservice"], LONG_S)
    assert phone_state.parse_thermal(result.stdout + result.stderr).observability == "none"


def test_clusters(phone: Pair) -> None:
    found = [(cluster.cpus, cluster.max_khz, cluster.capacity) for cluster in _clusters(phone)]
    assert found == [(cluster.cpus, cluster.max_khz, cluster.capacity) for cluster in PROFILES["virtual8"].clusters]


def test_storage_power_settings(phone: Pair) -> None:
    storage = phone_state.parse_storage(_say(phone, "df", "-k", TEMPORARY))
    assert storage.total_kib == PROFILES["virtual8"].storage_bytes // 1024
    assert phone_state.parse_power(_say(phone, "dumpsys", "power")).awake
    _say(phone, "input", "keyevent", "KEYCODE_SLEEP")
    assert not phone_state.parse_power(_say(phone, "dumpsys", "power")).awake
    _say(phone, "input", "keyevent", "224")
    assert phone_state.parse_setting(_say(phone, "settings", "get", "global", "no_such_setting")) is None
    _say(phone, "svc", "power", "stayon", "usb")
    assert phone_state.parse_setting(_say(phone, "settings", "get", "global", "stay_on_while_plugged_in")) == "2"
    assert phone.virtual.changes() == {"global.stay_on_while_plugged_in": "2"}
    _say(phone, "settings", "put", "global", "stay_on_while_plugged_in", "0")
    assert phone.virtual.changes() == {}


def test_switches_are_volatile_and_settings_are_not(phone: Pair) -> None:
    _say(phone, "cmd", "power", "set-fixed-performance-mode-enabled", "true")
    _say(phone, "settings", "put", "system", "screen_brightness", "1")
    assert phone.virtual.changes() == {"fixed_performance": "true", "system.screen_brightness": "1"}
    phone.virtual.reboot()
    assert phone.virtual.changes() == {"system.screen_brightness": "1"}
    phone.virtual.settings["system"]["screen_brightness"] = "128"


@pytest.mark.parametrize("words", [["settings", "get", "nowhere", "x"], ["cmd", "nothing"], ["svc", "power", "x"]])
def test_what_android_does_not_understand(phone: Pair, words: list[str]) -> None:
    assert phone.adb.run(words, LONG_S).exit_code != 0


def test_the_clock_jumps_and_uptime_does_not(phone: Pair) -> None:
    now_s, up_s = float(_say(phone, "date", "+%s")), phone.virtual.uptime_s
    phone.virtual.inject(Fault("clock_jump", rate=-86400))
    assert abs(float(_say(phone, "date", "+%s")) - now_s + 86400) < 10
    assert phone.virtual.uptime_s - up_s < 10


def _clusters(phone: Pair) -> tuple[phone_state.CpuCluster, ...]:
    return phone_state.parse_clusters(phone.adb.run(phone_state.CLUSTERS_COMMAND, LONG_S).stdout)
