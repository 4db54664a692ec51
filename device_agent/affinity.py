"""Which processors a block runs on: chosen from the phone's CPU clusters, and checked afterwards.

On a phone the same model takes twice as long on the small cores as on the big ones, and the scheduler moves it
between them; a latency is only repeatable on processors of one speed (tensorflow#29910).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from device_agent.errors import InfrastructureError, WrongRequest
from device_agent.phone_state import CpuCluster

Policy = Literal["big", "little", "all"]


def mask(cpus: Collection[int]) -> str:
    """`taskset`'s hexadecimal mask of these logical CPUs, e.g. `f0` for 4-7; without 0x, which toybox refuses.

    Raises:
        WrongRequest: No CPU, or a negative one.
    """
    if not cpus or min(cpus) < 0:
        raise WrongRequest(f"no mask for the processors {sorted(cpus)}", hint="name at least one logical CPU, from 0")
    return f"{sum(1 << cpu for cpu in set(cpus)):x}"


def choose(clusters: Sequence[CpuCluster], threads: int, policy: Policy = "big") -> tuple[int, ...]:
    """Logical CPUs for `threads` threads.

    The fastest cluster (`little`: the slowest) is taken whole when it is enough: its cores are alike, and a thread
    may step aside for an interrupt. When it is not, exactly as many cores of the next cluster are added as are
    needed: with one to spare, two processes of the same model would run on different mixtures of cores.

    Args:
        clusters: Online clusters, in any order.
        threads: Threads of the interpreter.
        policy: `big`, `little`, or `all` for every processor.

    Returns:
        CPUs, ascending.

    Raises:
        WrongRequest: The phone has fewer processors than threads are asked for.
    """
    total = sum(len(cluster.cpus) for cluster in clusters)
    if not 1 <= threads <= total:
        raise WrongRequest(
            f"{threads} threads on a phone with {total} processors online", hint="ask for as many threads at most"
        )
    if policy == "all":
        return tuple(sorted(cpu for cluster in clusters for cpu in cluster.cpus))
    chosen: list[int] = []
    for cluster in sorted(clusters, key=_speed, reverse=policy == "big"):
        missing = threads - len(chosen)
        # Later numbers first: CPU 0 takes most interrupts.
        chosen += sorted(cluster.cpus) if not chosen else sorted(cluster.cpus)[-missing:]
        if len(chosen) >= threads:
            break
    return tuple(sorted(chosen))


def _speed(cluster: CpuCluster) -> tuple[int, int]:
    """What orders clusters: capacity where the kernel tells it (it knows the cores' width), else the clock."""
    return (cluster.capacity or 0, cluster.max_khz)


def check(asked: Collection[int], effective: Collection[int]) -> None:
    """Make sure that a process was really confined to the CPUs that were asked for.

    Kernels drop processors that are offline from a mask without a word, so the mask is read back.

    Raises:
        InfrastructureError: It runs elsewhere; code `affinity_changed`.
    """
    if set(asked) != set(effective):
        raise InfrastructureError(
            f"the process may run on CPUs {sorted(effective)}, not on {sorted(asked)}",
            hint="a processor went offline or the system moved the process; read the clusters again",
            code="affinity_changed",
        )
