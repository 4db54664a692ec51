"""Several commands in one shell session of a phone: one trip over the link instead of many."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from device_agent.adb_phone import AdbPhone
from device_agent.adb_shell import quoted
from device_agent.errors import InfrastructureError


@dataclass(frozen=True)
class Answer:
    """How one of the commands ended: its exit code, and what it printed on both streams."""

    exit_code: int
    text: str


def run_all(phone: AdbPhone, commands: Sequence[Sequence[str]], timeout_s: float) -> tuple[Answer, ...]:
    """Run the commands one after the other, whatever each exit code is.

    Args:
        phone: Where.
        commands: Their words; each word is quoted.
        timeout_s: Hard deadline of all of them together.

    Returns:
        One answer per command, in order.

    Raises:
        InfrastructureError: The output is not whole, or the link failed; see `AdbPhone.run`.
        CommandTimeout: The deadline passed; what ran was killed.
    """
    if not commands:
        return ()
    mark = secrets.token_hex(8)
    # The subshell keeps an `exit` in one command from ending the others.
    script = "; ".join(f"({quoted(words)}) 2>&1; code=$?; echo; echo {mark} $code" for words in commands)
    result = phone.run(["sh", "-c", script], timeout_s)
    pieces = re.split(rf"\n{mark} ([0-9]{{1,3}})\n", result.stdout)
    if len(pieces) != 2 * len(commands) + 1:
        raise InfrastructureError(
            f"{len(pieces) // 2} of {len(commands)} commands answered",
            device=phone.serial,
            command=result.command[-1][:200],
            stderr_tail=result.stderr[-2000:],
            code="state_unreadable",
        )
    return tuple(Answer(int(code), text) for text, code in zip(pieces[::2], pieces[1::2], strict=False))
