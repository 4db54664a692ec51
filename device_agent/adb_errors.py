"""Errors of phones behind adb; the tree is drawn in `device_agent.errors`.

Each carries the serial (`device`) and the command. `server_refused` turns what the adb server says into one of them.
"""

from __future__ import annotations

import re

from device_agent.errors import DeviceError, InfrastructureError

UDEV_HINT = (
    'add a udev rule (apt install android-sdk-platform-tools-common, or a rule with MODE="0660", GROUP="plugdev"), '
    "put the user into the group plugdev, then plug the phone in again"
)


class AdbServerLost(InfrastructureError):
    """The adb server does not answer, or went away during a call. No phone is to blame."""

    code = "adb_server_lost"


class DeviceNotFound(InfrastructureError):
    """The server knows no such phone."""

    code = "device_not_found"


class DeviceOffline(InfrastructureError):
    """The server sees the phone but cannot talk to it."""

    code = "device_offline"


class DeviceUnauthorized(InfrastructureError):
    """The phone has not accepted this computer's key. A person has to act; retrying is useless."""

    code = "device_unauthorized"


class DeviceNoPermissions(InfrastructureError):
    """The user may not open the phone's USB device. A person has to act; retrying is useless."""

    code = "device_no_permissions"


class DeviceLost(InfrastructureError):
    """The link to the phone broke during a call (unplugged, rebooted, daemon restarted)."""

    code = "device_lost"


class DeviceUnresponsive(InfrastructureError):
    """The phone accepts calls but does not answer, not even to have a process killed."""

    code = "device_unresponsive"


class TransferStalled(InfrastructureError):
    """A push or pull made no progress for too long, or missed its deadline."""

    code = "transfer_stalled"


class TransferFailed(InfrastructureError):
    """The phone refused a push or pull for a reason other than space or permission."""

    code = "transfer_failed"


class DeviceStorageFull(InfrastructureError):
    """There is no room on the phone for what was pushed."""

    code = "device_storage_full"


class DevicePathDenied(InfrastructureError):
    """The phone does not let the shell user write or read there."""

    code = "device_path_denied"


class CommandFailed(InfrastructureError):
    """A command that has to succeed (`check=True`) ended with another exit code than 0."""

    code = "command_failed"

    def __init__(self, message: str, *, exit_code: int, device: str = "", command: str = "", stderr: str = "") -> None:
        super().__init__(message, device=device, command=command, stderr_tail=stderr[-2000:])
        self.exit_code = exit_code


_REFUSALS: tuple[tuple[str, type[DeviceError], str], ...] = (
    ("unauthorized", DeviceUnauthorized, "unlock the phone and accept this computer's key (tick 'always allow')"),
    ("still authorizing", DeviceUnauthorized, "unlock the phone and accept this computer's key (tick 'always allow')"),
    ("no permissions", DeviceNoPermissions, UDEV_HINT),
    ("insufficient permissions", DeviceNoPermissions, UDEV_HINT),
    ("offline", DeviceOffline, "plug the phone in again, or reboot it"),
    ("still connecting", DeviceOffline, "wait a few seconds for the connection"),
    ("not found", DeviceNotFound, "`nag devices` lists what the adb server sees"),
    ("no device", DeviceNotFound, "`nag devices` lists what the adb server sees"),
    ("unknown host service", DeviceNotFound, "`nag devices` lists what the adb server sees"),
)


def server_refused(message: str, *, device: str, command: str) -> DeviceError:
    """The typed error for what the adb server answered with FAIL.

    Args:
        message: What came after FAIL, e.g. `device offline`.
        device: Serial.
        command: What was being done.

    Returns:
        The error, to be raised; `DeviceLost` when the message says only that the phone closed the stream.
    """
    first = message.strip().splitlines()[0] if message.strip() else "closed"
    for pattern, error, hint in _REFUSALS:
        if pattern in message:
            return error(first, device=device, command=command, hint=hint)
    return DeviceLost(f"the phone refused the service ({first})", device=device, command=command)


def push_refused(reason: str, *, device: str, remote: str, free_bytes: int | None, listing: str) -> DeviceError:
    """The typed error for a push that the phone answered with FAIL, or that left too few bytes there.

    Args:
        reason: The phone's own words; may be empty.
        device: Serial.
        remote: Path on the phone.
        free_bytes: Free space of the file system that holds it, None if it could not be read.
        listing: `ls -ld` of its folder, for the message.
    """
    command = f"push {remote}"
    if re.search(r"no space|quota exceeded|ENOSPC", reason, re.IGNORECASE) or (
        free_bytes is not None and free_bytes < 64 * 1024
    ):
        free = "unknown" if free_bytes is None else f"{free_bytes / 2**20:.1f} MiB"
        return DeviceStorageFull(
            f"no room for {remote} (free: {free})", device=device, command=command, hint="evict or delete files there"
        )
    if re.search(r"permission denied|read-only|not permitted|EACCES", reason, re.IGNORECASE):
        return DevicePathDenied(
            f"{remote} cannot be written: {reason} ({listing or 'its folder cannot be listed'})",
            device=device,
            command=command,
            hint="on most phones /data/local/tmp is the folder that the shell user may write to and execute from",
        )
    said = reason or "without a reason"
    return TransferFailed(f"the phone refused {remote}: {said} ({listing})", device=device, command=command)
