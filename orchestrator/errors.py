"""Errors of the orchestrator.

NagError                     message and hint; `exit_code` is what the command line returns
├── ConfigError              wrong usage or configuration: every wrong field at once        (2)
├── DataError                a user's table, data set or file cannot be used                (2)
├── CheckpointError          a checkpoint is missing, corrupt or of another space           (2)
├── IllegalArchitecture      a string or vector that is not in the space                    (2)
├── RunFolderBusy            another process owns the run folder                            (2)
├── RunFolderError           the run folder cannot be read, written or continued            (2)
├── DevicesMissing           the devices that a campaign needs are not there                (3)
├── DataPartial              some measurements that are needed could not be had             (3)
├── ExportError              nothing can be exported: nothing feasible, or a broken artifact (1)
└── ObjectiveFailed          accuracy of one candidate could not be had (kept as a failure of the candidate)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class NagError(Exception):
    """A problem that the user can act on: says what, where and what to do."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


@dataclass(frozen=True)
class Problem:
    """One wrong field of a configuration."""

    field: str
    got: object
    allowed: str


class ConfigError(NagError):
    """Wrong configuration; `problems` lists every wrong field with the value got and what is allowed."""

    def __init__(self, source: str, problems: Sequence[Problem], hint: str = "") -> None:
        self.source = source
        self.problems = tuple(problems)
        lines = [f"  {p.field}: got {p.got!r}; allowed: {p.allowed}" for p in self.problems]
        count = len(self.problems)
        super().__init__(f"{source}: {count} wrong field{'s' if count != 1 else ''}\n" + "\n".join(lines), hint)


class DataError(NagError):
    """A table, data set or file of the user's cannot be used."""


class CheckpointError(NagError):
    """A checkpoint is missing, corrupt, or belongs to another space."""


class IllegalArchitecture(NagError):
    """A string or a vector of choices that is no architecture of the space."""


class RunFolderBusy(NagError):
    """Another process is working in this run folder."""


class RunFolderError(NagError):
    """The run folder cannot be read, written or continued."""


class ExportError(NagError):
    """A run has nothing to export, or what would be exported does not work."""

    exit_code = 1


class DevicesMissing(NagError):
    """The devices that a campaign needs are not there."""

    exit_code = 3


class DataPartial(NagError):
    """Some of the measurements that are needed could not be had; the others are kept."""

    exit_code = 3


class ObjectiveFailed(NagError):
    """The accuracy of one candidate could not be had.

    `retry` says whether trying again may help (a full disk may; an architecture missing from a table never does).
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "", *, code: str = "objective_failed", retry: bool = False) -> None:
        super().__init__(message, hint)
        self.code = code
        self.retry = retry
