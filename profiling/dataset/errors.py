"""DatasetError: a set cannot be read or written."""

from __future__ import annotations


class DatasetError(ValueError):
    """A set cannot be used: `message` says what and where, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
