"""What `/proc` and `/sys` of a virtual phone hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING

from device_agent.virtual.processes import VirtualProcess

if TYPE_CHECKING:
    from device_agent.virtual.phone import VirtualPhone

_CPU = "/sys/devices/system/cpu"


def cpu_list(cpus: frozenset[int] | tuple[int, ...]) -> str:
    """CPUs as the kernel prints them: `0-3,7`."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


class LinuxFiles:
    """The `SystemFiles` of a phone; values are those of the moment."""

    def __init__(self, phone: VirtualPhone) -> None:
        self._phone = phone

    def read(self, path: str, pid: int) -> bytes | None:
        """See `SystemFiles`."""
        if path.startswith("/proc/"):
            text = self._proc(path.replace("/proc/self/", f"/proc/{pid}/"))
        elif path.startswith("/sys/"):
            value = self._sys.get(path)
            text = None if value is None else f"{value()}\n"
        else:
            text = None
        return None if text is None else text.encode()

    def names(self, folder: str) -> frozenset[str]:
        """See `SystemFiles`."""
        if folder == "/proc":
            pids = {str(process.pid) for process in self._phone.processes.listing()}
            return frozenset(pids | {"cpuinfo", "meminfo", "uptime", "loadavg", "version", "self"})
        if re.fullmatch(r"/proc/\d+", folder):
            return frozenset({"cmdline", "status", "cpuset"})
        return frozenset(self._sys_folders.get(folder, ()))

    def _proc(self, path: str) -> str | None:
        phone = self._phone
        if match := re.fullmatch(r"/proc/(\d+)/(\w+)", path):
            process = phone.processes.find(int(match[1]))
            return _process_file(process, match[2]) if process else None
        if path == "/proc/uptime":
            return f"{phone.uptime_s:.2f} {phone.uptime_s * len(phone.profile.cpus) * 0.9:.2f}\n"
        if path == "/proc/loadavg":
            return f"0.20 0.15 0.10 1/{len(phone.processes.listing())} 4000\n"
        if path == "/proc/version":
            return "Linux version 5.15.110-android14-virtual (devicenag) #1 SMP PREEMPT\n"
        if path == "/proc/meminfo":
            total = phone.profile.memory_kb
            return f"MemTotal: {total} kB\nMemFree: {total // 4} kB\nMemAvailable: {total // 2} kB\n"
        if path == "/proc/cpuinfo":
            blocks = (
                f"processor\t: {cpu}\nBogoMIPS\t: 49.15\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
                f"CPU part\t: {phone.profile.cluster_of(cpu).part:#x}\n\n"
                for cpu in phone.profile.cpus
            )
            return "".join(blocks) + f"Hardware\t: {phone.profile.soc}\n"
        return None

    @cached_property
    def _sys(self) -> dict[str, Callable[[], object]]:
        """Path below `/sys` -> what reads its value now. Phones are looked at often: the table is made once."""
        phone = self._phone
        everything = cpu_list(phone.profile.cpus)
        table = {f"{_CPU}/{name}": _constant(everything) for name in ("possible", "present", "online")}
        for cluster in phone.profile.clusters:
            values: dict[str, Callable[[], object]] = {
                "cpuinfo_max_freq": _constant(cluster.max_khz),
                "cpuinfo_min_freq": _constant(cluster.min_khz),
                "scaling_max_freq": partial(phone.frequency_khz, cluster),
                "scaling_min_freq": _constant(cluster.min_khz),
                "scaling_cur_freq": partial(phone.frequency_khz, cluster),
                "scaling_governor": _constant("schedutil"),
                "related_cpus": _constant(" ".join(map(str, cluster.cpus))),
            }
            for name, value in values.items():
                table[f"{_CPU}/cpufreq/policy{cluster.cpus[0]}/{name}"] = value
                for cpu in cluster.cpus:
                    table[f"{_CPU}/cpu{cpu}/cpufreq/{name}"] = value
            for cpu in cluster.cpus:
                table[f"{_CPU}/cpu{cpu}/cpu_capacity"] = _constant(cluster.capacity)
        if phone.thermal.observable:
            for number, name in enumerate(phone.temperatures_c()):
                zone = f"/sys/class/thermal/thermal_zone{number}"
                table[f"{zone}/type"] = _constant(name.lower())
                table[f"{zone}/temp"] = partial(lambda name: round(phone.temperatures_c()[name] * 1000), name)
        table["/sys/class/power_supply/battery/capacity"] = lambda: round(phone.battery["level"])
        table["/sys/class/power_supply/battery/temp"] = lambda: round(phone.battery["temp_c"] * 10)
        return table

    @cached_property
    def _sys_folders(self) -> dict[str, set[str]]:
        """Folder -> what is in it."""
        folders: dict[str, set[str]] = {}
        for path in self._sys:
            parts = path.split("/")
            for depth in range(2, len(parts)):
                folders.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
        return folders


def _constant(value: object) -> Callable[[], object]:
    return lambda: value


def _process_file(process: VirtualProcess, name: str) -> str | None:
    if name == "cmdline":
        return "\0".join(process.words) + "\0"
    if name == "cpuset":
        return "/\n"
    if name == "status":
        mask = sum(1 << cpu for cpu in process.cpus)
        return (
            f"Name:\t{process.words[0].rsplit('/', 1)[-1][:15]}\nState:\tS (sleeping)\nPid:\t{process.pid}\n"
            f"PPid:\t{process.parent}\nNSpgid:\t{process.group}\n"
            f"Cpus_allowed:\t{mask:x}\nCpus_allowed_list:\t{cpu_list(process.cpus)}\n"
        )
    return None
