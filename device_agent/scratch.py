"""ScratchFolder: a temporary folder that is removed even if its owner is killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

_PREFIX = "devicenag-"
_LOCK = "lock"
_SETTLED_S = 60.0  # a folder this young may not have its lock yet


class ScratchFolder:
    """A folder of one's own, locked while its owner lives; making one removes those whose owners have gone."""

    def __init__(self) -> None:
        """Raises OSError when no temporary folder can be made."""
        _remove_abandoned(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock: int | None = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR)
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # the kernel drops it when this process ends, however it ends

    def close(self) -> None:
        """Remove the folder; idempotent."""
        shutil.rmtree(self.path, ignore_errors=True)
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders that nobody has locked. What vanishes or belongs to others is left alone."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            if folder.stat().st_mtime > time.time() - _SETTLED_S:
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
