"""What is changed on a phone is put back, by this session or by the next one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent import restore
from device_agent.adb_errors import CommandFailed
from device_agent.android import PhoneSettings
from device_agent.phone_state import StateUnreadable
from device_agent.restore import JOURNAL, PhoneTaken, RestoreFailed, left_behind, prepare
from device_agent.virtual import Fault
from tests.device_agent.conftest import LONG_S, Pair

WANTED = PhoneSettings(airplane=True).switches()


def test_everything_is_set_read_back_and_put_back(phone: Pair) -> None:
    phone.virtual.awake = False
    prepared = prepare(phone.adb, WANTED)
    assert prepared.refused == ()
    assert prepared.effective == WANTED
    assert phone.virtual.awake
    assert phone.virtual.fixed_performance
    assert phone.virtual.settings["global"]["airplane_mode_on"] == "1"
    assert set(restore.restore(phone.adb)) == set(WANTED)
    assert phone.virtual.changes() == {"awake": "false"}  # as it was
    assert not phone.virtual.files.exists(JOURNAL)
    phone.virtual.awake = True


def test_nothing_to_change_means_no_journal(phone: Pair) -> None:
    assert prepare(phone.adb, {"awake": "true"}).effective == {"awake": "true"}
    assert not phone.virtual.files.exists(JOURNAL)
    assert restore.restore(phone.adb) == ()


def test_the_journal_is_there_before_anything_is_changed(phone: Pair) -> None:
    phone.adb.run(["mkdir", "-p", restore.ROOT], LONG_S)
    phone.virtual.inject(Fault("storage_full"))
    with pytest.raises(CommandFailed):
        prepare(phone.adb, WANTED)
    assert phone.virtual.changes() == {}
    phone.lab.heal(phone.virtual)
    prepare(phone.adb, WANTED)
    phone.virtual.inject(Fault("storage_full"))  # putting back needs no room
    restore.restore(phone.adb)
    assert phone.virtual.changes() == {}


def test_the_next_session_first_restores_what_the_last_one_left(phone: Pair) -> None:
    prepare(phone.adb, WANTED)
    left = {change.switch.name: change.before for change in left_behind(phone.adb)}
    assert left["global/stay_on_while_plugged_in"] == "0"
    assert left["system/accelerometer_rotation"] is None
    prepared = prepare(phone.adb, {"system/screen_brightness": "1"})
    assert prepared.effective == {"system/screen_brightness": "1"}
    assert phone.virtual.changes() == {"system.screen_brightness": "1"}
    restore.restore(phone.adb)
    assert phone.virtual.changes() == {}


def test_a_reboot_does_not_lose_the_journal(phone: Pair) -> None:
    prepare(phone.adb, WANTED)
    phone.virtual.reboot()
    phone.lab.connect(phone.virtual)
    restore.restore(phone.adb)
    assert phone.virtual.changes() == {}


def test_who_wakes_up_too_late_changes_nothing(phone: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program stands still before each of its steps in turn, and meanwhile another one begins a session."""
    replace_journal, write = restore._replace_journal, restore._write
    prepare(phone.adb, WANTED)
    for step in ("_write", "_replace_journal"):

        def overtaken(*arguments: object, step: str = step) -> object:
            monkeypatch.setattr(restore, "_replace_journal", replace_journal)
            monkeypatch.setattr(restore, "_write", write)
            prepare(phone.adb, WANTED)
            return getattr(restore, step)(*arguments)

        monkeypatch.setattr(restore, step, overtaken)
        before = left_behind(phone.adb)
        with pytest.raises(PhoneTaken):
            restore.restore(phone.adb)
        assert left_behind(phone.adb) == before, "the other one's journal is still there"
    assert phone.virtual.settings["global"]["stay_on_while_plugged_in"] == "7"
    restore.restore(phone.adb)
    assert phone.virtual.changes() == {}


def test_who_wakes_up_too_late_sets_nothing(phone: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other session has already ended: nobody would put anything back."""
    write = restore._write

    def overtaken(*arguments: object) -> object:
        monkeypatch.setattr(restore, "_write", write)
        restore.restore(phone.adb)
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(restore, "_write", overtaken)
    with pytest.raises(PhoneTaken):
        prepare(phone.adb, WANTED)
    assert phone.virtual.changes() == {}


def test_what_a_phone_refuses_is_reported_and_not_in_the_journal(old_phone: Pair) -> None:
    prepared = prepare(old_phone.adb, WANTED)
    assert prepared.refused == ("fixed_performance",)
    assert prepared.effective["fixed_performance"] == "false"
    assert "fixed_performance" not in {change.switch.name for change in left_behind(old_phone.adb)}
    restore.restore(old_phone.adb)
    assert old_phone.virtual.changes() == {}


def test_when_everything_is_refused_nothing_is_left(old_phone: Pair) -> None:
    assert prepare(old_phone.adb, {"fixed_performance": "true"}).refused == ("fixed_performance",)
    assert not old_phone.virtual.files.exists(JOURNAL)


def write_journal(phone: Pair, text: str) -> None:
    phone.adb.run(["mkdir", "-p", restore.ROOT], LONG_S)
    phone.virtual.files.write(JOURNAL, text.encode())


def test_what_cannot_be_put_back_keeps_the_journal(phone: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "_SETTLE_S", 0.0)
    change = {"switch": "global/stay_on_while_plugged_in", "before": " 3", "after": "7"}  # is read back without blank
    write_journal(phone, json.dumps({"version": 1, "changes": [change]}))
    with pytest.raises(RestoreFailed, match="stay_on_while_plugged_in") as caught:
        prepare(phone.adb, WANTED)
    assert JOURNAL in caught.value.hint
    assert phone.virtual.files.exists(JOURNAL)
    phone.virtual.settings["global"]["stay_on_while_plugged_in"] = "0"


@pytest.mark.parametrize("text", ["", "{", '{"version": 9, "changes": []}', '{"version": 1}', "[]", "7"])
def test_a_damaged_journal_is_not_guessed_at(phone: Pair, text: str) -> None:
    write_journal(phone, text)
    with pytest.raises(RestoreFailed, match="cannot be understood"):
        restore.restore(phone.adb)
    assert phone.virtual.files.exists(JOURNAL)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["version", "changes", "switch", "before"]), inner),
)


@given(values=_json)
def test_no_journal_surprises(values: object) -> None:
    try:
        changes = restore._parse(json.dumps(values))
    except (ValueError, KeyError, TypeError):
        return
    assert changes == ()


def test_an_unreadable_setting_stops_before_any_change(phone: Pair) -> None:
    phone.virtual.settings["system"]["screen_brightness"] = "java.lang.SecurityException: no"
    with pytest.raises(StateUnreadable) as caught:
        prepare(phone.adb, WANTED)
    assert caught.value.device == phone.adb.serial
    phone.virtual.settings["system"]["screen_brightness"] = "128"
    assert phone.virtual.changes() == {}
