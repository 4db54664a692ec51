"""A virtual phone: its state, what happens to it, and its daemon."""

from __future__ import annotations

import copy
import math
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

# Importing the modules of commands puts the commands into the table.
from device_agent.virtual import android, toybox, toybox_processes  # noqa: F401
from device_agent.virtual.activity import Activity
from device_agent.virtual.benchmark import execute_file
from device_agent.virtual.command import Call
from device_agent.virtual.daemon import Daemon, DaemonStream
from device_agent.virtual.faults import RUN_FAULTS, Fault, FaultBox
from device_agent.virtual.files import FileSystem
from device_agent.virtual.processes import ProcessTable
from device_agent.virtual.profile import Cluster, PhoneProfile
from device_agent.virtual.session import serve_plain, serve_v2
from device_agent.virtual.sync import serve as serve_sync
from device_agent.virtual.system import LinuxFiles
from device_agent.virtual.thermal import SEVERE, ThermalModel

_FACTORY_SETTINGS = {
    "global": {
        "stay_on_while_plugged_in": "0",
        "low_power": "0",
        "airplane_mode_on": "0",
        "wifi_on": "1",
        "adb_enabled": "1",
    },
    "system": {"screen_brightness": "128", "screen_brightness_mode": "1", "screen_off_timeout": "60000"},
    "secure": {"android_id": "0123456789abcdef"},
}
_UPTIME_AT_START_S = 3600.0  # a phone that has settled since its boot


