"""What phones say of themselves, in the forms of several Android versions and vendors."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.phone_state import (
    BatteryState,
    CpuCluster,
    Identity,
    StateUnreadable,
    Storage,
    ThermalState,
    parse_allowed_cpus,
    parse_battery,
    parse_clusters,
    parse_cpu_list,
    parse_identity,
    parse_power,
    parse_properties,
    parse_setting,
    parse_storage,
    parse_thermal,
)

GETPROP = """[ro.board.platform]: [gs201]
[ro.build.fingerprint]: [google/panther/panther:14/UQ1A.240205.002/11224170:user/release-keys]
[ro.build.version.sdk]: [34]
[ro.odd]: [two
lines]
[ro.product.cpu.abi]: [arm64-v8a]
[ro.product.cpu.abilist]: [arm64-v8a,armeabi-v7a,armeabi]
[ro.product.model]: [Pixel 7]
[ro.soc.model]: [Tensor G2]
[ro.empty]: []
"""
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 500000
  Charge counter: 3270000
  status: 2
  health: 2
  present: true
  level: 81
  scale: 100
  voltage: 4352
  temperature: 274
  technology: Li-ion
"""
THERMAL = """IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 2
ThermalStatusListeners:
\tcallbacks: 5
Thermal Status: 1
Cached temperatures:
\tTemperature{mValue=61.5, mType=3, mName=SKIN, mStatus=1}
\tTemperature{mValue=0.0, mType=2, mName=SUBBAT, mStatus=0}
HAL Ready: true
HAL connection:
\tThermalHAL AIDL 1  connected: yes
Current temperatures from HAL:
\tTemperature{mValue=44.8, mType=0, mName=AP, mStatus=0}
\tTemperature{mValue=38.0, mType=3, mName=SKIN, mStatus=1}
\tTemperature{mValue=36.5, mType=3, mName=quiet-therm, mStatus=0}
\tTemperature{mValue=NaN, mType=5, mName=PA, mStatus=0}
\tTemperature{mValue=0.0, mType=4, mName=USB, mStatus=0}
\tTemperature{mValue=100.0, mType=8, mName=soc, mStatus=0}
\tTemperature{mValue=-99.9, mType=6, mName=TYPE_POWER_AMPLIFIER, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=2, mName=cpufreq-cpu0}
"""
POWER = "POWER MANAGER (dumpsys power)\n\nPower Manager State:\n  mDirty=0x0\n  mWakefulness=Awake\n  mIsPowered=true\n"
DF = """Filesystem      1K-blocks    Used Available Use% Mounted on
/dev/block/dm-5 112000000 4000000 107000000   4% /data
"""
POLICY = "/sys/devices/system/cpu/cpufreq/policy"
CPUS = f"""/sys/devices/system/cpu/online:0-7
/sys/devices/system/cpu/cpu0/cpu_capacity:160
/sys/devices/system/cpu/cpu4/cpu_capacity:498
/sys/devices/system/cpu/cpu6/cpu_capacity:1024
{POLICY}0/related_cpus:0 1 2 3
{POLICY}0/cpuinfo_max_freq:1803000
{POLICY}4/related_cpus:4 5
{POLICY}4/cpuinfo_max_freq:2348000
{POLICY}4/scaling_cur_freq:400000
{POLICY}6/related_cpus:6 7
{POLICY}6/cpuinfo_max_freq:2850000
{POLICY}6/scaling_max_freq:1826000
"""


def test_identity() -> None:
    assert parse_identity(GETPROP) == Identity(
        model="Pixel 7",
        soc="Tensor G2",
        abi="arm64-v8a",
        abis=("arm64-v8a", "armeabi-v7a", "armeabi"),
        fingerprint="google/panther/panther:14/UQ1A.240205.002/11224170:user/release-keys",
        sdk=34,
    )
    assert parse_identity(GETPROP.replace("ro.soc.model", "ro.x").replace("\n", "\r\n")).soc == "gs201"
    assert parse_identity(GETPROP.replace("abilist", "x")).abis == ("arm64-v8a",)
    properties = parse_properties(GETPROP)
    assert (properties["ro.odd"], properties["ro.empty"], len(properties)) == ("two\nlines", "", 9)


@pytest.mark.parametrize(
    "text", ["", "error: closed", GETPROP.replace("[34]", "[S]"), GETPROP.replace("fingerprint", "x")]
)
def test_a_phone_without_identity_is_an_error(text: str) -> None:
    with pytest.raises(StateUnreadable, match="identity"):
        parse_identity(text)


