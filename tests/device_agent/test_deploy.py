"""The cache on a phone: pushed once, whole or not at all, within its quota."""

from __future__ import annotations

import dataclasses
import os
import random

import pytest

from device_agent.adb_errors import DeviceLost, DeviceStorageFull
from device_agent.deploy import BINARIES, MODELS, CachedFile, PhoneCache
from device_agent.device import Artifact
from device_agent.errors import InfrastructureError
from device_agent.phone_runner import bundled_runner
from device_agent.virtual import Fault
from device_agent.virtual.command import COMMANDS
from tests.device_agent.conftest import LONG_S, Pair

KIB = 1024


def model(size: int, seed: int = 0) -> Artifact:
    """A model as far as a cache is concerned."""
    return Artifact.of(random.Random(seed).randbytes(size), f"{size} bytes, {seed}")


def opened(pair: Pair, **limits: int) -> PhoneCache:
    cache = PhoneCache(pair.adb, **limits)
    cache.open()
    return cache


def identity(pair: Pair, path: str) -> tuple[int, int]:
    """Inode and change of a file's content: the same as long as nobody has pushed it again."""
    status = pair.virtual.files.real(path).stat()
    return status.st_ino, status.st_size


def test_runner_and_model_are_pushed_once(any_phone: Pair) -> None:
    cache, artifact, runner = opened(any_phone), model(300 * KIB), bundled_runner()
    graph, binary = cache.model(artifact), cache.binary(runner)
    assert graph == f"{MODELS}/{artifact.sha256}.tflite"
    assert any_phone.virtual.files.read(graph) == artifact.data
    assert any_phone.virtual.files.is_executable(binary)
    assert not any_phone.virtual.files.is_executable(graph)
    before = identity(any_phone, graph), identity(any_phone, binary)
    assert (cache.model(artifact), cache.binary(runner)) == (graph, binary)
    later = opened(any_phone)
    assert (later.model(artifact), later.binary(runner)) == (graph, binary)
    assert (identity(any_phone, graph), identity(any_phone, binary)) == before


def test_a_file_that_was_changed_on_the_phone_is_pushed_again(phone: Pair) -> None:
    artifact = model(50 * KIB)
    path = opened(phone).model(artifact)
    phone.virtual.files.write(path, b"x" * len(artifact.data))
    assert opened(phone).model(artifact) == path
    assert phone.virtual.files.read(path) == artifact.data


def test_an_interrupted_push_leaves_nothing_that_has_a_name(phone: Pair) -> None:
    artifact = model(2000 * KIB)
    phone.virtual.inject(Fault("unplug", on="push", after=500 * KIB))
    cache = opened(phone)
    with pytest.raises(DeviceLost):
        cache.model(artifact)
    phone.lab.replug(phone.virtual)
    assert phone.virtual.files.names(MODELS) in ((), (f"{artifact.sha256}.tflite.part",))
    cache.open()
    assert phone.virtual.files.names(MODELS) == ()
    assert phone.virtual.files.read(cache.model(artifact)) == artifact.data


def test_what_was_not_used_for_longest_goes_first(phone: Pair) -> None:
    cache = opened(phone, quota_bytes=350 * KIB + bundled_runner().size_bytes)
    binary = cache.binary(bundled_runner())
    first, second, third, fourth = (model(100 * KIB, seed) for seed in range(4))
    paths = [cache.model(artifact) for artifact in (first, second, third)]
    cache.model(first)
    assert [file.path for file in cache.files()] == [binary, paths[1], paths[2], paths[0]]
    cache.model(fourth)
    assert not phone.virtual.files.exists(paths[1])
    assert all(map(phone.virtual.files.exists, (binary, paths[0], paths[2])))
    cache.model(second)  # what was evicted comes back
    assert phone.virtual.files.exists(paths[1])


def test_a_later_session_goes_by_the_phones_clock(phone: Pair) -> None:
    cache = opened(phone)
    old, new = cache.model(model(100 * KIB, 1)), cache.model(model(100 * KIB, 2))
    phone.adb.run(["touch", old], LONG_S)
    os.utime(phone.virtual.files.real(new), (1, 1))
    later = opened(phone, quota_bytes=250 * KIB)
    later.model(model(100 * KIB, 3))
    assert phone.virtual.files.exists(old)
    assert not phone.virtual.files.exists(new)


def test_the_phone_is_asked_once_what_it_has_however_much_that_becomes(
    phone: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device_agent.deploy._NAMED_AT_ONCE", 2)
    listings = 0
    real = PhoneCache._listed

    def listed(self: PhoneCache) -> list[CachedFile]:
        nonlocal listings
        listings += 1
        return real(self)

    monkeypatch.setattr(PhoneCache, "_listed", listed)
    cache = opened(phone, quota_files=10)
    binary = cache.binary(bundled_runner())
    paths = [cache.model(model(KIB, seed)) for seed in range(14)]
    assert listings == 1
    there = [path for path in paths if phone.virtual.files.exists(path)]
    assert there == paths[-len(there) :]
    assert 8 <= len(there) < 10
    assert phone.virtual.files.exists(binary)
    assert [file.path for file in cache.files()] == [binary, *there]
    cache.open()
    assert {file.path for file in cache.files()} == {binary, *there}


def test_too_little_free_space_is_said_before_anything_is_evicted(phone: Pair) -> None:
    cache = opened(phone, min_free_bytes=100 * KIB)
    kept = cache.model(model(50 * KIB, 1))
    phone.virtual.inject(Fault("storage_full"))
    with pytest.raises(DeviceStorageFull, match="no room"):
        cache.model(model(60 * KIB, 2))
    assert phone.virtual.files.exists(kept)
    phone.lab.heal(phone.virtual)
    cache.model(model(60 * KIB, 2))


def test_more_than_the_quota_never_fits(phone: Pair) -> None:
    with pytest.raises(DeviceStorageFull, match="quota"):
        opened(phone, quota_bytes=10 * KIB).model(model(20 * KIB))


def test_a_disk_that_fills_up_during_a_push(phone: Pair) -> None:
    cache = opened(phone, min_free_bytes=0)
    phone.virtual.inject(Fault("storage_full", on="push", after=100 * KIB))
    with pytest.raises(DeviceStorageFull):
        cache.model(model(900 * KIB))
    assert phone.virtual.files.names(MODELS) == ()


def test_an_artifact_has_to_be_what_its_name_says(phone: Pair) -> None:
    artifact = dataclasses.replace(model(10), sha256="0" * 64)
    with pytest.raises(InfrastructureError, match="sha256"):
        opened(phone).model(artifact)


def test_without_sha256sum_the_file_is_read_back(phone: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(COMMANDS, "sha256sum")
    artifact = model(30 * KIB)
    path = opened(phone).model(artifact)
    phone.virtual.files.write(path, b"x" * len(artifact.data))
    opened(phone).model(artifact)
    assert phone.virtual.files.read(path) == artifact.data
    assert BINARIES in phone.adb.run(["ls", "-d", BINARIES], LONG_S).stdout
