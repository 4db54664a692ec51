"""View: whoever shows on standard error what long work tells."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self, TypeVar

E = TypeVar("E", contravariant=True)


class View(Protocol[E]):
    """Listens to events of one kind and shows them."""

    def __call__(self, event: E) -> None:
        """Show an event; called from several threads."""
        ...

    def stop(self) -> None:
        """Leave the terminal as it was; idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
