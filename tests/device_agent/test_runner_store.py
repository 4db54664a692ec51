"""The store of runner binaries: what it takes, what it refuses, and that it keeps it."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent import elf, runner_store
from device_agent.runner_store import RunnerMissing, RunnerRejected, RunnerStore, default_home

BIONIC, GLIBC = "/system/bin/linker64", "/lib/ld-linux-aarch64.so.1"


def make_elf(
    bits: int = 64, machine: int = 183, interpreter: str = BIONIC, kind: int = 3, entry: int = 0x1000, body: bytes = b""
) -> bytes:
    """A minimal ELF file: header, program headers for everything, loader and build id, then the content."""
    wide = bits == 64
    header_size, segment_size = (64, 56) if wide else (52, 32)
    loader = interpreter.encode() + b"\0" if interpreter else b""
    note = struct.pack("<III4s4s", 4, 4, 3, b"GNU\0", b"\xab\xcd\x12\x34")
    at = header_size + 3 * segment_size
    total = at + len(loader) + len(note) + len(body)
    segments = [(1, 0, total), (3 if loader else 0, at, len(loader)), (4, at + len(loader), len(note))]
    table = b"".join(
        struct.pack("<IIQQQQQQ", what, 0, offset, 0, 0, size, size, 1)
        if wide
        else struct.pack("<IIIIIIII", what, offset, 0, 0, size, size, 0, 1)
        for what, offset, size in segments
    )
    ident = elf.MAGIC + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    fields = (kind, machine, 1, entry, header_size, 0, 0, header_size, segment_size, 3, 64, 0, 0)
    return ident + struct.pack("<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH", *fields) + table + loader + note + body


ARM64 = make_elf()
HOST_MACHINE = {"x86_64": 62, "aarch64": 183}.get(os.uname().machine)


@pytest.fixture
def store(tmp_path: Path) -> RunnerStore:
    return RunnerStore(tmp_path / "home")


def file(tmp_path: Path, data: bytes, name: str = "benchmark_model") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_an_added_runner_is_kept_by_its_content(store: RunnerStore, tmp_path: Path) -> None:
    source = file(tmp_path, ARM64)
    runner = store.add(source, "arm64-v8a")
    source.unlink()
    assert runner.sha256 == hashlib.sha256(ARM64).hexdigest()
    assert Path(runner.path).read_bytes() == ARM64
    assert Path(runner.path).parent.name == runner.sha256
    assert os.access(runner.path, os.X_OK)
    assert (runner.version_hint, runner.source, runner.size_bytes) == ("build abcd1234", str(source), len(ARM64))
    assert store.get("arm64-v8a") == runner
    assert RunnerStore(store.folder.parent).list() == (runner,)
    assert not list(store.folder.glob(".*")), "scratch folders are left"


def test_the_latest_addition_for_an_abi_is_used(store: RunnerStore, tmp_path: Path) -> None:
    old = store.add(file(tmp_path, ARM64, "old"), "arm64-v8a")
    new = store.add(file(tmp_path, make_elf(body=b"new"), "new"), "arm64-v8a")
    small = store.add(file(tmp_path, make_elf(32, 40, "/system/bin/linker"), "small"), "armeabi-v7a")
    assert store.get("arm64-v8a") == new
    assert store.get("armeabi-v7a") == small
    again = store.add(file(tmp_path, ARM64, "again"), "arm64-v8a")
    assert store.get("arm64-v8a") == again
    assert again.sha256 == old.sha256
    assert [runner.sha256 for runner in store.list()] == [again.sha256, small.sha256, new.sha256]


def test_a_missing_runner_is_told_how_to_get_one(store: RunnerStore) -> None:
    assert store.list() == ()
    with pytest.raises(RunnerMissing, match=r"nag runner add FILE\|URL --abi x86_64"):
        store.get("x86_64")


def test_a_damaged_runner_is_found_and_healed_by_adding_it_again(store: RunnerStore, tmp_path: Path) -> None:
    runner = store.add(file(tmp_path, ARM64), "arm64-v8a")
    Path(runner.path).write_bytes(ARM64[:-1])
    with pytest.raises(RunnerMissing, match="no longer what was added"):
        store.get("arm64-v8a")
    store.add(file(tmp_path, ARM64), "arm64-v8a")
    assert store.get("arm64-v8a").sha256 == runner.sha256


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": 1', '{"added_at": "x"}'])
def test_a_damaged_record_is_an_error_with_its_path(store: RunnerStore, tmp_path: Path, text: str) -> None:
    runner = store.add(file(tmp_path, ARM64), "arm64-v8a")
    (Path(runner.path).parent / "arm64-v8a.json").write_text(text)
    with pytest.raises(RunnerMissing, match=r"arm64-v8a\.json is damaged"):
        store.list()


def test_a_moved_store_still_works(store: RunnerStore, tmp_path: Path) -> None:
    store.add(file(tmp_path, ARM64), "arm64-v8a")
    store.folder.parent.rename(tmp_path / "elsewhere")
    runner = RunnerStore(tmp_path / "elsewhere").get("arm64-v8a")
    assert Path(runner.path).is_relative_to(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("data", "abi", "why"),
    [
        (b"", "arm64-v8a", "is empty"),
        (b"\n<!DOCTYPE html><html>404</html>", "arm64-v8a", "web page"),
        (b"<HTML>", "arm64-v8a", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "arm64-v8a", "Git LFS pointer"),
        (b"PK\x03\x04rest", "arm64-v8a", "zip or APK"),
        (b"\x1f\x8b\x08rest", "arm64-v8a", "compressed archive"),
        (b"MZ\x90\x00", "x86_64", "Windows program"),
        (b"\xcf\xfa\xed\xfe", "x86_64", "macOS program"),
        (b"hello", "arm64-v8a", "not an ELF file"),
        (b"#!/bin/sh\n", "arm64-v8a", "is a script"),
        (ARM64[:-1], "arm64-v8a", "cut off"),
        (ARM64[:40], "arm64-v8a", "ends within its headers"),
        (ARM64[:4], "arm64-v8a", "unknown class"),
        (ARM64, "armeabi-v7a", "built for arm64-v8a, not for armeabi-v7a"),
        (make_elf(machine=22), "arm64-v8a", "built for machine 22"),
        (make_elf(kind=1), "arm64-v8a", "library or an object file"),
        (make_elf(entry=0), "arm64-v8a", "library or an object file"),
        (make_elf(interpreter=GLIBC), "arm64-v8a", "not built for Android, but for Linux"),
        (make_elf(body=b"..benchmark_litert_model.."), "arm64-v8a", "CompiledModel tool"),
        (ARM64, "arm64", "unknown ABI"),
        (make_elf(machine=HOST_MACHINE or 0), "host", "not built for this host, but for Android"),
    ],
)
def test_what_is_no_runner_is_refused(store: RunnerStore, tmp_path: Path, data: bytes, abi: str, why: str) -> None:
    with pytest.raises(RunnerRejected, match=why) as caught:
        store.add(file(tmp_path, data), abi)
    assert caught.value.hint
    assert caught.value.kind == "user"
    assert store.list() == ()


@pytest.mark.parametrize(
    ("data", "abi"),
    [
        (ARM64, "arm64-v8a"),
        (make_elf(interpreter=""), "arm64-v8a"),  # static
        (make_elf(interpreter="/apex/com.android.runtime/bin/linker64"), "arm64-v8a"),
        (make_elf(kind=2), "arm64-v8a"),
        (make_elf(32, 40, "/system/bin/linker"), "armeabi-v7a"),
        (make_elf(64, 62), "x86_64"),
        (make_elf(32, 3, "/system/bin/linker"), "x86"),
        (make_elf(64, 243), "riscv64"),
        (make_elf(body=b"benchmark_litert_model Inference timings in us: "), "arm64-v8a"),
        (b"#!/usr/bin/env python3\n", "virtual"),
    ],
)
def test_runners_of_all_kinds_are_taken(store: RunnerStore, tmp_path: Path, data: bytes, abi: str) -> None:
    assert store.add(file(tmp_path, data), abi).abi == abi


def test_a_real_program_of_this_host_is_a_host_runner_and_a_script_serves_twice(
    store: RunnerStore, tmp_path: Path
) -> None:
    assert store.add(os.path.realpath(sys.executable), "host").abi == "host"
    script = file(tmp_path, b"#!/bin/sh\n")
    host, virtual = store.add(script, "host"), store.add(script, "virtual")
    assert store.get("host") == host
    assert store.get("virtual") == virtual


def test_a_pinned_sha256_has_to_match(store: RunnerStore, tmp_path: Path) -> None:
    source = file(tmp_path, ARM64)
    with pytest.raises(RunnerRejected, match="has the sha256"):
        store.add(source, "arm64-v8a", sha256="0" * 64)
    assert store.add(source, "arm64-v8a", sha256=hashlib.sha256(ARM64).hexdigest().upper())


@pytest.mark.parametrize(
    "source", ["missing", ".", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://[::1", "http://"]
)
def test_sources_that_do_not_exist(store: RunnerStore, source: str) -> None:
    with pytest.raises(RunnerRejected):
        store.add(source, "arm64-v8a")


def test_the_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DEVICENAG_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # invalid by XDG's rules, so it is ignored
    assert default_home() == tmp_path / ".local" / "share" / "devicenag"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert default_home() == tmp_path / "data" / "devicenag"
    monkeypatch.setenv("DEVICENAG_HOME", str(tmp_path / "mine"))
    assert default_home() == tmp_path / "mine"
    assert RunnerStore().folder == tmp_path / "mine" / "runners"


class Site(http.server.BaseHTTPRequestHandler):
    """Serves a runner, and the ways in which a download goes wrong."""

    def do_GET(self) -> None:
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/nightly/benchmark_model")
            self.end_headers()
            return
        page = b"<html>please log in</html>" if self.path.startswith("/login") else ARM64
        self.send_response(200)
        if not self.path.startswith("/unannounced"):
            self.send_header("Content-Length", str(len(page) + (9 if self.path.startswith("/broken") else 0)))
        self.send_header("Last-Modified", "Fri, 20 Nov 2026 07:00:00 GMT")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/nightly/benchmark_model", "nightly, Fri, 20 Nov 2026 07:00:00 GMT, build abcd1234"),
        ("/binaries/2.2.0/benchmark_model", "2.2.0, Fri, 20 Nov 2026 07:00:00 GMT, build abcd1234"),
        ("/moved", "Fri, 20 Nov 2026 07:00:00 GMT, build abcd1234"),
        ("/unannounced", "Fri, 20 Nov 2026 07:00:00 GMT, build abcd1234"),
    ],
)
def test_downloads(store: RunnerStore, site: str, path: str, hint: str) -> None:
    runner = store.add(site + path, "arm64-v8a")
    assert (runner.version_hint, runner.source) == (hint, site + path)
    record = json.loads((Path(runner.path).parent / "arm64-v8a.json").read_text())
    assert record["sha256"] == hashlib.sha256(ARM64).hexdigest()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/missing", "HTTP 404"),
        ("/login", "web page"),
        ("/broken", f"broke off after {len(ARM64)} of {len(ARM64) + 9}"),
    ],
)
def test_failed_downloads(store: RunnerStore, site: str, path: str, why: str) -> None:
    with pytest.raises(RunnerRejected, match=why):
        store.add(site + path, "arm64-v8a")
    assert store.list() == ()


def test_downloads_and_files_have_a_limit(
    store: RunnerStore, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_store, "MAX_BYTES", len(ARM64) - 1)
    for source in (f"{site}/unannounced", file(tmp_path, ARM64)):
        with pytest.raises(RunnerRejected, match="larger than"):
            store.add(source, "arm64-v8a")


def test_a_server_that_is_not_there(store: RunnerStore, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Site) as closed:
        port = closed.server_port
    with pytest.raises(RunnerRejected, match=r"127\.0\.0\.1") as caught:
        store.add(f"http://127.0.0.1:{port}/x", "arm64-v8a")
    assert "network" in caught.value.hint


@given(st.binary(max_size=300), st.integers(0, len(ARM64)), st.sampled_from([ARM64, make_elf(32, 40)]))
def test_any_bytes_are_an_elf_file_or_refused(patch: bytes, at: int, original: bytes) -> None:
    data = original[:at] + patch + original[at + len(patch) :]
    try:
        program = elf.parse(data)
    except elf.ElfError:
        return
    assert isinstance(program.abi, str)
