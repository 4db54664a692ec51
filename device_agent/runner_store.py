"""Runner binaries on this host, content-addressed: `nag runner add` puts them here, phones are given them from here.

A runner is checked when it is added, not when a phone refuses it at night: it is a whole ELF executable for the ABI
that it is added for, linked for Android (or for this host), and the interpreter tool rather than its namesake.

Layout: `$DEVICENAG_HOME/runners/<sha256>/benchmark_model`, and beside it one record for each ABI, `<abi>.json`. A
folder appears complete or not at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from device_agent import elf
from device_agent.errors import WrongRequest
from profiling.records import Record

FILE_NAME = "benchmark_model"
MAX_BYTES = 256 * 2**20
# Of one read, and of a whole download.
READ_TIMEOUT_S = 30.0
DOWNLOAD_TIMEOUT_S = 900.0

ANDROID_ABIS = ("arm64-v8a", "armeabi-v7a", "x86_64", "x86", "riscv64")
# Runners that execute on this machine, for the host device and for virtual phones; these may be scripts.
HOST_ABIS = ("host", "virtual")

_THIS_MACHINE: Mapping[str, str] = {"aarch64": "arm64-v8a", "arm64": "arm64-v8a", "AMD64": "x86_64", "i686": "x86"}
_GET_ONE = "docs/runners.md says where to get a runner"
# What people download instead of a binary: how it begins, and what it is.
_MISTAKES: tuple[tuple[bytes, str], ...] = (
    (rb"\s*<(?:!doctype|html|\?xml)", "a web page, not a binary"),
    (rb"version https://git-lfs", "a Git LFS pointer; fetch the file itself"),
    (rb"PK\x03\x04", "a zip or APK; unpack it, or take the command-line build"),
    (rb"\x1f\x8b|\xfd7zXZ", "a compressed archive; unpack it first"),
    (rb"MZ", "a Windows program"),
    (rb"\xca\xfe\xba\xbe|[\xce\xcf]\xfa\xed\xfe", "a macOS program"),
)


class RunnerRejected(WrongRequest):
    """What was to be added as a runner cannot be had, is not one, or is not for this ABI."""

    code = "runner_rejected"


class RunnerMissing(WrongRequest):
    """No runner was added for the ABI, or it was changed since."""

    code = "runner_missing"


@dataclass(frozen=True)
class Runner(Record):
    """A stored runner.

    Attributes:
        sha256: Of the binary; belongs into every result's provenance.
        abi: One of `ANDROID_ABIS` or `HOST_ABIS`.
        path: The binary on this host.
        version_hint: What source and binary tell of the version; for people.
        source: Path or URL that it came from.
        size_bytes: Of the binary.
        added_at: Seconds since the epoch.
    """

    sha256: str
    abi: str
    path: str
    version_hint: str
    source: str
    size_bytes: int
    added_at: float


def default_home() -> Path:
    """Where this user's data lives: `$DEVICENAG_HOME`, else `devicenag` below XDG's data folder."""
    if home := os.environ.get("DEVICENAG_HOME"):
        return Path(home).expanduser()
    data = os.environ.get("XDG_DATA_HOME", "")
    return (Path(data) if os.path.isabs(data) else Path.home() / ".local" / "share") / "devicenag"


class RunnerStore:
    """The runners below one folder; several processes may use it at once.

    >>> store = RunnerStore()
    >>> runner = store.add("android_aarch64_benchmark_model", "arm64-v8a")
    >>> store.get("arm64-v8a") == runner
    True
    """

    def __init__(self, home: Path | None = None) -> None:
        """Open the store; its folder is made by the first `add`.

        Args:
            home: The user's data folder; None: `default_home()`.
        """
        self.folder = (home or default_home()) / "runners"

    def add(self, source: str | Path, abi: str, *, sha256: str | None = None) -> Runner:
        """Store a runner; adding one again makes it the preferred one of its ABI.

        Args:
            source: Path, or http(s) address.
            abi: What it is for.
            sha256: What its content has to be; None: anything that passes the checks.

        Raises:
            RunnerRejected: It cannot be had, or is no runner for this ABI; the message says why.
        """
        source = str(source)
        if abi not in (*ANDROID_ABIS, *HOST_ABIS):
            raise RunnerRejected(f"unknown ABI {abi!r}", hint=f"ABIs are {', '.join((*ANDROID_ABIS, *HOST_ABIS))}")
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".adding-", dir=self.folder) as scratch:
            folder = Path(scratch) / "runner"
            folder.mkdir()
            part = folder / f"{FILE_NAME}.part"
            modified = _download(source, part) if _is_url(source) else _copy(source, part)
            data = part.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            if sha256 is not None and digest != sha256.lower():
                raise RunnerRejected(
                    f"{source} has the sha256 {digest}, not {sha256.lower()}",
                    hint="it was changed where it is published, or on the way",
                )
            hint = _check(data, abi, source, modified)
            target = self.folder / digest
            runner = Runner(digest, abi, str(target / FILE_NAME), hint, source, len(data), time.time())
            part.chmod(0o755)
            part.rename(folder / FILE_NAME)
            record = folder / f"{abi}.json"
            record.write_text(json.dumps(runner.to_json(), indent=2) + "\n", encoding="utf-8")
            _install(folder, target, record.name)
        return runner

    def list(self) -> tuple[Runner, ...]:
        """Every stored runner, the latest addition first.

        Raises:
            RunnerMissing: A record is damaged.
        """
        runners = [_read(record) for record in self.folder.glob("[0-9a-f]*/*.json")]
        return tuple(sorted(runners, key=lambda runner: runner.added_at, reverse=True))

    def get(self, abi: str) -> Runner:
        """The runner for an ABI that was added last, its content verified.

        Raises:
            RunnerMissing: There is none, or it is no longer what was added.
        """
        runner = next((runner for runner in self.list() if runner.abi == abi), None)
        hint = f"`nag runner add FILE|URL --abi {abi}`; {_GET_ONE}"
        if runner is None:
            raise RunnerMissing(f"no runner for {abi} has been added", hint=hint)
        if not _is_intact(Path(runner.path).parent):
            raise RunnerMissing(f"{runner.path} is no longer what was added", hint=hint)
        return runner


def _install(folder: Path, target: Path, record: str) -> None:
    """Move a complete folder into place, or only its record where the same binary already is."""
    if not _is_intact(target):
        if target.exists():
            shutil.rmtree(target)
        try:
            folder.rename(target)
        except OSError:
            if not _is_intact(target):  # if it is, another process was faster
                raise
        else:
            return
    (folder / record).replace(target / record)


def _is_intact(folder: Path) -> bool:
    """Whether a runner's folder holds the content that it is named for."""
    binary = folder / FILE_NAME
    return binary.is_file() and hashlib.sha256(binary.read_bytes()).hexdigest() == folder.name


