"""Long work on a command line: how far it is, and how to stop it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.generate.training import Progress

INTERRUPTED = 130
_PLAIN_LINES = 20  # lines of progress where there is no terminal


@contextmanager
def training_progress(steps: int, what: str) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, plain lines elsewhere; both on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        every = max(steps // _PLAIN_LINES, 1)

        def line(now: Progress) -> None:
            if now.step % every == 0 or now.step == steps:
                print(f"step {now.step}/{steps}  loss {now.loss:.4f}  {now.seconds:.0f} s", file=sys.stderr, flush=True)

        yield line
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Bar(*columns, console=console) as bar:
        task = bar.add_task(what, total=steps)
        yield lambda now: bar.update(task, completed=now.step, description=f"loss {now.loss:.4f}")


@contextmanager
def interrupt() -> Iterator[Callable[[], bool]]:
    """Ctrl-C ends the training after the present step; a second one ends it at once, with the last saved state."""
    import threading

    asked = threading.Event()

    def ask(*_: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, previous)
        os.write(2, b"saving; once more to stop at once\n")  # print may be what was interrupted: it is not reentrant

    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def interruptible(folder: Path) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) stops in order, a second one at once; nothing committed is lost either way.

    Args:
        folder: Where it is, for the message.
    """
    seen = False

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal seen
        if seen:
            os.write(2, f"\nstopped at once; everything measured is saved in {folder}\n".encode())
            os._exit(INTERRUPTED)
        seen = True
        os.write(2, b"\nstopping (once more to stop at once) ...\n")
        raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
