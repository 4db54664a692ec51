"""Masks for threads on big and little cores."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.affinity import Policy, check, choose, mask
from device_agent.errors import InfrastructureError, WrongRequest
from device_agent.phone_state import CpuCluster

LITTLE = CpuCluster((0, 1, 2, 3), 1_800_000, 160)
MIDDLE = CpuCluster((4, 5, 6), 2_400_000, 800)
PRIME = CpuCluster((7,), 2_900_000, 1024)
THREE = (LITTLE, MIDDLE, PRIME)
TWO = (CpuCluster((0, 1, 2, 3), 1_900_000), CpuCluster((4, 5, 6, 7), 2_400_000))  # old kernel: no capacities


def test_masks_are_hexadecimal_without_prefix() -> None:
    assert [mask(cpus) for cpus in ((0,), (7,), (4, 5, 6, 7), (0, 1, 2, 3), (3, 3), (64,))] == [
        *("1", "80", "f0", "f", "8", "10000000000000000"),
    ]


@pytest.mark.parametrize("cpus", [(), (-1,), (2, -3)])
def test_a_mask_needs_processors(cpus: tuple[int, ...]) -> None:
    with pytest.raises(WrongRequest, match="no mask"):
        mask(cpus)


@pytest.mark.parametrize(
    ("clusters", "threads", "policy", "cpus"),
    [
        (TWO, 1, "big", (4, 5, 6, 7)),
        (TWO, 4, "big", (4, 5, 6, 7)),
        (TWO, 5, "big", (3, 4, 5, 6, 7)),
        (TWO, 2, "little", (0, 1, 2, 3)),
        (THREE, 1, "big", (7,)),
        (THREE, 2, "big", (6, 7)),  # not (4, 5, 6, 7): two threads could miss the prime core
        (THREE, 4, "big", (4, 5, 6, 7)),
        (THREE, 6, "big", (2, 3, 4, 5, 6, 7)),
        (THREE, 5, "little", (0, 1, 2, 3, 6)),
        (THREE, 1, "all", (0, 1, 2, 3, 4, 5, 6, 7)),
        # The kernel knows that a wide core is faster at a lower clock.
        ((CpuCluster((0, 1), 3_000_000, 500), CpuCluster((2, 3), 2_000_000, 1024)), 1, "big", (2, 3)),
    ],
)
def test_the_fastest_processors_are_chosen(
    clusters: tuple[CpuCluster, ...], threads: int, policy: Policy, cpus: tuple[int, ...]
) -> None:
    assert choose(clusters, threads, policy) == cpus
    assert choose(clusters[::-1], threads, policy) == cpus


@pytest.mark.parametrize("threads", [0, 9])
def test_more_threads_than_processors_are_refused(threads: int) -> None:
    with pytest.raises(WrongRequest, match="8 processors"):
        choose(THREE, threads)


@given(st.integers(1, 8), st.sampled_from(["big", "little", "all"]))
def test_the_choice_always_has_room_and_never_an_idle_core_of_another_speed(threads: int, policy: Policy) -> None:
    cpus = choose(THREE, threads, policy)
    assert len(cpus) >= threads
    assert cpus == tuple(sorted(set(cpus)))
    if policy != "all" and sum(bool(set(cpus) & set(cluster.cpus)) for cluster in THREE) > 1:
        assert len(cpus) == threads


def test_what_the_kernel_made_of_a_mask_is_compared() -> None:
    check((4, 5), (5, 4))
    with pytest.raises(InfrastructureError, match=r"\[4\], not on \[4, 5\]") as caught:
        check((4, 5), (4,))
    assert caught.value.failure().code == "affinity_changed"
