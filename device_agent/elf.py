"""The few facts of an ELF file that decide whether a device can execute it; read statically, nothing is run.

Source: the generic ABI specification (ELF header, program headers, GNU build-id note).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MAGIC = b"\x7fELF"

_ABIS: Mapping[tuple[int, int], str] = {  # (word size, e_machine)
    (64, 183): "arm64-v8a",
    (32, 40): "armeabi-v7a",
    (64, 62): "x86_64",
    (32, 3): "x86",
    (64, 243): "riscv64",
}
_ET_EXEC, _ET_DYN = 2, 3
_PT_LOAD, _PT_INTERP, _PT_NOTE = 1, 3, 4
_NT_GNU_BUILD_ID = 3


class ElfError(ValueError):
    """Not an ELF file, or not all of one."""


@dataclass(frozen=True)
class Elf:
    """An ELF file.

    Attributes:
        abi: In Android's words, e.g. `arm64-v8a`; `machine N` for others.
        executable: A program, not a library or an object file.
        interpreter: The dynamic loader that it asks for; empty for a static program. It tells Android
            (`/system/bin/linker64`) from Linux (`/lib/ld-linux-aarch64.so.1`), which the ABI does not.
        build_id: The linker's identity of this build, hexadecimal; may be empty.
    """

    abi: str
    executable: bool
    interpreter: str
    build_id: str

    @property
    def for_android(self) -> bool:
        """Android can load it: it asks for Android's loader, or for none."""
        return not self.interpreter or self.interpreter.startswith(("/system/bin/linker", "/apex/"))

    @property
    def for_linux(self) -> bool:
        """A desktop or board Linux can load it."""
        return not self.interpreter or not self.for_android


def parse(data: bytes) -> Elf:
    """Read the headers.

    Raises:
        ElfError: No ELF file, or a part of it is missing.
    """
    if not data.startswith(MAGIC):
        raise ElfError("not an ELF file")
    try:
        return _parse(data)
    except (struct.error, OverflowError) as error:
        raise ElfError("the file ends within its headers") from error


def _parse(data: bytes) -> Elf:
    bits = {1: 32, 2: 64}.get(data[4] if len(data) > 5 else 0)
    if bits is None or data[5] not in (1, 2):
        raise ElfError("an ELF file of an unknown class or byte order")
    order = "<" if data[5] == 1 else ">"
    kind, machine = struct.unpack_from(f"{order}HH", data, 16)
    wide = bits == 64
    entry, headers_at, sections_at = struct.unpack_from(f"{order}{'QQQ' if wide else 'III'}", data, 24)
    header_size, headers, section_size, sections = struct.unpack_from(f"{order}HHHH", data, 54 if wide else 42)
    end = sections_at + section_size * sections
    interpreter = build_id = ""
    for position in range(headers_at, headers_at + header_size * headers, header_size or 1):
        segment, offset, size = _segment(data, position, order, wide)
        end = max(end, offset + size if segment == _PT_LOAD else 0)
        content = data[offset : offset + size]
        if segment == _PT_INTERP:
            interpreter = content.rstrip(b"\0").decode("ascii", "replace")
        elif segment == _PT_NOTE:
            build_id = build_id or _build_id(content, order)
    if end > len(data):
        raise ElfError(f"the file is cut off: {len(data)} bytes of at least {end}")
    # A library is an ET_DYN too, but has no entry point.
    executable = kind in (_ET_EXEC, _ET_DYN) and entry != 0
    abi = _ABIS.get((bits, machine), f"machine {machine}") if order == "<" else f"machine {machine} (big-endian)"
    return Elf(abi, executable, interpreter, build_id)


def _segment(data: bytes, position: int, order: str, wide: bool) -> tuple[int, int, int]:
    """A program header's type, file offset and size in the file."""
    if wide:
        kind, _, offset, _, _, size = struct.unpack_from(f"{order}IIQQQQ", data, position)
    else:
        kind, offset, _, _, size = struct.unpack_from(f"{order}IIIII", data, position)
    return kind, offset, size


def _build_id(content: bytes, order: str) -> str:
    for name, kind, description in _notes(content, order):
        if name == b"GNU\0" and kind == _NT_GNU_BUILD_ID:
            return description.hex()
    return ""


def _notes(content: bytes, order: str) -> Iterator[tuple[bytes, int, bytes]]:
    """Name, type and description of each note of a segment; each part is padded to four bytes."""
    position = 0
    while position + 12 <= len(content):
        name_size, size, kind = struct.unpack_from(f"{order}III", content, position)
        name_at = position + 12
        at = name_at + (name_size + 3) // 4 * 4
        yield content[name_at : name_at + name_size], kind, content[at : at + size]
        position = at + (size + 3) // 4 * 4