def test_battery() -> None:
    assert parse_battery(BATTERY) == BatteryState(81, 27.4, charging=True, powered=True, overridden=False)
    text = BATTERY.replace("status: 2", "status: 5").replace("level: 81", "level: 200")
    full = parse_battery(text.replace("scale: 100", "scale: 200"))
    assert (full.level_percent, full.charging, full.powered) == (100, False, True)
    unplugged = parse_battery(BATTERY.replace("powered: true", "powered: false").replace("\n", "\r\n"))
    assert not unplugged.powered
    assert parse_battery(BATTERY.replace("temperature: 274", "temperature: -35")).temp_c == -3.5


def test_a_forgotten_override_of_the_battery_shows() -> None:
    stopped = BATTERY.replace("state:\n", "state:\n  (UPDATES STOPPED -- use 'reset' to restart)\n")
    assert parse_battery(stopped).overridden


def test_logs_after_the_battery_state_are_not_part_of_it() -> None:
    log = "[EventLogBuffer]\n08-11 18:34:14.721  level: 3\n  level: 4\n  temperature: 999\n"
    assert parse_battery(BATTERY + log) == parse_battery(BATTERY)
    assert parse_battery("Can't read x\n" + BATTERY) == parse_battery(BATTERY)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  level: 81\n", ""),
        ("level: 81", "level: 181"),
        ("level: 81", "level: -1"),
        ("temperature: 274", "temperature: 2740"),
        ("temperature: 274", "temperature: warm"),
        ("scale: 100", "scale: 0"),
        ("status: 2\n", "\n"),
        ("Current Battery Service state:", "Can't find service: battery"),
    ],
)
def test_impossible_batteries_are_errors(old: str, new: str) -> None:
    assert old in BATTERY
    with pytest.raises(StateUnreadable, match="battery"):
        parse_battery(BATTERY.replace(old, new))


def test_thermal_state_prefers_current_temperatures_and_leaves_out_what_is_none() -> None:
    assert parse_thermal(THERMAL) == ThermalState(
        status=1,
        sensors_c={"AP": 44.8, "SKIN": 38.0, "quiet-therm": 36.5},
        skin_c=38.0,
        observability="full",
        overridden=False,
    )


def test_thermal_state_falls_back_to_cached_temperatures() -> None:
    state = parse_thermal(THERMAL.split("HAL Ready")[0] + "HAL Ready: false\n")
    assert (state.sensors_c, state.skin_c) == ({"SKIN": 61.5}, 61.5)


@pytest.mark.parametrize(
    ("text", "status", "observability"),
    [
        ("Can't find service: thermalservice\n", 0, "none"),  # before Android 10
        ("Thermal Status: 0\nCached temperatures:\nHAL Ready: false\n", 0, "none"),
        (re.sub(r"mValue=[^,]+", "mValue=0.0", THERMAL).replace("Status: 1", "Status: 0"), 0, "none"),  # dead HAL
        ("IsStatusOverride: true\nThermal Status: 3\nHAL Ready: true\n", 3, "status"),
    ],
)
def test_phones_that_hide_their_heat_say_so(text: str, status: int, observability: str) -> None:
    state = parse_thermal(text)
    assert (state.status, state.observability, state.sensors_c) == (status, observability, {})
    assert state.overridden == ("true" in text.split("\n")[0])


@pytest.mark.parametrize("text", ["", "Thermal Status: 9", "Thermal Status: hot", "error: device offline"])
def test_nonsense_is_no_thermal_state(text: str) -> None:
    with pytest.raises(StateUnreadable, match="thermal"):
        parse_thermal(text)


@pytest.mark.parametrize(
    ("word", "awake"), [("Awake", True), ("Asleep", False), ("Dozing", False), ("Dreaming", False)]
)
def test_wakefulness(word: str, awake: bool) -> None:
    assert parse_power(POWER.replace("Awake", word)).awake is awake


@pytest.mark.parametrize("text", ["", POWER.replace("Awake", "Awful"), "mWakefulnessChanging=false"])
def test_nonsense_is_no_wakefulness(text: str) -> None:
    with pytest.raises(StateUnreadable, match="wakefulness"):
        parse_power(text)


@pytest.mark.parametrize(
    ("text", "value"), [("1\n", "1"), ("null\n", None), ("", None), ("0\r\n", "0"), ("a b\n", "a b")]
)
def test_settings(text: str, value: str | None) -> None:
    assert parse_setting(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("java.lang.SecurityException: no", "Can't find service: settings", "Error: x", "usage: settings", "a\nb"),
        "cmd: Failure calling service",
    ],
)
def test_error_messages_are_no_settings(text: str) -> None:
    with pytest.raises(StateUnreadable, match="setting"):
        parse_setting(text)


