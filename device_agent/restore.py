"""What is changed on a phone for measuring, and undone afterwards: whatever happens to this program in between.

Before anything is changed, a journal with the values as they were is written to the phone itself. It is removed once
they are back. So the next session on that phone, from whichever computer, first restores what a killed one left.

A program that stood still for long (stopped, swapped out) may wake up in the middle of this, when the phone is already
somebody else's. So what it was about to do next is done only if the journal is still the one that it knows: the phone
itself compares them.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from device_agent.adb_errors import CommandFailed
from device_agent.adb_phone import AdbPhone
from device_agent.adb_shell import quoted
from device_agent.deploy import ROOT
from device_agent.errors import InfrastructureError
from device_agent.phone_script import Answer, run_all
from device_agent.phone_state import StateUnreadable
from device_agent.switches import SWITCHES, Switch

JOURNAL = f"{ROOT}/restore.json"
_VERSION = 1
_TIMEOUT_S = 20.0
# What cannot be read is a mode that no user turns on and no reboot keeps.
_UNREADABLE_BEFORE = "false"
_TAKEN = 93  # an exit code that no command of ours has
# $0 is the journal's path, $1 what is expected in it.
_IF_KNOWN = f'now=""; if [ -e "$0" ]; then now="$(cat "$0")"; fi; [ "$now" = "$1" ] || exit {_TAKEN}; '
_PUT = 'printf "%s" "$2" > "$0.part" && sync && mv "$0.part" "$0"'
_SETTLE_S = 3.0  # Android wakes up, and changes radios, a moment after it has answered


class RestoreFailed(InfrastructureError):
    """Something that was changed on a phone could not be put back; its journal is still there."""

    code = "restore_failed"


class PhoneTaken(InfrastructureError):
    """Somebody else has begun a session on the phone meanwhile; it is theirs to put everything back."""

    code = "phone_taken"


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
    journal = _journal(changes)
    _replace_journal(phone, "", journal)
    answers = _write(phone, journal, {change.switch: change.wanted for change in changes})
    accepted = {c.switch: c.wanted for c, answer in zip(changes, answers, strict=True) if answer.exit_code == 0}
    now = _await(phone, accepted)
    if len(accepted) < len(changes):  # a command may fail and still have changed something
        now = _read(phone, switches)
    effective = before | {switch.name: value for switch, value in accepted.items()} | now
    refused = [change for change in changes if effective[change.switch.name] != change.wanted]
    # What kept its value need not be restored; what got a third one has to be.
    kept = [change for change in refused if effective[change.switch.name] == change.before]
    if kept:
        _replace_journal(phone, journal, _journal([change for change in changes if change not in kept]))
    return Prepared(effective, tuple(change.switch.name for change in refused))


def restore(phone: AdbPhone) -> tuple[str, ...]:
    """Put everything back that the journal on the phone lists, in reverse order, and remove the journal.

    Returns:
        The names of what was put back; empty when there is no journal.

    Raises:
        RestoreFailed: Something is not as it was; the journal stays.
        DeviceError: The link failed; the journal stays.
    """
    journal = _read_journal(phone)
    changes = _changes_in(phone, journal)
    if journal is None or not changes:
        return ()
    _write(phone, journal, {change.switch: change.before for change in reversed(changes)})
    now = _await(phone, {change.switch: change.before for change in changes if not change.switch.drifts})
    stuck = [change for change in changes if now.get(change.switch.name, change.before) != change.before]
    if stuck:
        values = ", ".join(f"{change.switch.name} = {change.before}" for change in stuck)
        raise RestoreFailed(
            f"could not be put back: {values}",
            device=phone.serial,
            hint=f"set it by hand on the phone, then remove {JOURNAL} there",
        )
    _replace_journal(phone, journal, "")
    return tuple(change.switch.name for change in changes)


def left_behind(phone: AdbPhone) -> tuple[Change, ...]:
    """What the journal on the phone says was changed and not put back.

    Raises:
        RestoreFailed: The journal is damaged, or written by a later version.
    """
    return _changes_in(phone, _read_journal(phone))


def _read_journal(phone: AdbPhone) -> str | None:
    """The journal's text; None when there is none."""
    result = phone.run(["cat", JOURNAL], _TIMEOUT_S)
    if result.exit_code == 0:
        return result.stdout.strip()
    if re.search(r"No such file", result.stderr):
        return None
    raise RestoreFailed(f"{JOURNAL} cannot be read: {result.stderr.strip()[:200]}", device=phone.serial)


def _changes_in(phone: AdbPhone, journal: str | None) -> tuple[Change, ...]:
    if journal is None:
        return ()
    try:
        return _parse(journal)
    except (ValueError, KeyError, TypeError) as error:
        raise RestoreFailed(
            f"{JOURNAL} cannot be understood ({error!r}): {journal[:200]!r}",
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


def _journal(changes: Sequence[Change]) -> str:
    """The journal's text for these changes; no two are the same."""
    if not changes:
        return ""
    return json.dumps(
        {
            "version": _VERSION,
            "what": "settings that DeviceNAG changed on this phone and will put back",
            "session": secrets.token_hex(8),
            "written_at": time.time(),
            "changes": [{"switch": c.switch.name, "before": c.before, "after": c.wanted} for c in changes],
        }
    )


def _replace_journal(phone: AdbPhone, known: str, new: str) -> None:
    """Replace the journal; what is there is either the old or the new one, also after the power has gone.

    Args:
        phone: Where.
        known: What is there, as far as we know; empty: none.
        new: What is to be there; empty: none.

    Raises:
        PhoneTaken: Something else is there.
        CommandFailed: It could not be written.
    """
    script = _IF_KNOWN + 'if [ -z "$2" ]; then rm -f "$0"; exit; fi; mkdir -p "$3" && ' + _PUT
    try:
        phone.run(["sh", "-c", script, JOURNAL, known, new, ROOT], _TIMEOUT_S, check=True)
    except CommandFailed as error:
        _unless_taken(phone, [error.exit_code])
        raise


def _write(phone: AdbPhone, journal: str, values: Mapping[Switch, str | None]) -> tuple[Answer, ...]:
    """Set switches, each only if this journal is still the one on the phone.

    Raises:
        PhoneTaken: It is not.
    """
    commands = [
        ("sh", "-c", f"{_IF_KNOWN}exec {quoted(switch.writing(value))}", JOURNAL, journal)
        for switch, value in values.items()
    ]
    answers = run_all(phone, commands, _TIMEOUT_S)
    _unless_taken(phone, [answer.exit_code for answer in answers])
    return answers


def _unless_taken(phone: AdbPhone, exit_codes: Sequence[int]) -> None:
    if _TAKEN in exit_codes:
        raise PhoneTaken(
            "another session has begun on this phone", device=phone.serial, hint="this program stood still for too long"
        )


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
