"""Spaces by name, those of this package and those that other packages add.

A package adds one through the entry-point group `devicenag.spaces`: name -> a callable without arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points

from orchestrator.errors import ConfigError, Problem
from orchestrator.space.base import Space
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201

SPACES: Mapping[str, Callable[[], Space]] = {
    "mobilenetv3": MobileNetV3,
    "nasbench201": NASBench201,
    **{point.name: lambda point=point: point.load()() for point in entry_points(group="devicenag.spaces")},  # type: ignore[misc]
}


def make_space(kind: str) -> Space:
    """The space of this name. Raises ConfigError."""
    if kind not in SPACES:
        raise ConfigError("space", [Problem("space", kind, f"one of {', '.join(SPACES)}")])
    return SPACES[kind]()
