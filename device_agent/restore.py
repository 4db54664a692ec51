"""What is changed on a phone for measuring, and undone afterwards: whatever happens to this program in between.

Before anything is changed, a journal with the values as they were is written to the phone itself. It is removed once
they are back. So the next session on that phone, from whichever computer, first restores what a killed one left.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from device_agent.adb_phone import AdbPhone
from device_agent.deploy import ROOT
from device_agent.errors import InfrastructureError
from device_agent.phone_script import run_all
from device_agent.phone_state import StateUnreadable
from device_agent.switches import SWITCHES, Switch

JOURNAL = f"{ROOT}/restore.json"
_VERSION = 1
_TIMEOUT_S = 20.0
# What cannot be read is a mode that no user turns on and no reboot keeps.
_UNREADABLE_BEFORE = "false"
_SETTLE_S = 3.0  # Android wakes up, and changes radios, a moment after it has answered


class RestoreFailed(InfrastructureError):
    """Something that was changed on a phone could not be put back; its journal is still there."""

    code = "restore_failed"


@dataclass(frozen=True)
class Change:
    """A switch, its value before, and the value that it was to get."""

    switch: Switch
    before: str | None
    wanted: str


@dataclass(frozen=True)
class Prepared:
    """What a phone's switches are now.

    Attributes:
        effective: Name -> value as read back, of all that were asked for.
        refused: Names of those that the phone did not accept.
    """

    effective: Mapping[str, str | None]
    refused: tuple[str, ...]


def prepare(phone: AdbPhone, wanted: Mapping[str, str]) -> Prepared:
    """Restore what an earlier session left, then set switches and read them back.

    Args:
        phone: Which.
        wanted: Names of `SWITCHES` and their values, in the order in which they are to be set.

    Raises:
        RestoreFailed: What an earlier session left could not be put back.
        InfrastructureError: The journal could not be written (then nothing was changed), or the link failed.
    """
    restore(phone)
    switches = [SWITCHES[name] for name in wanted]
    before = {switch.name: _UNREADABLE_BEFORE for switch in switches} | _read(phone, switches)
    changes = [
        Change(switch, before[switch.name], wanted[switch.name])
        for switch in switches
        if before[switch.name] != wanted[switch.name]
    ]
    if not changes:
        return Prepared(before, ())
    _write_journal(phone, changes)
    answers = run_all(phone, [change.switch.writing(change.wanted) for change in changes], _TIMEOUT_S)
    accepted = {c.switch: c.wanted for c, answer in zip(changes, answers, strict=True) if answer.exit_code == 0}
    now = _await(phone, accepted)
    if len(accepted) < len(changes):  # a command may fail and still have changed something
        now = _read(phone, switches)
    effective = before | {switch.name: value for switch, value in accepted.items()} | now
    refused = [change for change in changes if effective[change.switch.name] != change.wanted]
    # What kept its value need not be restored; what got a third one has to be.
    kept = [change for change in refused if effective[change.switch.name] == change.before]
    if kept:
        _write_journal(phone, [change for change in changes if change not in kept])
    return Prepared(effective, tuple(change.switch.name for change in refused))


def restore(phone: AdbPhone) -> tuple[str, ...]:
    """Put everything back that the journal on the phone lists, in reverse order, and remove the journal.

    Returns:
        The names of what was put back; empty when there is no journal.

    Raises:
        RestoreFailed: Something is not as it was; the journal stays.
        DeviceError: The link failed; the journal stays.
    """
    changes = left_behind(phone)
    if not changes:
        return ()
    run_all(phone, [change.switch.writing(change.before) for change in reversed(changes)], _TIMEOUT_S)
    now = _await(phone, {change.switch: change.before for change in changes if not change.switch.drifts})
    stuck = [change for change in changes if now.get(change.switch.name, change.before) != change.before]
    if stuck:
        values = ", ".join(f"{change.switch.name} = {change.before}" for change in stuck)
        raise RestoreFailed(
            f"could not be put back: {values}",
            device=phone.serial,
            hint=f"set it by hand on the phone, then remove {JOURNAL} there",
        )
    _write_journal(phone, ())
    return tuple(change.switch.name for change in changes)


def left_behind(phone: AdbPhone) -> tuple[Change, ...]:
    """What the journal on the phone says was changed and not put back.

    Raises:
        RestoreFailed: The journal is damaged, or written by a later version.
    """
    result = phone.run(["cat", JOURNAL], _TIMEOUT_S)
    if result.exit_code != 0:
        if re.search(r"No such file", result.stderr):
            return ()
        raise RestoreFailed(f"{JOURNAL} cannot be read: {result.stderr.strip()[:200]}", device=phone.serial)
    try:
        return _parse(result.stdout)
    except (ValueError, KeyError, TypeError) as error:
        raise RestoreFailed(
            f"{JOURNAL} cannot be understood ({error!r}): {result.stdout[:200]!r}",
            device=phone.serial,
            hint="it lists what to set by hand; then remove it on the phone, or use the version that wrote it",
        ) from error


def _parse(text: str) -> tuple[Change, ...]:
    journal = json.loads(text)
    if journal["version"] != _VERSION:
        raise ValueError(f"version {journal['version']}")
    changes = []
    for item in journal["changes"]:
        before, after = item["before"], item["after"]
        if not (before is None or isinstance(before, str)) or not isinstance(after, str):
            raise TypeError("a value is not text")
        changes.append(Change(SWITCHES[item["switch"]], before, after))
    return tuple(changes)


def _write_journal(phone: AdbPhone, changes: Sequence[Change]) -> None:
    """Replace the journal; what is there is either the old or the new one, also after the power has gone."""
    if not changes:
        phone.run(["rm", "-f", JOURNAL], _TIMEOUT_S, check=True)
        return
    journal = {
        "version": _VERSION,
        "what": "settings that DeviceNAG changed on this phone and will put back",
        "written_at": time.time(),
        "changes": [{"switch": c.switch.name, "before": c.before, "after": c.wanted} for c in changes],
    }
    script = 'mkdir -p "$3" && printf "%s" "$2" > "$1.part" && sync && mv "$1.part" "$1"'
    phone.run(["sh", "-c", script, "sh", JOURNAL, json.dumps(journal), ROOT], _TIMEOUT_S, check=True)


def _read(phone: AdbPhone, switches: Iterable[Switch]) -> dict[str, str | None]:
    """Name -> value of those that can be read."""
    readable = [switch for switch in switches if switch.reading()]
    answers = run_all(phone, [switch.reading() for switch in readable], _TIMEOUT_S)
    try:
        return {switch.name: switch.value(answer) for switch, answer in zip(readable, answers, strict=True)}
    except StateUnreadable as error:
        error.device = phone.serial
        raise


def _await(phone: AdbPhone, wanted: Mapping[Switch, str | None]) -> dict[str, str | None]:
    """Read until the switches have these values, or for as long as Android may take; what was read last."""
    give_up = time.monotonic() + _SETTLE_S
    while True:
        now = _read(phone, wanted)
        right = all(now.get(switch.name, value) == value for switch, value in wanted.items())
        if right or time.monotonic() > give_up:
            return now
