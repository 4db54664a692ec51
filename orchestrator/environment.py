"""What a run ran on: kept in its folder, to tell afterwards what changed between two runs."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any


def environment(libraries: Sequence[str]) -> dict[str, Any]:
    """Platform, and versions of Python and of these libraries."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: version(name) for name in libraries},
    }
