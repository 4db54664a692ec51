"""A folder that appears whole or not at all, whenever the program that makes it is killed."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from profiling.dataset.errors import DatasetError


@contextmanager
def replaced_folder(out: Path, is_earlier: Callable[[Path], bool]) -> Iterator[Path]:
    """A folder to write into; at the end, and only if nothing was raised, it becomes `out`.

    What killed programs left beside `out` is cleared away first, and an earlier `out` that one of them had already
    moved aside is put back.

    Args:
        out: A folder that is new or empty, or holds something earlier, which is then replaced.
        is_earlier: Whether a folder may be replaced.

    Raises:
        DatasetError: `out` holds something else, or cannot be written.
    """
    out = out.resolve()
    aside = out.with_name(f".{out.name}.old")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _recover(out, aside)
        _require_replaceable(out, is_earlier)
        draft = out.with_name(f".{out.name}.{os.getpid()}.part")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        try:
            yield draft
            if out.exists() and any(out.iterdir()):
                os.replace(out, aside)
            os.replace(draft, out)  # an empty folder may be replaced
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise DatasetError(
            f"{out}: {error.strerror or error}; nothing was written", "choose a folder with room that can be written"
        ) from error


def _require_replaceable(out: Path, is_earlier: Callable[[Path], bool]) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise DatasetError(f"{out} is a file", "choose a folder")
    if any(out.iterdir()) and not is_earlier(out):
        raise DatasetError(f"{out} is not empty, and holds no earlier version of this", "choose a new or empty folder")


def _recover(out: Path, aside: Path) -> None:
    if aside.is_dir():
        if out.exists():
            shutil.rmtree(aside)
        else:
            os.replace(aside, out)
    for draft in out.parent.glob(f".{glob.escape(out.name)}.*.part"):
        owner = draft.name.split(".")[-2]
        if owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(draft, ignore_errors=True)


def _alive(pid: int) -> bool:
    with suppress(PermissionError):  # it is there, and somebody else's
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
