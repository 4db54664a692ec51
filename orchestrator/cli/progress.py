"""Long work on a command line: how far it is, and how to stop it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.generate.training import Progress

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
    import signal
    import threading

    asked = threading.Event()

    def ask(*_: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, previous)
        print("saving; once more to stop at once", file=sys.stderr)

    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, previous)
