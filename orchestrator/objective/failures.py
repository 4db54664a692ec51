"""Failures that several objectives share."""

from __future__ import annotations

import errno
from pathlib import Path

from orchestrator.errors import ObjectiveFailed


def unwritable(path: Path, error: OSError) -> ObjectiveFailed:
    """A file of the candidate's could not be written; a full disk may have room later."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return ObjectiveFailed(
        f"cannot write {path}: {'the disk is full' if full else error.strerror or error}",
        "free some space and continue the run" if full else "check the folder's permissions",
        code="disk_full" if full else "unwritable",
        retry=True,
    )


def stopped() -> ObjectiveFailed:
    """The evaluation was ended by `close`; nothing is wrong with the candidate."""
    return ObjectiveFailed(
        "stopped before the end", "continue the run to evaluate it again", code="stopped", retry=True
    )