def _read(record: Path) -> Runner:
    try:
        runner = Runner.from_json(json.loads(record.read_text(encoding="utf-8")))
        # The store may have moved since.
        return dataclasses.replace(runner, path=str(record.parent / FILE_NAME), added_at=float(runner.added_at))
    except (ValueError, TypeError, AttributeError) as error:
        raise RunnerMissing(f"{record} is damaged ({error})", hint="delete its folder, add the runner again") from error


# Getting it -----------------------------------------------------------------------------------------------------


def _is_url(source: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source) is not None


def _copy(source: str, part: Path) -> str:
    """Copy a local file; its modification date is not worth a hint."""
    path = Path(source).expanduser()
    if not path.is_file():
        raise RunnerRejected(f"{source} is not a file", hint=_GET_ONE)
    if path.stat().st_size > MAX_BYTES:
        raise RunnerRejected(f"{source} is larger than {MAX_BYTES >> 20} MiB", hint="this is no benchmark_model")
    try:
        shutil.copyfile(path, part)
    except OSError as error:
        raise RunnerRejected(f"{source} cannot be read: {error.strerror}", hint="check its permissions") from error
    return ""


def _download(url: str, part: Path) -> str:
    """Download to a file; when the server's copy changed last, which is all the version that a nightly has."""
    if url.partition("://")[0].lower() not in ("http", "https"):
        raise RunnerRejected(f"{url} is not an http(s) address", hint="give a path or an http(s) address")
    check_network = "check the address and the network, or download it by other means and add the file"
    finish_by = time.monotonic() + DOWNLOAD_TIMEOUT_S
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "devicenag"})
        with urllib.request.urlopen(request, timeout=READ_TIMEOUT_S) as response, part.open("wb") as file:
            announced = response.headers.get("Content-Length", "")
            while chunk := response.read(1 << 18):
                file.write(chunk)
                if file.tell() > MAX_BYTES:
                    raise RunnerRejected(f"{url} is larger than {MAX_BYTES >> 20} MiB", hint=_GET_ONE)
                if time.monotonic() > finish_by:
                    raise RunnerRejected(f"{url} took over {DOWNLOAD_TIMEOUT_S:.0f} s", hint=check_network)
            if announced.isdecimal() and file.tell() != int(announced):
                raise RunnerRejected(f"{url} broke off after {file.tell()} of {announced} bytes", hint=check_network)
            return str(response.headers.get("Last-Modified", ""))
    except urllib.error.HTTPError as error:
        error.close()
        raise RunnerRejected(f"{url}: HTTP {error.code} {error.reason}", hint=check_network) from error
    except urllib.error.URLError as error:
        raise RunnerRejected(f"{url}: {error.reason}", hint=check_network) from error
    except (OSError, HTTPException, ValueError) as error:
        raise RunnerRejected(f"{url}: {error}", hint=check_network) from error


