"""PhoneCache: runners and models on a phone, each pushed once and named by its content.

Layout, below `ROOT`: `bin/<sha256>/benchmark_model` and `models/<sha256>.tflite`. A file is pushed as `<name>.part`,
its sha256 is taken on the phone, and only then does it get its name: what has a name is whole. Each session verifies a
file before its first use. When the quota or the free space runs out, what was not used for longest goes first.

A collection pushes tens of thousands of models: the phone is asked once in a session which files it has, and their
number has a bound as well, so that no deployment costs more than the ones before it.
"""

from __future__ import annotations

import hashlib
import logging
import posixpath
import re
import time
from dataclasses import dataclass
from pathlib import Path

from device_agent.adb_errors import CommandFailed, DeviceStorageFull, TransferFailed
from device_agent.adb_phone import AdbPhone
from device_agent.adb_shell import TEMPORARY
from device_agent.device import Artifact
from device_agent.errors import InfrastructureError
from device_agent.runner_store import FILE_NAME, Runner

ROOT = f"{TEMPORARY}/devicenag"
BINARIES = f"{ROOT}/bin"
MODELS = f"{ROOT}/models"

QUOTA_BYTES = 2 * 2**30
QUOTA_FILES = 1000
MIN_FREE_BYTES = 500 * 2**20  # Android itself misbehaves on a full data partition

_ANSWER_TIMEOUT_S = 10.0
_NAMED_AT_ONCE = 200  # files in one command: adb takes at most 64 KiB
_SLOWEST_BYTES_PER_S = 500_000  # of links and of storage; USB 2 does sixty times that
_PUSH_SLACK_S = 30.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedFile:
    """A file of the cache: its path, its size, and when it was last used by the phone's clock (s since the epoch)."""

    path: str
    size_bytes: int
    used_at: int


