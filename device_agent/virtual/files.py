"""The file system of a virtual phone: a folder on this computer, system files made up on demand, and limits.

Only `/data/local/tmp` and `/sdcard` can be written, as for a phone's shell user; nothing outside the folder can be
reached. Failures are `OSError`s with the numbers that a kernel would give.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import threading
from pathlib import Path
from typing import Protocol

TEMPORARY = "/data/local/tmp"
WRITABLE = (TEMPORARY, "/sdcard")
_FOLDERS = (TEMPORARY, "/sdcard", "/system/bin", "/proc", "/sys", "/dev")


class SystemFiles(Protocol):
    """Files that are made up when read; the paths are absolute and normal."""

    def read(self, path: str, pid: int) -> bytes | None:
        """The content as process `pid` sees it; None if there is no such file."""
        ...

    def names(self, folder: str) -> frozenset[str]:
        """What is in a folder; empty if there is no such folder."""
        ...


def failure(number: int, path: str) -> OSError:
    """The `OSError` with this number."""
    return OSError(number, os.strerror(number), path)


class FileSystem:
    """See the module.

    Args:
        root: The folder; made if it is not there.
        system: The files that are made up.
        capacity_bytes: Size of the data partition.
    """

    def __init__(self, root: Path, system: SystemFiles, capacity_bytes: int) -> None:
        self.root = root
        self.capacity_bytes = capacity_bytes
        self.full = False
        self._system = system
        self._lock = threading.Lock()
        for folder in _FOLDERS:
            (root / folder[1:]).mkdir(parents=True, exist_ok=True)
        self._used_bytes = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())

    @staticmethod
    def normal(path: str, cwd: str = "/") -> str:
        """The absolute path without `.` and `..`."""
        return "/" + posixpath.normpath(posixpath.join(cwd, path)).lstrip("/")

    def real(self, path: str) -> Path:
        """Where a normal path lies on this computer."""
        return self.root / path[1:]

    @property
    def free_bytes(self) -> int:
        """What can still be written."""
        return 0 if self.full else max(0, self.capacity_bytes - self._used_bytes)

    def exists(self, path: str) -> bool:
        """Whether there is such a path."""
        return self._system.read(path, 0) is not None or self.is_folder(path) or self.real(path).exists()

    def is_folder(self, path: str) -> bool:
        """Whether it is a folder."""
        return bool(self._system.names(path)) or self.real(path).is_dir()

    def is_executable(self, path: str) -> bool:
        """Whether it may be executed: the mode says so, and it is not on `/sdcard`."""
        real = self.real(path)
        return not path.startswith("/sdcard") and real.is_file() and bool(real.stat().st_mode & stat.S_IXUSR)

    def status(self, path: str) -> os.stat_result:
        """As `os.stat`; made-up files are regular, readable, and as long as their content."""
        content = self._system.read(path, 0)
        if content is None and not self._system.names(path):
            try:
                return self.real(path).stat()
            except FileNotFoundError:
                raise failure(errno.ENOENT, path) from None
        mode = stat.S_IFDIR | 0o555 if content is None else stat.S_IFREG | 0o444
        return os.stat_result((mode, 0, 0, 1, 0, 0, len(content or b""), 0, 0, 0))

    def names(self, folder: str) -> tuple[str, ...]:
        """What is in a folder, sorted."""
        try:
            real = os.listdir(self.real(folder))
        except (FileNotFoundError, NotADirectoryError):
            real = []
            if not self.is_folder(folder):
                raise failure(errno.ENOTDIR if self.exists(folder) else errno.ENOENT, folder) from None
        return tuple(sorted({*self._system.names(folder), *real}))

    def read(self, path: str, pid: int = 0) -> bytes:
        """The content of a file."""
        if path == "/dev/null":
            return b""
        made_up = self._system.read(path, pid)
        if made_up is not None:
            return made_up
        real = self.real(path)
        if real.is_dir():
            raise failure(errno.EISDIR, path)
        if not real.exists():
            raise failure(errno.ENOENT, path)
        return real.read_bytes()

    def write(self, path: str, data: bytes, *, append: bool = False) -> None:
        """Write a file as far as there is room for it; what fitted stays, as on a real disk."""
        if path == "/dev/null":
            return
        self.check_writable(path)
        real = self.real(path)
        if real.is_dir():
            raise failure(errno.EISDIR, path)
        if not real.parent.is_dir():
            raise failure(errno.ENOENT, path)
        with self._lock:
            if not append and real.exists():
                self._used_bytes -= real.stat().st_size
                real.write_bytes(b"")
            fitting = data[: self.free_bytes]
            with real.open("ab") as file:
                file.write(fitting)
            self._used_bytes += len(fitting)
        if len(fitting) < len(data):
            raise failure(errno.ENOSPC, path)

    def make_folder(self, path: str, *, parents: bool) -> None:
        """As `mkdir`, or `mkdir -p`."""
        self.check_writable(path)
        real = self.real(path)
        if real.exists() and not (parents and real.is_dir()):
            raise failure(errno.EEXIST, path)
        if not parents and not real.parent.is_dir():
            raise failure(errno.ENOENT, path)
        real.mkdir(parents=parents, exist_ok=True)

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it."""
        self.check_writable(path)
        real = self.real(path)
        if not real.exists():
            raise failure(errno.ENOENT, path)
        for child in sorted(real.rglob("*"), reverse=True) if real.is_dir() else ():
            self._remove_one(child)
        self._remove_one(real)

    def move(self, source: str, target: str) -> None:
        """Rename a file or folder; what was there before is replaced."""
        self.check_writable(source)
        self.check_writable(target)
        if not self.real(source).exists():
            raise failure(errno.ENOENT, source)
        if not self.real(target).parent.is_dir():
            raise failure(errno.ENOENT, target)
        with self._lock:
            if self.real(target).is_file():
                self._used_bytes -= self.real(target).stat().st_size
            os.replace(self.real(source), self.real(target))

    def set_mode(self, path: str, mode: int) -> None:
        """As `chmod`."""
        self.check_writable(path)
        if not self.real(path).exists():
            raise failure(errno.ENOENT, path)
        self.real(path).chmod(mode | stat.S_IRUSR | stat.S_IWUSR)  # this computer must still be able to clean up

    def check_writable(self, path: str) -> None:
        """Raise `EACCES` if the shell user may not write there."""
        if not any(path == folder or path.startswith(f"{folder}/") for folder in WRITABLE):
            raise failure(errno.EACCES, path)

    def _remove_one(self, real: Path) -> None:
        with self._lock:
            if real.is_dir():
                real.rmdir()
            else:
                self._used_bytes -= real.stat().st_size
                real.unlink()