# Checking it ----------------------------------------------------------------------------------------------------


def _check(data: bytes, abi: str, source: str, modified: str) -> str:
    """Make sure that this is a runner for the ABI; what is known of its version."""
    if not data:
        raise RunnerRejected(f"{source} is empty", hint=_GET_ONE)
    if data.startswith(b"#!"):
        if abi not in HOST_ABIS:
            raise RunnerRejected(f"{source} is a script; phones need a binary", hint=_GET_ONE)
        return _version_hint(source, modified, "")
    for pattern, what in _MISTAKES:
        if re.match(pattern, data, re.IGNORECASE):
            raise RunnerRejected(f"{source} is {what}", hint=_GET_ONE)
    try:
        program = elf.parse(data)
    except elf.ElfError as error:
        raise RunnerRejected(f"{source}: {error}", hint=_GET_ONE) from error
    wanted = _THIS_MACHINE.get(platform.machine(), platform.machine()) if abi in HOST_ABIS else abi
    if program.abi != wanted:
        raise RunnerRejected(
            f"{source} is built for {program.abi}, not for {wanted}",
            hint="`nag devices` shows the phone's ABI; add the build for it, or name this one's ABI",
        )
    if not program.executable:
        raise RunnerRejected(f"{source} is a library or an object file, not a program", hint=_GET_ONE)
    if not (program.for_linux if abi in HOST_ABIS else program.for_android):
        system = "this host, but for Android" if abi in HOST_ABIS else "Android, but for Linux"
        raise RunnerRejected(
            f"{source} is not built for {system} (it asks for {program.interpreter})",
            hint="builds for both have the same processor and other names: android_aarch64_..., linux_aarch64_...",
        )
    if b"benchmark_litert_model" in data and b"Inference timings in us" not in data:
        raise RunnerRejected(
            f"{source} is LiteRT's CompiledModel tool, which has the same name and another output",
            hint="take the interpreter tool (tflite/tools/benchmark); docs/runners.md",
        )
    return _version_hint(source, modified, program.build_id)


def _version_hint(source: str, modified: str, build_id: str) -> str:
    """Release number or `nightly` from the source, date of the download, build id."""
    release = re.search(r"(?<![\w.])v?\d+\.\d+\.\d+(?:[-.]?rc\d+)?(?![\w.])", source)
    nightly = "nightly" if "nightly" in source else ""
    parts = (release[0] if release else nightly, modified, f"build {build_id[:12]}" if build_id else "")
    return ", ".join(part for part in parts if part)
