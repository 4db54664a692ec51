"""From a word of the shell's language to fields: expansion, splitting, globbing (POSIX.1-2017, 2.6)."""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Callable

from device_agent.virtual.files import FileSystem
from device_agent.virtual.tree import Substitution, Text, Variable, Word

_Pieces = list[tuple[str, bool]]  # text, and whether it was quoted


class Expansion:
    """Expands words.

    Args:
        value: Of a variable or substitution (of a literal text: the text).
        arguments: What `"$@"` stands for.
        files: Where patterns look.
        cwd: Folder that relative patterns start from.
    """

    def __init__(
        self,
        value: Callable[[Text | Variable | Substitution], str],
        arguments: tuple[str, ...],
        files: FileSystem,
        cwd: str,
    ) -> None:
        self._value = value
        self._arguments = arguments
        self._files = files
        self._cwd = cwd

    def fields(self, word: Word, *, split: bool = True) -> list[str]:
        """The fields that a word becomes; without `split` (assignments) exactly one, and no globbing."""
        if not split:
            return ["".join(self._value(part) for part in word)]
        fields: list[str] = []
        for pieces in self._split(word):
            plain = "".join(text for text, _ in pieces)
            found: tuple[str, ...] = ()
            if any(not quoted and set(text) & set("*?[") for text, quoted in pieces):
                found = self._glob("".join(_literal(text) if quoted else text for text, quoted in pieces))
            fields += found or (plain,)
        return fields

    def _split(self, word: Word) -> list[_Pieces]:
        fields: list[_Pieces] = []
        current: _Pieces | None = None
        for part in word:
            if isinstance(part, Variable) and part.name == "@":
                for number, argument in enumerate(self._arguments):
                    if number and current is not None:
                        fields.append(current)
                        current = None
                    current = [*(current or []), (argument, True)]
                continue
            value = self._value(part)
            if isinstance(part, Text) or part.quoted:
                current = [*(current or []), (value, part.quoted)]
                continue
            for number, piece in enumerate(value.split()):
                if current is not None and (number or value[0].isspace()):
                    fields.append(current)
                    current = None
                current = [*(current or []), (piece, False)]
            if current is not None and value and value[-1].isspace():
                fields.append(current)
                current = None
        return fields if current is None else [*fields, current]

    def _glob(self, pattern: str) -> tuple[str, ...]:
        found = ["/"] if pattern.startswith("/") else [""]
        for component in pattern.strip("/").split("/"):
            found = [
                posixpath.join(folder, name)
                for folder in found
                if self._files.is_folder(path := self._files.normal(folder, self._cwd))
                for name in self._files.names(path)
                if fnmatch.fnmatchcase(name, component) and (component.startswith(".") or not name.startswith("."))
            ]
        return tuple(sorted(found))


def _literal(text: str) -> str:
    """Quoted text as a pattern that matches only itself."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)
