"""One invocation of a command on a virtual phone, and the table of commands."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from device_agent.virtual.processes import Killed, VirtualProcess

if TYPE_CHECKING:
    from device_agent.virtual.phone import VirtualPhone

Writer = Callable[[bytes], None]
NOT_EXECUTABLE, NOT_FOUND = 126, 127
SIGNAL_NAMES = {6: "Aborted", 9: "Killed", 11: "Segmentation fault", 15: "Terminated"}


def nothing() -> bytes:
    """Standard input that is at its end."""
    return b""


@dataclass(frozen=True)
class Streams:
    """Where a command reads and writes."""

    stdout: Writer
    stderr: Writer
    stdin: Callable[[], bytes] = nothing


@dataclass(frozen=True)
class Call:
    """A command about to run.

    Attributes:
        phone: Where.
        process: As what.
        words: Its name and arguments.
        streams: Input and output.
        cwd: Folder.
        env: Exported variables.
    """

    phone: VirtualPhone
    process: VirtualProcess
    words: tuple[str, ...]
    streams: Streams
    cwd: str = "/"
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words after the name."""
        return self.words[1:]

    def split_flags(self) -> tuple[str, tuple[str, ...]]:
        """Letters of the leading options (`-rf` gives `rf`), and the operands."""
        operands = list(self.arguments)
        letters = ""
        while operands and operands[0].startswith("-") and len(operands[0]) > 1:
            option = operands.pop(0)
            if option == "--":
                break
            letters += option[1:]
        return letters, tuple(operands)

    def path(self, text: str) -> str:
        """The absolute path of an operand."""
        return self.phone.files.normal(text, self.cwd)

    def print(self, text: str) -> None:
        """Write a line to standard output."""
        self.streams.stdout(text.encode() + b"\n")

    def complain(self, text: str) -> int:
        """Write a line to standard error; the exit code of a failure."""
        self.streams.stderr(f"{self.words[0]}: {text}\n".encode())
        return 1

    def failed(self, operand: str, error: OSError) -> int:
        """Complain as toybox does: `ls: /nowhere: No such file or directory`."""
        return self.complain(f"{operand}: {os.strerror(error.errno or 0)}")

    def spawn(self, words: tuple[str, ...], *, new_group: bool = False) -> int:
        """Run another command as a child process; its exit code."""
        child = self.phone.processes.spawn(words, self.process, new_group=new_group)
        try:
            return replace(self, process=child, words=words).execute()
        except Killed as killed:
            return 128 + killed.number
        finally:
            self.phone.processes.reap(child)

    def execute(self) -> int:
        """Run this command in its process; the exit code.

        Raises:
            Killed: A signal ended the process.
        """
        self.process.words = self.words
        self.process.check()
        name = self.words[0].removeprefix("/system/bin/")
        if "/" in name:
            code = self.phone.execute_file(self)
        elif name in COMMANDS:
            try:
                code = COMMANDS[name](self)
            except (ValueError, KeyError, IndexError) as error:
                code = self.complain(f"bad arguments ({error})")
            except OSError as error:
                code = self.complain(os.strerror(error.errno or 0))
        else:
            self.streams.stderr(f"/system/bin/sh: {name}: inaccessible or not found\n".encode())
            code = NOT_FOUND
        self.process.check()
        return code


COMMANDS: dict[str, Callable[[Call], int]] = {}


def command(*names: str) -> Callable[[Callable[[Call], int]], Callable[[Call], int]]:
    """Register a function as what these names run."""

    def register(function: Callable[[Call], int]) -> Callable[[Call], int]:
        for name in names:
            if name in COMMANDS:
                raise ValueError(f"the command {name!r} is registered already")
            COMMANDS[name] = function
        return function

    return register


class Buffer:
    """Output kept in memory: `write` is a `Writer`."""

    def __init__(self) -> None:
        self._data = io.BytesIO()

    def write(self, data: bytes) -> None:
        """Keep it."""
        self._data.write(data)

    def value(self) -> bytes:
        """All of it."""
        return self._data.getvalue()