class PhoneCache:
    """The cache on one phone; used by one session at a time.

    Args:
        phone: Where.
        quota_bytes: What all files together may take.
        quota_files: How many there may be; when there are more, a tenth of them goes.
        min_free_bytes: What must stay free on the phone's data partition.
    """

    def __init__(
        self,
        phone: AdbPhone,
        *,
        quota_bytes: int = QUOTA_BYTES,
        quota_files: int = QUOTA_FILES,
        min_free_bytes: int = MIN_FREE_BYTES,
    ) -> None:
        self._phone = phone
        self._quota_bytes = quota_bytes
        self._quota_files = quota_files
        self._min_free_bytes = min_free_bytes
        self._used: dict[str, None] = {}  # verified in this session, the latest use last
        self._there: dict[str, CachedFile] | None = None  # what the phone has; None: it was not asked in this session

    def open(self) -> None:
        """Make the folders, remove what interrupted pushes left, and take nothing for granted any more.

        Raises:
            CommandFailed: The folders cannot be made.
        """
        self._used.clear()
        self._there = None
        script = 'mkdir -p "$1" "$2" && rm -f "$1"/*/*.part "$2"/*.part'
        self._shell(script, BINARIES, MODELS, check=True)

    def binary(self, runner: Runner) -> str:
        """Path on the phone of a runner; pushed if it is not there. Raises as `model` does."""
        path = f"{BINARIES}/{runner.sha256}/{FILE_NAME}"
        return self._ensure(path, runner.sha256, Path(runner.path), runner.size_bytes, 0o755)

    def model(self, artifact: Artifact) -> str:
        """Path on the phone of a model; pushed if it is not there.

        Raises:
            DeviceStorageFull: There is no room, even without everything that is not in use.
            TransferFailed: What arrived is not what was sent.
            InfrastructureError: The artifact is not what its name says, or the link failed; see `AdbPhone.push`.
        """
        path = f"{MODELS}/{artifact.sha256}.tflite"
        if path not in self._used and hashlib.sha256(artifact.data).hexdigest() != artifact.sha256:
            raise InfrastructureError(
                f"{artifact.label}: the bytes do not have the sha256 they are named by", device=self._phone.serial
            )
        return self._ensure(path, artifact.sha256, artifact.data, len(artifact.data), 0o644)

    def files(self) -> tuple[CachedFile, ...]:
        """What is in the cache, the least recently used first; the phone is asked if it was not in this session."""
        if self._there is None:
            self._there = {file.path: file for file in self._listed()}
        order = {path: place for place, path in enumerate(self._used)}
        # The order of this session's uses is known better than by a clock that has seconds and may jump.
        return tuple(sorted(self._there.values(), key=lambda file: (order.get(file.path, -1), file.used_at, file.path)))

    def _listed(self) -> list[CachedFile]:
        """What the phone says it has."""
        listing = self._shell('stat -c "%Y %s %n" "$1"/*/* "$2"/*', BINARIES, MODELS)
        rows = re.findall(rf"^([0-9]+) ([0-9]+) ({re.escape(ROOT)}/[\w./-]+)$", listing, re.MULTILINE)
        return [CachedFile(path, int(size), int(used_at)) for used_at, size, path in rows]

    def _ensure(self, path: str, sha256: str, source: bytes | Path, size_bytes: int, mode: int) -> str:
        if path not in self._used and not self._is_intact(path, sha256):
            self._make_room(size_bytes, keep=path)
            self._push(path, sha256, source, size_bytes, mode)
        self._used.pop(path, None)
        self._used[path] = None
        return path

    def _is_intact(self, path: str, sha256: str) -> bool:
        """Whether the file is there with the content that it is named for; if so it counts as used."""
        if self._phone.stat(path) is None:
            return False
        if (found := self._digest(path)) == sha256:
            self._shell('touch "$1"', path)
            return True
        _logger.warning("%s: %s holds something else (sha256 %s); pushed again", self._phone.serial, path, found[:12])
        return False

    def _push(self, path: str, sha256: str, source: bytes | Path, size_bytes: int, mode: int) -> None:
        part = f"{path}.part"
        self._shell('mkdir -p "$1"', posixpath.dirname(path), check=True)
        try:
            self._phone.push(source, part, deadline_s=_seconds_for(size_bytes), mode=mode)
            if (found := self._digest(part)) != sha256:
                raise TransferFailed(
                    f"what arrived has the sha256 {found[:12]}, not {sha256[:12]}",
                    device=self._phone.serial, command=f"push {path}", hint="another cable or port",
                )  # fmt: skip
            self._shell(f'chmod {mode:o} "$1" && mv "$1" "$2"', part, path, check=True)
            if self._there is not None:
                self._there[path] = CachedFile(path, size_bytes, int(time.time()))
        except (TransferFailed, DeviceStorageFull, CommandFailed):
            self._shell('rm -f "$1"', part)
            raise

    def _digest(self, path: str) -> str:
        """The sha256 of a file on the phone, taken there; before Android 8 there is no command for it."""
        result = self._phone.run(["sha256sum", path], _seconds_for(self._size_of(path)))
        if match := re.match(r"([0-9a-f]{64})\b", result.stdout):
            return match[1]
        return hashlib.sha256(self._phone.read(path, deadline_s=_seconds_for(self._size_of(path)))).hexdigest()

    def _size_of(self, path: str) -> int:
        status = self._phone.stat(path)
        return status.size if status is not None else 0

    def _make_room(self, size_bytes: int, keep: str) -> None:
        """Evict until a file of this size fits.

        Raises:
            DeviceStorageFull: Nothing that may go would make enough room; then nothing is evicted.
        """
        files = self.files()
        old_bytes = sum(file.size_bytes for file in files if file.path == keep)  # is about to be replaced
        excess = sum(file.size_bytes for file in files) - old_bytes + size_bytes - self._quota_bytes
        free_bytes = self._phone.free_bytes(ROOT)
        if free_bytes is not None:
            excess = max(excess, size_bytes + self._min_free_bytes - free_bytes - old_bytes)
        surplus = len(files) - self._quota_files * 9 // 10 if len(files) >= self._quota_files else 0
        evicted: list[CachedFile] = []
        in_use = self._in_use()
        for file in files:
            if sum(item.size_bytes for item in evicted) >= excess and len(evicted) >= surplus:
                break
            if file.path not in (keep, *in_use):
                evicted.append(file)
        if sum(item.size_bytes for item in evicted) < excess:
            free = "unknown" if free_bytes is None else f"{free_bytes / 2**20:.0f} MiB"
            raise DeviceStorageFull(
                f"no room for {size_bytes / 2**20:.1f} MiB (free: {free}; to be kept free: "
                f"{self._min_free_bytes / 2**20:.0f} MiB; quota: {self._quota_bytes / 2**20:.0f} MiB)",
                device=self._phone.serial, command=f"push {keep}", hint="delete something on the phone",
            )  # fmt: skip
        self._remove([file.path for file in evicted])

    def _remove(self, paths: list[str]) -> None:
        for start in range(0, len(paths), _NAMED_AT_ONCE):
            some = paths[start : start + _NAMED_AT_ONCE]
            self._shell('rm -f "$@"', *some, check=True)
            for path in some:
                self._used.pop(path, None)
                if self._there is not None:
                    self._there.pop(path, None)

    def _in_use(self) -> tuple[str, ...]:
        """The runners of this session: every measurement needs one."""
        return tuple(path for path in self._used if path.startswith(f"{BINARIES}/"))

    def _shell(self, script: str, *arguments: str, check: bool = False) -> str:
        return self._phone.run(["sh", "-c", script, "sh", *arguments], _ANSWER_TIMEOUT_S, check=check).stdout


def _seconds_for(size_bytes: int) -> float:
    """Longest time for moving or reading so much."""
    return _PUSH_SLACK_S + size_bytes / _SLOWEST_BYTES_PER_S