@pytest.mark.parametrize(
    ("text", "storage"),
    [
        (DF, Storage(107_000_000, 112_000_000)),
        (DF.replace("/dev/block/dm-5 ", "/dev/block/by-name/userdata\n     "), Storage(107_000_000, 112_000_000)),
        ("Filesystem 1024-blocks Used Available Capacity Mounted on\ntmpfs 100 40 60 40% /data\n", Storage(60, 100)),
        (
            "Filesystem   Size   Used   Free  Blksize\n/data  12.0G  512.0M  11.5G  4096\n",
            Storage(12_058_624, 12_582_912),
        ),
    ],
)
def test_free_space(text: str, storage: Storage) -> None:
    assert parse_storage(text) == storage
    assert parse_storage(text.replace("\n", "\r\n")) == storage


@pytest.mark.parametrize(
    "text",
    [
        "",
        "df: /data/local/tmp: No such file or directory\n",
        DF.split("\n")[0],
        DF.replace("107000000", "-"),
        DF.replace("107000000", "1070000000"),
        DF.replace("1K-blocks", "512-blocks"),
        DF.replace("1K-blocks", "Size"),
        DF.replace("112000000", "112G"),
    ],
)
def test_other_tables_are_no_free_space(text: str) -> None:
    with pytest.raises(StateUnreadable, match="free space"):
        parse_storage(text)


def test_clusters() -> None:
    clusters = parse_clusters(CPUS)
    assert clusters == (
        CpuCluster((0, 1, 2, 3), 1_803_000, 160),
        CpuCluster((4, 5), 2_348_000, 498),
        CpuCluster((6, 7), 2_850_000, 1024),
    )
    assert [cluster.limit_khz for cluster in clusters] == [None, None, 1_826_000]
    assert [cluster.current_khz for cluster in clusters] == [None, 400_000, None]


def test_offline_processors_are_left_out() -> None:
    assert [cluster.cpus for cluster in parse_clusters(CPUS.replace("0-7", "0-2,6"))] == [(0, 1, 2), (6,)]


def test_kernels_without_policy_folders_have_the_same_files_below_each_cpu() -> None:
    text = "".join(
        f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/related_cpus:{'0 1' if cpu < 2 else '2 3'}\n"
        f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq:{1_500_000 if cpu < 2 else 2_100_000}\n"
        for cpu in range(4)
    )
    assert parse_clusters(text) == (CpuCluster((0, 1), 1_500_000), CpuCluster((2, 3), 2_100_000))


@pytest.mark.parametrize(
    "text", ["", "grep: Permission denied", f"{POLICY}0/related_cpus:0 1\n", CPUS.replace("freq:", "freq:x")]
)
def test_processors_without_a_clock_are_an_error(text: str) -> None:
    with pytest.raises(StateUnreadable, match="processors"):
        parse_clusters(text)


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-3", (0, 1, 2, 3)), ("0 1 2\n", (0, 1, 2)), ("7,0-1", (0, 1, 7)), ("1023", (1023,))]
)
def test_lists_of_processors(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpu_list(text) == cpus


@pytest.mark.parametrize("text", ["", "3-1", "a", "1024", "0--3", "99999-999999"])
def test_other_text_is_no_list_of_processors(text: str) -> None:
    with pytest.raises(StateUnreadable, match="processors"):
        parse_cpu_list(text)


def test_allowed_processors_of_this_very_process() -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc here")
    assert parse_allowed_cpus(status.read_text())
    assert parse_allowed_cpus("Name:\tx\nCpus_allowed:\tf0\nCpus_allowed_list:\t4-7\n") == (4, 5, 6, 7)
    with pytest.raises(StateUnreadable):
        parse_allowed_cpus("Name:\tx\n")


PARSERS: list[tuple[Callable[[str], object], str]] = [
    (parse_identity, GETPROP),
    (parse_battery, BATTERY),
    (parse_thermal, THERMAL),
    (parse_power, POWER),
    (parse_setting, "1"),
    (parse_storage, DF),
    (parse_clusters, CPUS),
    (parse_cpu_list, "0-3,7"),
    (parse_allowed_cpus, "Cpus_allowed_list:\t4-7\n"),
]


@given(st.sampled_from(PARSERS), st.data())
def test_mangled_answers_are_read_or_refused(parser: tuple[Callable[[str], object], str], data: st.DataObject) -> None:
    parse, text = parser
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        to = data.draw(st.integers(at, min(len(text), at + 40)))
        text = text[:at] + data.draw(st.one_of(st.text(max_size=5), st.just("9" * 5000))) + text[to:]
    with contextlib.suppress(StateUnreadable):
        parse(text)
