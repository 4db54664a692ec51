"""What is sent to a phone's shell to run one command, and what comes back.

Every script first says who it is, so that its process group can be killed by number when a deadline passes: adbd makes
each shell a session leader, hence its own process number is its group's. Every word is quoted; a word cannot inject.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from device_agent.adb_wire import SHELL_EXIT, SHELL_STDERR, SHELL_STDOUT

TEMPORARY = "/data/local/tmp"


@dataclass(frozen=True)
class CommandResult:
    """How a command on a phone ended.

    Attributes:
        command: Its words.
        exit_code: 128 + n when signal n ended it.
        stdout, stderr: What it printed, undecodable bytes replaced.
        duration_s: From the call to the exit code, the adb link included.
    """

    command: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    duration_s: float = 0.0


def quoted(words: Sequence[str]) -> str:
    """The words as one line of shell.

    Raises:
        ValueError: There are none, or one holds a NUL, which no argument can.
    """
    if not words:
        raise ValueError("an empty command")
    if any("\0" in word for word in words):
        raise ValueError("a word of a command holds a NUL byte")
    return " ".join(shlex.quote(word) for word in words)


def _prelude(cwd: str | None, env: Mapping[str, str]) -> str:
    exports = "".join(f"export {_name(name)}={shlex.quote(value)}; " for name, value in env.items())
    change = f"cd {shlex.quote(cwd)} || exit 1; " if cwd else ""
    return exports + change


def _name(name: str) -> str:
    if not name.isascii() or not name.isidentifier():
        raise ValueError(f"{name!r} is no name of an environment variable")
    return name


def v2_script(
    words: Sequence[str], nonce: str, *, cwd: str | None = None, env: Mapping[str, str] = {}, limit_s: int | None = None
) -> str:
    """The script for shell v2, whose protocol has exit codes and a separate standard error.

    Args:
        words: The command.
        nonce: What the first line of the output begins with; the shell's process number follows it.
        cwd: Folder to run in.
        env: Variables to set.
        limit_s: Have the phone itself kill the command after so many seconds: the belt for a lost link or host.
    """
    belt = f"timeout -s KILL {limit_s:d} " if limit_s is not None else ""
    return f"echo {nonce} $$; {_prelude(cwd, env)}exec {belt}{quoted(words)}"


def v1_script(words: Sequence[str], nonce: str, *, cwd: str | None = None, env: Mapping[str, str] = {}) -> str:
    """The script for the old shell service, which merges everything into one stream and has no exit codes.

    Standard error goes through a temporary file; the nonce marks the parts of the output.
    """
    errors = f"{TEMPORARY}/.{nonce}.err"
    return (
        f"echo {nonce} $$; ({_prelude(cwd, env)}{quoted(words)}) 2>{errors}; code=$?; "
        f"echo; echo {nonce} $code; cat {errors}; rm -f {errors}; echo; echo {nonce} end"
    )


class Transcript:
    """Collects a session's output: who it is, what it printed, how it ended. Fed by `feed`, whatever the protocol."""

    def __init__(self, nonce: str) -> None:
        self.nonce = nonce
        self._mark = nonce.encode() + b" "
        self._streams = {SHELL_STDOUT: bytearray(), SHELL_STDERR: bytearray()}
        self._code: int | None = None

    @property
    def size(self) -> int:
        """Bytes received."""
        return sum(len(data) for data in self._streams.values())

    def feed(self, identifier: int, payload: bytes) -> None:
        """Take one packet of shell v2 (of the old service: everything is standard output)."""
        if identifier == SHELL_EXIT:
            self._code = payload[0] if payload else 255
        elif identifier in self._streams:
            self._streams[identifier] += payload

    @property
    def group(self) -> int | None:
        """The process group of what runs on the phone, once its first line has arrived."""
        line, newline, _ = bytes(self._streams[SHELL_STDOUT][:256]).partition(b"\n")
        digits = line.removeprefix(self._mark).strip()
        return int(digits) if newline and line.startswith(self._mark) and digits.isdigit() else None

    def v2(self) -> tuple[int, str, str] | None:
        """Exit code, standard output and error of a shell v2 session; None if it did not finish."""
        output = bytes(self._streams[SHELL_STDOUT])
        if self.group is not None:
            output = output.partition(b"\n")[2]
        return None if self._code is None else (self._code, _text(output), _text(self._streams[SHELL_STDERR]))

    def v1(self) -> tuple[int, str, str] | None:
        """Exit code, standard output and error of an old session; None if a mark is missing."""
        data = bytes(self._streams[SHELL_STDOUT])
        if data.partition(b"\n")[0].endswith(b"\r"):  # old shells run on a terminal, which adds carriage returns
            data = data.replace(b"\r\n", b"\n")
        parts = (b"\n" + data).split(b"\n" + self._mark)
        if len(parts) != 4 or parts[3].strip() != b"end":
            return None
        output = parts[1].partition(b"\n")[2]
        code, _, errors = parts[2].partition(b"\n")
        return (int(code), _text(output), _text(errors)) if code.isdigit() else None


def _text(data: bytes | bytearray) -> str:
    return data.decode(errors="replace")