class VirtualPhone:
    """One virtual phone.

    Args:
        profile: What kind it is.
        root: Folder for its files; kept across reboots.
        name: Its own serial number (`ro.serialno`).
        seed: Of the noise.

    Attributes:
        files, processes, thermal, activity, faults: Its parts.
        on_unplug: Called when the cable is pulled.
        settings: Namespace -> name -> value.
        slow_models: sha256 of a model -> how many times longer it takes than it should: a regression, on demand.
        battery: `level`, `temp_c`, `status`.
        fixed_performance, awake, thermal_overridden, battery_overridden: Switches that commands turn.
        authorized, silent, bytes_per_s, answering: What the daemon asks, see `device_agent.virtual.daemon.Phone`.
    """

    def __init__(self, profile: PhoneProfile, root: Path, *, name: str = "VIRTUAL0001", seed: int = 0) -> None:
        self.profile = profile
        self.name = name
        self.processes = ProcessTable(profile.cpus)
        self.thermal = ThermalModel(profile.thermal)
        self.activity = Activity()
        self.faults = FaultBox()
        self.files = FileSystem(root, LinuxFiles(self), profile.storage_bytes)
        self.settings = copy.deepcopy(_FACTORY_SETTINGS)
        self.slow_models: dict[str, float] = {}
        self.fixed_performance = False
        self.awake = True
        self.thermal_overridden = False
        self.reset_battery()
        self.authorized = True
        self.silent = False
        self.bytes_per_s = math.inf
        self.answering = threading.Event()
        self.answering.set()
        self.daemon = Daemon(self)
        self.on_unplug: Callable[[], None] | None = None
        self._random = random.Random(seed)
        self._boot_s = time.monotonic() - _UPTIME_AT_START_S
        self._clock_offset_s = 0.0

    # Life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Be there: listen for an adb server."""
        self.daemon.start()

    def stop(self) -> None:
        """Be gone, with all that runs on it; idempotent."""
        self.daemon.stop()
        self.processes.kill_all()
        self.answering.set()

    @property
    def serial(self) -> str:
        """How an adb server calls it."""
        return f"127.0.0.1:{self.daemon.port}"

    def inject(self, fault: Fault) -> None:
        """Let a fault happen: now, or at its moment."""
        if fault.kind in RUN_FAULTS or fault.on != "now":
            self.faults.add(fault)
        else:
            self.suffer(fault)

    def suffer(self, fault: Fault) -> None:
        """The moment of a fault has come; those that concern a run happen to the run."""
        match fault.kind:
            case "unplug":
                self.unplug()
            case "offline":
                self.silent = True
                self.daemon.drop_links()
                self.processes.kill_all()
            case "unauthorized":
                self.authorized = False
                self.daemon.drop_links()
                self.processes.kill_all()
            case "hang":
                self.answering.clear()
            case "reboot":
                self.reboot()
            case "storage_full":
                self.files.full = True
            case "throttle":
                self.thermal.force(SEVERE)
            case "slow_link":
                self.bytes_per_s = fault.rate
            case "clock_jump":
                self._clock_offset_s += fault.rate

    def unplug(self) -> None:
        """Pull the cable. What runs on the phone ends, as when a hub cuts the power."""
        self.daemon.stop()
        self.processes.kill_all()
        if self.on_unplug is not None:
            self.on_unplug()

    def replug(self) -> None:
        """Plug it in again, on the same port."""
        self.daemon.start()

    def reboot(self) -> None:
        """Restart: processes die, uptime starts again, volatile switches fall back; files and settings stay."""
        self.daemon.drop_links()
        self.processes.kill_all()
        self._boot_s = time.monotonic()
        self.fixed_performance = False
        self.thermal_overridden = False
        self.thermal.force(None)
        self.reset_battery()
        self.answering.set()

    def heal(self) -> None:
        """Undo every fault, present and waiting, and plug the phone in."""
        self.faults.clear()
        self.files.full = False
        self.bytes_per_s = math.inf
        self.thermal.force(None)
        self._clock_offset_s = 0.0
        self.answering.set()
        if self.silent or not self.authorized:
            self.silent, self.authorized = False, True
            self.daemon.drop_links()
        self.daemon.start()

    # What commands ask ------------------------------------------------------------------------------------------

    @property
    def uptime_s(self) -> float:
        """Since the last boot."""
        return time.monotonic() - self._boot_s

    @property
    def clock_s(self) -> float:
        """The phone's own idea of the time, in seconds since the epoch."""
        return time.time() + self._clock_offset_s

    def reset_battery(self) -> None:
        """Charging, as the profile says."""
        self.battery = {"level": float(self.profile.battery_level), "temp_c": self.profile.battery_c, "status": 2.0}
        self.battery_overridden = False

    def frequency_khz(self, cluster: Cluster) -> int:
        """How fast a cluster may run now: less while the phone throttles."""
        return max(cluster.min_khz, int(cluster.max_khz / self.thermal.slowdown))

    def temperatures_c(self) -> dict[str, float]:
        """Readings of the sensors."""
        skin_c = self.thermal.skin_c
        return {"CPU": skin_c + 6, "GPU": skin_c + 4, "BATTERY": self.battery["temp_c"], "SKIN": skin_c}

    def slowdown(self, cpus: frozenset[int]) -> float:
        """How much longer than on this computer one process takes on these CPUs, now."""
        core = min(self.profile.cluster_of(cpu).slowdown for cpu in cpus)
        return core * self.thermal.slowdown * math.exp(self._random.gauss(0, self.profile.noise))

    def fixed_variation(self) -> float:
        """How much longer than on average a process takes where nothing is computed."""
        return math.exp(self._random.gauss(0, self.profile.fixed_noise))

    def properties(self) -> dict[str, str]:
        """What `getprop` lists. `ro.devicenag.virtual` tells that this is no real phone."""
        profile = self.profile
        return {
            "ro.boot.bootreason": "reboot",
            "ro.build.fingerprint": profile.fingerprint,
            "ro.build.version.release": profile.android,
            "ro.build.version.sdk": str(profile.sdk),
            "ro.devicenag.virtual": "1",
            "ro.hardware": profile.device,
            "ro.product.brand": profile.brand,
            "ro.product.cpu.abi": profile.abi,
            "ro.product.cpu.abilist": profile.abi,
            "ro.product.device": profile.device,
            "ro.product.manufacturer": profile.brand,
            "ro.product.model": profile.model,
            "ro.serialno": self.name,
            "ro.soc.model": profile.soc,
            "sys.boot_completed": "1",
        }

    def execute_file(self, call: Call) -> int:
        """Execute a file that was pushed; the exit code."""
        return execute_file(call)

    def push_progress(self, received_bytes: int) -> None:
        """A push has received so much: a fault may wait for that."""
        fault = self.faults.take_for_push(received_bytes)
        if fault is not None:
            self.suffer(fault)

    def changes(self) -> dict[str, str]:
        """What differs from the state it was made in and should have been restored, as name -> value."""
        found = {}
        for space, factory in _FACTORY_SETTINGS.items():
            now = self.settings[space]
            for name in sorted(factory.keys() | now.keys()):
                if now.get(name) != factory.get(name):
                    found[f"{space}.{name}"] = now.get(name, "deleted")
        for switch in ("fixed_performance", "thermal_overridden", "battery_overridden"):
            if getattr(self, switch):
                found[switch] = "true"
        if not self.awake:
            found["awake"] = "false"
        return found

    # What the daemon asks ---------------------------------------------------------------------------------------

    @property
    def banner(self) -> str:
        """How it introduces itself to an adb server."""
        features = ["cmd", "fixed_push_mkdir"] + (["shell_v2"] if self.profile.shell_v2 else [])
        product = f"ro.product.name={self.profile.device};ro.product.model={self.profile.model}"
        return f"device::{product};ro.product.device={self.profile.device};features={','.join(features)}"

    def service(self, name: str) -> Callable[[DaemonStream], None] | None:
        """What serves a stream with this name."""
        kind, _, text = name.partition(":")
        options = kind.split(",")
        if kind == "sync":
            return lambda stream: serve_sync(self, stream)
        if kind == "reboot":
            return lambda stream: self.reboot()
        if kind == "exec" and self.profile.sdk >= 21:
            return lambda stream: serve_plain(self, text, stream, terminal=False)
        if options[0] != "shell" or not text:
            return None
        if "v2" in options and self.profile.shell_v2:
            return lambda stream: serve_v2(self, text, stream, raw="pty" not in options)
        return lambda stream: serve_plain(self, text, stream, terminal=not self.profile.shell_v2)
