"""Processes of ours that were left on a phone: found by the folder that runners are deployed in, and killed.

A host that dies, or a link that breaks, leaves the runner running on the phone; it would disturb every later
measurement. Nothing else runs from that folder, so whatever does is ours.
"""

from __future__ import annotations

import re

from device_agent.adb_phone import AdbPhone
from device_agent.errors import InfrastructureError

TIMEOUT_S = 10.0
_ATTEMPTS = 20  # each is a trip to the phone: some seconds for processes to die


def find(phone: AdbPhone, folder: str) -> tuple[int, ...]:
    """Numbers of the processes whose command line names something below the folder.

    Args:
        phone: Where.
        folder: Absolute path without characters that mean something in a regular expression.
    """
    # The bracket keeps the pattern from matching the command lines that hold the pattern itself.
    pattern = f"{folder[:-1]}[{folder[-1]}]/"
    script = 'exec grep -Hls "$0" /proc/[0-9]*/cmdline'
    found = phone.run(["sh", "-c", script, pattern], TIMEOUT_S).stdout
    return tuple(sorted(int(pid) for pid in set(re.findall(r"^/proc/([0-9]+)/cmdline", found, re.MULTILINE))))


def sweep(phone: AdbPhone, folder: str) -> int:
    """Kill them all, and see that they are gone.

    Returns:
        How many there were.

    Raises:
        InfrastructureError: One cannot be killed, as when its driver hangs; code `orphan_left`.
    """
    killed: set[int] = set()
    for _ in range(_ATTEMPTS):
        pids = find(phone, folder)
        if not pids:
            return len(killed)
        killed.update(pids)
        phone.run(["kill", "-9", *map(str, pids)], TIMEOUT_S)
    raise InfrastructureError(
        f"process {pids[0]} of an earlier measurement cannot be killed",
        device=phone.serial,
        hint="reboot the phone: a driver holds the process",
        code="orphan_left",
    )
