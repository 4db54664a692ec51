"""What kind of phone a virtual phone is."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Cluster:
    """CPUs of one kind.

    Attributes:
        cpus: Their numbers.
        name: Core type, e.g. `Cortex-A55`.
        part: `CPU part` of `/proc/cpuinfo`.
        min_khz, max_khz: Frequency range.
        capacity: `cpu_capacity`, 1024 for the fastest kind.
        slowdown: How many times longer than on this host an inference takes at full frequency.
    """

    cpus: tuple[int, ...]
    name: str
    part: int
    min_khz: int
    max_khz: int
    capacity: int
    slowdown: float


@dataclass(frozen=True)
class ThermalBehaviour:
    """First-order heating while something runs, cooling otherwise, and what the system does about it.

    Attributes:
        ambient_c: Skin temperature of an idle phone.
        busy_c: Skin temperature after running for ever.
        time_constant_s: Time to cover 63 % of the way.
        status_c: Skin temperatures from which the thermal status is 1, 2, 3, ... (light, moderate, severe, ...).
        slowdown: Factor on latencies at status 0, 1, 2, 3, ...; the last also holds beyond.
        observable: False: the phone always reports status 0 and no temperatures, as some do.
    """

    ambient_c: float = 29.0
    busy_c: float = 46.0
    time_constant_s: float = 240.0
    status_c: tuple[float, ...] = (39.0, 42.0, 44.0, 48.0)
    slowdown: tuple[float, ...] = (1.0, 1.0, 1.25, 1.7, 2.5)
    observable: bool = True


@dataclass(frozen=True)
class PhoneProfile:
    """A kind of virtual phone.

    Attributes:
        model, brand, device, soc, abi, android, sdk, fingerprint: What `getprop` says.
        clusters: CPUs, slowest kind first.
        memory_kb: RAM.
        storage_bytes: Size of `/data`.
        noise: Standard deviation of the log of a process's slowdown.
        thermal: Heating and throttling.
        battery_level, battery_c: Percent and temperature.
        shell_v2: Whether the daemon has it (Android 7 and later).
        accelerators: Delegates that work, of `gpu` and `nnapi`; they are simulated on the CPU with `delegate_speedup`.
        delegate_speedup: Factor by which a delegate is faster.
        fixed_run_s: If set, nothing is computed: every run of the benchmark lasts this long and reports
            `fixed_latency_ms`. For exercising schedulers.
        fixed_latency_ms: See `fixed_run_s`.
        fixed_noise: Standard deviation of the log of what such runs report; `noise` is that of real ones.
    """

    model: str
    brand: str
    device: str
    soc: str
    fingerprint: str
    clusters: tuple[Cluster, ...]
    android: str = "14"
    sdk: int = 34
    abi: str = "arm64-v8a"
    memory_kb: int = 7_600_000
    storage_bytes: int = 8 * 2**30
    noise: float = 0.01
    thermal: ThermalBehaviour = ThermalBehaviour()
    battery_level: int = 87
    battery_c: float = 28.5
    shell_v2: bool = True
    accelerators: tuple[str, ...] = ("gpu",)
    delegate_speedup: float = 3.0
    fixed_run_s: float | None = None
    fixed_latency_ms: float = 10.0
    fixed_noise: float = 0.0

    @property
    def cpus(self) -> tuple[int, ...]:
        """All CPU numbers."""
        return tuple(sorted(cpu for cluster in self.clusters for cpu in cluster.cpus))

    def cluster_of(self, cpu: int) -> Cluster:
        """The cluster that a CPU belongs to."""
        return next(cluster for cluster in self.clusters if cpu in cluster.cpus)

    def with_fixed_runs(self, run_s: float, latency_ms: float = 10.0, noise: float = 0.0) -> PhoneProfile:
        """The same phone, on which every run lasts exactly this long and nothing is computed."""
        return replace(self, fixed_run_s=run_s, fixed_latency_ms=latency_ms, fixed_noise=noise)


BIG_LITTLE_PRIME = PhoneProfile(
    model="Virtual 8", brand="devicenag", device="vphone8", soc="VSoC 8",
    fingerprint="devicenag/vphone8/vphone8:14/VP1A.240105.004/1001:user/release-keys",
    clusters=(
        Cluster((0, 1, 2, 3), "Cortex-A510", 0xD46, 324_000, 1_704_000, 260, 9.0),
        Cluster((4, 5, 6, 7), "Cortex-A715", 0xD4D, 402_000, 2_367_000, 760, 3.5),
        Cluster((8,), "Cortex-X3", 0xD4E, 500_000, 2_914_000, 1024, 2.2),
    ),
)  # fmt: skip
"""Three kinds of cores, Android 14, GPU delegate."""

BIG_LITTLE = PhoneProfile(
    model="Virtual 6", brand="devicenag", device="vphone6", soc="VSoC 6", android="12", sdk=31,
    fingerprint="devicenag/vphone6/vphone6:12/VQ1A.220205.002/2001:user/release-keys",
    clusters=(
        Cluster((0, 1, 2, 3), "Cortex-A55", 0xD05, 300_000, 1_800_000, 290, 11.0),
        Cluster((4, 5, 6, 7), "Cortex-A76", 0xD0B, 700_000, 2_400_000, 1024, 3.0),
    ),
    memory_kb=5_700_000, accelerators=("gpu", "nnapi"), noise=0.015,
)  # fmt: skip
"""Two kinds of cores, Android 12, GPU and NNAPI delegates."""

ENTRY = PhoneProfile(
    model="Virtual 3", brand="devicenag", device="vphone3", soc="VSoC 3", android="10", sdk=29,
    fingerprint="devicenag/vphone3/vphone3:10/VR1A.200105.002/3001:user/release-keys",
    clusters=(Cluster((0, 1, 2, 3, 4, 5, 6, 7), "Cortex-A53", 0xD03, 400_000, 1_800_000, 1024, 14.0),),
    memory_kb=2_800_000, accelerators=(), noise=0.03,
    thermal=ThermalBehaviour(time_constant_s=120.0, observable=False),
)  # fmt: skip
"""Eight equal slow cores, Android 10, no accelerator; throttles without saying so."""

OLD = replace(
    ENTRY, model="Virtual 1", device="vphone1", soc="VSoC 1", android="6.0.1", sdk=23, shell_v2=False,
    fingerprint="devicenag/vphone1/vphone1:6.0.1/VS1A.160105.002/4001:user/release-keys",
)  # fmt: skip
"""Android 6: no shell v2, everything on one merged stream with carriage returns, no exit codes."""

PROFILES = {"virtual8": BIG_LITTLE_PRIME, "virtual6": BIG_LITTLE, "virtual3": ENTRY, "virtual1": OLD}
"""The built-in profiles by name."""
