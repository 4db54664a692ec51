"""FolderLock: a run folder belongs to one process at a time; the system frees it when that process ends."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Self

from orchestrator.errors import RunFolderBusy, RunFolderError

_LOCK = "lock"


class FolderLock:
    """Held (flock on `FOLDER/lock`) from `take` to `release`; the file says by which process."""

    def __init__(self, descriptor: int) -> None:
        """Use `take` instead."""
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> Self:
        """Make the folder if it is missing, and take it.

        Raises:
            RunFolderBusy: Another process works in it.
            RunFolderError: It cannot be made or locked.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunFolderError(f"{path}: {error.strerror}", "choose a folder that can be written (--out)") from error
        try:
            _acquire(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Let go of the folder."""
        os.close(self._descriptor)


def is_busy(path: Path) -> bool:
    """Whether a process works in the run folder now."""
    try:
        descriptor = os.open(path / _LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _acquire(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise RunFolderError(
                f"{path}: cannot be locked ({error.strerror})", "use a folder on a file system with locks"
            ) from error
        owner = os.read(descriptor, 32).decode(errors="replace").strip()
        raise RunFolderBusy(
            f"another process{f' (pid {owner})' if owner else ''} is working in {path}",
            "wait for it, stop it, or use another folder (--out); look with: nag status",
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
