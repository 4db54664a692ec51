"""One phone behind an adb server: commands and files, each with a hard deadline and typed errors."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from device_agent.adb_errors import (
    AdbServerLost,
    CommandFailed,
    DeviceLost,
    DevicePathDenied,
    DeviceUnresponsive,
    TransferFailed,
    TransferStalled,
    push_refused,
    server_refused,
)
from device_agent.adb_shell import CommandResult, Transcript, quoted, v1_script, v2_script
from device_agent.adb_wire import (
    SHELL_CLOSE_STDIN,
    SHELL_STDOUT,
    SYNC_CHUNK_BYTES,
    Deadline,
    ProtocolError,
    RemoteFile,
    ServerRefusal,
    Stream,
    shell_packet,
    shell_packets,
    sync_content,
    sync_request,
    sync_stat,
    sync_status,
)
from device_agent.errors import CommandTimeout, DeviceError, RunnerBroken

if TYPE_CHECKING:
    from device_agent.adb import AdbClient

ANSWER_TIMEOUT_S = 5.0  # for what a phone answers at once
KILL_TIMEOUT_S = 5.0  # to have a process group killed, and to see it end
BELT_SLACK_S = 3  # the phone's own limit comes so much after the host's
MAX_OUTPUT_BYTES = 32 * 2**20  # of one command


@dataclass(frozen=True)
class _Traits:
    """What is asked of a phone once. Some versions of its `timeout` report a signal as 127 + n: then it is not used."""

    features: frozenset[str]
    exact_timeout: bool


class AdbPhone:
    """One phone. Cheap to make; holds no connection between calls; thread-safe.

    Args:
        client: The server that sees it.
        serial: As the server lists it.
        transport_id: See `AdbClient.phone`.
    """

    def __init__(self, client: AdbClient, serial: str, transport_id: int | None = None) -> None:
        if not serial or not serial.isprintable():
            raise ValueError(f"{serial!r} is no serial")
        self.client = client
        self.serial = serial
        self._transport_id = transport_id
        self._traits: _Traits | None = None

    def state(self) -> str:
        """Its state as the server sees it, `absent` included."""
        for device in self.client.devices():
            if device.serial == self.serial and self._transport_id in (None, device.transport_id):
                return device.state
        return "absent"

    def features(self) -> frozenset[str]:
        """What its daemon can do, e.g. `shell_v2`, `stat_v2`."""
        return self._known().features

    def run(
        self,
        command: Sequence[str],
        timeout_s: float,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = False,
    ) -> CommandResult:
        """Run one command and wait for its end.

        Args:
            command: Its words; each is quoted. For a script: `["sh", "-c", SCRIPT, "sh", ARGUMENT, ...]`.
            timeout_s: Hard deadline. When it passes, the command's process group is killed on the phone, which takes
                milliseconds, and at most `KILL_TIMEOUT_S` if the phone does not answer.
            cwd: Folder on the phone to run in.
            env: Variables to set.
            check: Raise when the exit code is not 0.

        Raises:
            CommandTimeout: The deadline passed and the command was killed.
            DeviceUnresponsive: The deadline passed and the phone did not answer the kill either.
            DeviceLost, DeviceOffline, DeviceUnauthorized, DeviceNotFound, AdbServerLost: By what happened to the link.
            RunnerBroken: It printed more than `MAX_OUTPUT_BYTES`.
            CommandFailed: With `check`, the exit code was not 0.
        """
        words = tuple(command)
        shown = quoted(words)
        started = time.monotonic()
        deadline = Deadline(timeout_s)
        transcript = Transcript(secrets.token_hex(8))
        nonce, variables = transcript.nonce, dict(env or {})
        with self._typed(shown, timeout_s):
            traits = self._known(deadline)
            with_v2 = "shell_v2" in traits.features
            if with_v2:
                limit_s = math.ceil(timeout_s) + BELT_SLACK_S if traits.exact_timeout else None
                service = f"shell,v2,raw:{v2_script(words, nonce, cwd=cwd, env=variables, limit_s=limit_s)}"
            else:
                service = f"shell:{v1_script(words, nonce, cwd=cwd, env=variables)}"
            with self._open(service, deadline) as stream:
                try:
                    self._listen(stream, transcript, shown, with_v2)
                except TimeoutError as error:
                    self._kill(transcript.group, stream, shown)
                    raise self._overdue(shown, timeout_s) from error
                except RunnerBroken:
                    self._kill(transcript.group, stream, shown)
                    raise
        if (ended := transcript.v2() if with_v2 else transcript.v1()) is None:
            raise self._broken(shown, EOFError("the output ended before its end mark"))
        code, stdout, stderr = ended
        if check and code != 0:
            raise CommandFailed(
                f"exit code {code}: {(stderr or stdout).strip()[-300:]}",
                exit_code=code, device=self.serial, command=shown, stderr=stderr,
            )  # fmt: skip
        return CommandResult(words, code, stdout, stderr, time.monotonic() - started)

    def push(
        self,
        source: bytes | Path,
        remote: str,
        *,
        deadline_s: float,
        mode: int = 0o644,
        stall_s: float = 15.0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Write a file on the phone; its folder must exist.

        An interrupted push may leave a partial file: push to another name, verify, and rename.

        Args:
            source: The bytes, or the local file that holds them.
            remote: Absolute path on the phone.
            deadline_s: Hard deadline of the whole transfer.
            mode: Permissions.
            stall_s: Longest time without progress.
            on_progress: Called with (bytes sent, bytes in all) after each chunk.

        Raises:
            DeviceStorageFull, DevicePathDenied, TransferFailed: The phone refused.
            TransferStalled: The deadline or `stall_s` passed.
            DeviceLost, DeviceOffline, DeviceUnauthorized, DeviceNotFound, AdbServerLost: By what happened to the link.
        """
        data = source if isinstance(source, bytes) else source.read_bytes()
        shown = f"push {remote}"
        reason: str | None = None
        with self._typed(shown, deadline_s):
            try:
                with self._open("sync:", Deadline(deadline_s)) as stream:
                    reason = self._send_file(stream, data, remote, mode, stall_s, on_progress)
                    if reason is None:
                        arrived = sync_stat(stream, remote)
                        if arrived is None or arrived.size != len(data) & 0xFFFFFFFF:
                            reason = f"{arrived.size if arrived else 0} of {len(data)} bytes arrived"
            except TimeoutError as error:
                raise TransferStalled(
                    f"{len(data)} bytes missed their deadline of {deadline_s:g} s, or stood still for {stall_s:g} s",
                    device=self.serial, command=shown, hint="another cable, port or hub; fewer phones on one hub",
                ) from error  # fmt: skip
        if reason is not None:
            folder = str(PurePosixPath(remote).parent)
            listing = self.run(["ls", "-ld", folder], 10).stdout.strip()
            raise push_refused(
                reason, device=self.serial, remote=remote, free_bytes=self.free_bytes(folder), listing=listing
            )

    def read(self, remote: str, *, deadline_s: float) -> bytes:
        """The content of a file on the phone.

        Raises:
            DevicePathDenied, TransferFailed: The phone refused.
            TransferStalled: The deadline passed.
        """
        shown = f"pull {remote}"
        with self._typed(shown, deadline_s):
            try:
                with self._open("sync:", Deadline(deadline_s)) as stream:
                    try:
                        return b"".join(sync_content(stream, remote))
                    except ServerRefusal as refusal:
                        kind = DevicePathDenied if "denied" in str(refusal) else TransferFailed
                        raise kind(f"{remote}: {refusal}", device=self.serial, command=shown) from refusal
            except TimeoutError as error:
                raise TransferStalled(
                    f"reading missed its deadline of {deadline_s:g} s", device=self.serial, command=shown
                ) from error

    def pull(self, remote: str, local: Path, *, deadline_s: float) -> None:
        """Copy a file from the phone; `local` is written only when all of it has arrived. Raises as `read` does."""
        local.write_bytes(self.read(remote, deadline_s=deadline_s))

    def stat(self, remote: str, *, timeout_s: float = 10.0) -> RemoteFile | None:
        """Status of a path; None when it does not exist (or may not be seen).

        Raises:
            DeviceUnresponsive: The phone did not answer within the time.
        """
        with self._typed(f"stat {remote}", timeout_s), self._open("sync:", Deadline(timeout_s)) as stream:
            return sync_stat(stream, remote)

    def free_bytes(self, folder: str) -> int | None:
        """Free space of the file system that holds the folder; None if `df` prints nothing that can be read."""
        lines = self.run(["df", "-k", folder], 10).stdout.splitlines()
        if len(lines) < 2:
            return None
        columns = dict(zip(lines[0].replace("Mounted on", "Mounted").split(), lines[-1].split(), strict=False))
        free = columns.get("Available", columns.get("Free", ""))
        return int(free) * 1024 if free.isdigit() else None

    def _send_file(
        self,
        stream: Stream,
        data: bytes,
        remote: str,
        mode: int,
        stall_s: float,
        on_progress: Callable[[int, int], None] | None,
    ) -> str | None:
        """Send one file; the phone's reason if it refused."""
        stream.send(sync_request(b"SEND", f"{remote},{0o100000 | mode}".encode()))
        for start in range(0, len(data), SYNC_CHUNK_BYTES):
            if stream.readable():  # the phone has refused already and only throws away what still comes
                return sync_status(stream)
            chunk = data[start : start + SYNC_CHUNK_BYTES]
            stream.send(sync_request(b"DATA", chunk), stall_s)
            if on_progress is not None:
                on_progress(start + len(chunk), len(data))
        stream.send(b"DONE" + int(time.time()).to_bytes(4, "little"))
        return sync_status(stream)

    def _listen(self, stream: Stream, transcript: Transcript, shown: str, with_v2: bool) -> None:
        """Hear a session out."""
        if with_v2:
            stream.send(shell_packet(SHELL_CLOSE_STDIN))
            packets = shell_packets(stream)
        else:
            packets = ((SHELL_STDOUT, chunk) for chunk in iter(lambda: stream.recv(64 * 1024), b""))
        for identifier, payload in packets:
            transcript.feed(identifier, payload)
            if transcript.size > MAX_OUTPUT_BYTES:
                raise RunnerBroken(f"printed more than {MAX_OUTPUT_BYTES} bytes", device=self.serial, command=shown)

    def _kill(self, group: int | None, stream: Stream, shown: str) -> None:
        """Kill a process group, then see its session end.

        Raises:
            DeviceUnresponsive: It could not be done, or the session does not end.
        """
        deadline = Deadline(KILL_TIMEOUT_S)
        if group is None:
            raise self._silent(shown, "it never said its process number, so that nothing can be killed")
        try:
            with self._open(f"shell:kill -9 -- -{group:d}", deadline) as killer:
                while killer.recv(4096):
                    pass
            stream.deadline = deadline
            while stream.recv(64 * 1024):
                pass
        except TimeoutError as error:
            raise self._silent(shown, f"killing what runs there took longer than {KILL_TIMEOUT_S:g} s") from error

    def _known(self, deadline: Deadline | None = None) -> _Traits:
        if self._traits is None:
            limit = deadline or Deadline(ANSWER_TIMEOUT_S)
            with self._typed("ask for its features", limit.left_s):
                with self._open("host:features", limit) as stream:
                    features = frozenset(stream.read_string_block().split(","))
                with self._open("shell:timeout -s KILL 5 sh -c 'kill -9 $$'; echo $?", limit) as stream:
                    output = b"".join(iter(lambda: stream.recv(4096), b""))
            self._traits = _Traits(features, output.split()[-1:] == [b"137"])
        return self._traits

    def _open(self, service: str, deadline: Deadline) -> Stream:
        """A stream to a service of the phone. The serial goes last and has its length before it: it cannot inject."""
        stream = self.client.stream(deadline)
        try:
            target = f"-id:{self._transport_id}" if self._transport_id is not None else f":{self.serial}"
            stream.send_command(f"host:transport{target}")
            stream.check_okay()
            stream.send_command(service)
            stream.check_okay()
        except BaseException:
            stream.close()
            raise
        return stream

    @contextmanager
    def _typed(self, shown: str, timeout_s: float) -> Iterator[None]:
        """Turn what happens on the wire into the typed errors."""
        try:
            yield
        except ServerRefusal as refusal:
            raise server_refused(str(refusal), device=self.serial, command=shown) from refusal
        except TimeoutError as error:
            raise self._silent(shown, f"nothing came within {timeout_s:g} s") from error
        except (EOFError, ProtocolError, OSError) as error:
            raise self._broken(shown, error) from error

    def _broken(self, shown: str, error: Exception) -> DeviceError:
        """The link broke: is the server gone, or only the phone?"""
        try:
            self.client.server_version()
        except AdbServerLost as lost:
            return AdbServerLost(lost.message, device=self.serial, command=shown, hint=lost.hint)
        return DeviceLost(
            f"the link broke ({error})", device=self.serial, command=shown, hint="cable, hub, or the phone rebooted"
        )

    def _overdue(self, shown: str, timeout_s: float) -> CommandTimeout:
        return CommandTimeout(
            f"took longer than {timeout_s:g} s and was killed", device=self.serial, command=shown,
            hint="raise the deadline, or look at what the phone is doing",
        )  # fmt: skip

    def _silent(self, shown: str, detail: str) -> DeviceUnresponsive:
        return DeviceUnresponsive(
            f"the phone does not answer: {detail}",
            device=self.serial,
            command=shown,
            hint="unlock it, plug it in again, or reboot it",
        )
