"""Errors of the device agent.

DeviceError                  has device, command, hint
├── ModelError               this model on this runtime: never retried, becomes knowledge of the campaign
│   ├── ModelRefused         the runtime cannot load it (unsupported operator, corrupt file)
│   ├── ModelCrashed         the process died (segfault, abort)
│   └── ModelOutOfMemory     the process was killed for memory
├── WrongRequest             what was asked for cannot be done as asked: a file, flag or setting of the user's
├── CommandTimeout           a hard deadline passed; what ran was killed
├── TableMiss                a table device has no row for this architecture
└── InfrastructureError      nothing to do with the model: retried elsewhere or later
    ├── RunnerBroken         the runner printed nonsense or could not start
    │                        the rest concerns phones and lives in `device_agent.adb_errors`:
    ├── AdbServerLost        the adb server does not answer; no phone is to blame
    ├── DeviceNotFound       the server knows no such phone
    ├── DeviceOffline        the server sees it but cannot talk to it
    ├── DeviceUnauthorized   the phone has not accepted this computer's key; a person has to act
    ├── DeviceNoPermissions  the user may not open its USB device; a person has to act
    ├── DeviceLost           the link broke during a call
    ├── DeviceUnresponsive   it accepts calls but does not answer, not even a kill
    ├── TransferStalled      a push or pull stood still or missed its deadline
    ├── TransferFailed       the phone refused a push or pull for some other reason
    ├── DeviceStorageFull    no room for what was pushed
    ├── DevicePathDenied     the shell user may not write or read there
    └── CommandFailed        a command that has to succeed did not
"""

from __future__ import annotations

from typing import ClassVar

from profiling.records import Failure, FailureKind


class DeviceError(Exception):
    """What went wrong on which device, doing what, and what to do about it.

    `code` is the class's own, unless the raiser knows a more precise one (`unsupported_operator` of `ModelRefused`).
    """

    kind: ClassVar[FailureKind] = "infrastructure"
    code: str = "device_error"

    def __init__(
        self,
        message: str,
        *,
        device: str = "",
        command: str = "",
        hint: str = "",
        stderr_tail: str = "",
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.device = device
        self.command = command
        self.hint = hint
        self.stderr_tail = stderr_tail

    def __str__(self) -> str:
        where = f"[{self.device}] " if self.device else ""
        doing = f" (while: {self.command})" if self.command else ""
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{where}{self.message}{doing}{hint}"

    def failure(self) -> Failure:
        """The record that goes into the store."""
        return Failure(self.kind, self.code, self.message, self.stderr_tail)


class ModelError(DeviceError):
    """The model itself does not work here; retrying is useless."""

    kind = "model"
    code = "model_error"


class ModelRefused(ModelError):
    """The runtime could not load or prepare the model."""

    code = "model_refused"


class ModelCrashed(ModelError):
    """The process that ran the model died."""

    code = "crash"


class ModelOutOfMemory(ModelError):
    """The process that ran the model was killed for memory."""

    code = "out_of_memory"


class WrongRequest(DeviceError):
    """The request itself is wrong: retrying it unchanged is useless, on any device."""

    kind = "user"
    code = "wrong_request"


class CommandTimeout(DeviceError):
    """A hard deadline passed; the process was killed."""

    kind = "timeout"
    code = "deadline"


class TableMiss(DeviceError):
    """The table has no (valid) latency for this architecture."""

    kind = "model"
    code = "not_in_table"


class InfrastructureError(DeviceError):
    """The device, its link or its runner is at fault, not the model."""

    code = "infrastructure"


class RunnerBroken(InfrastructureError):
    """The runner could not start, or printed something that cannot be a result."""

    code = "runner_broken"
