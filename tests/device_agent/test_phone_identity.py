"""A phone is the same phone in every session, and its serial stays here."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from device_agent.phone_identity import SALT_FILE, describe, salt, serial_hash
from device_agent.phone_runner import bundled_runner, runner_abis, runner_for
from device_agent.phone_state import StateUnreadable
from device_agent.runner_store import RunnerMissing, RunnerStore
from tests.device_agent.conftest import Pair


def test_the_salt_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    with ThreadPoolExecutor(8) as pool:
        salts = set(pool.map(lambda _: salt(home), range(32)))
    assert len(salts) == 1
    assert len(salts.pop()) == 32
    assert stat.S_IMODE((home / SALT_FILE).stat().st_mode) == 0o600
    assert [file.name for file in home.iterdir()] == [SALT_FILE]


def test_hashes_depend_on_serial_and_user(tmp_path: Path) -> None:
    ours = serial_hash("R58M1", tmp_path / "a")
    assert ours == serial_hash("R58M1", tmp_path / "a")
    assert len({ours, serial_hash("R58M2", tmp_path / "a"), serial_hash("R58M1", tmp_path / "b")}) == 3


def test_the_phones_own_serial_counts_not_its_address(
    phone: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert describe(phone.adb, home=tmp_path).serial_hash == serial_hash(phone.virtual.name, tmp_path)
    monkeypatch.setattr(phone.virtual, "name", "unknown")  # phones that were never given one
    assert describe(phone.adb, home=tmp_path).serial_hash == serial_hash(phone.adb.serial, tmp_path)


def test_a_new_build_is_a_new_epoch(phone: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = describe(phone.adb, home=tmp_path)
    updated = phone.virtual.properties() | {
        "ro.build.fingerprint": "devicenag/vphone8/vphone8:15/X/1:user/release-keys"
    }
    monkeypatch.setattr(phone.virtual, "properties", lambda: updated)
    after = describe(phone.adb, home=tmp_path)
    assert after.epoch != before.epoch
    assert after.serial_hash == before.serial_hash


def test_a_phone_that_does_not_say_what_it_is(phone: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phone.virtual, "properties", dict)
    with pytest.raises(StateUnreadable) as caught:
        describe(phone.adb, home=tmp_path)
    assert caught.value.device == phone.adb.serial


class TestRunners:
    def test_virtual_phones_have_one(self, phone: Pair, tmp_path: Path) -> None:
        assert runner_abis(phone.adb) == ("virtual", "arm64-v8a")
        assert runner_for(phone.adb, RunnerStore(tmp_path)) == bundled_runner()

    def test_an_added_one_is_preferred(self, phone: Pair, tmp_path: Path) -> None:
        script = tmp_path / "mine.py"
        script.write_text("#!/usr/bin/env python3\n")
        store = RunnerStore(tmp_path)
        added = store.add(script, "virtual")
        assert runner_for(phone.adb, store) == added

    def test_real_phones_need_one(self, phone: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = phone.virtual.properties() | {
            "ro.devicenag.virtual": "",
            "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a",
        }
        monkeypatch.setattr(phone.virtual, "properties", lambda: real)
        assert runner_abis(phone.adb) == ("arm64-v8a", "armeabi-v7a")
        with pytest.raises(RunnerMissing, match="arm64-v8a"):
            runner_for(phone.adb, RunnerStore(tmp_path))
