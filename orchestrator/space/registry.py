"""Spaces by name, those of this package and those that other packages add.

The names of a space's options are those of its constructor's keyword arguments, so they are written once. A package
adds a space through the entry-point group `devicenag.spaces`: name -> a callable that takes only keyword arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from orchestrator.errors import ConfigError, Problem
from orchestrator.space.base import Space
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201

Constructor = Callable[..., Space]

SPACES: Mapping[str, Callable[[], Constructor]] = {
    "mobilenetv3": lambda: MobileNetV3,
    "nasbench201": lambda: NASBench201,
    **{point.name: point.load for point in entry_points(group="devicenag.spaces")},
}


def space_options(kind: str) -> frozenset[str]:
    """The options of a space itself, beside those of its networks. Raises ConfigError for an unknown kind."""
    return frozenset(inspect.signature(_constructor(kind)).parameters)


def make_space(kind: str, **options: Any) -> Space:
    """The space of this name.

    Args:
        kind: Its name.
        options: Its own, e.g. `resolutions` of `mobilenetv3`.

    Raises:
        ConfigError: No such space, or unknown or wrong options.
    """
    known = space_options(kind)
    if unknown := [name for name in options if name not in known]:
        allowed = f"an option of {kind}: {', '.join(sorted(known)) or 'it has none'}"
        raise ConfigError("space", [Problem(f"space.{name}", options[name], allowed) for name in unknown])
    return _constructor(kind)(**options)


def parse_space(text: str) -> Space:
    """The space that a command line names: `mobilenetv3`, or with options `mobilenetv3:resolutions=160,192,224`.

    Raises:
        ConfigError: No such space, or unknown or wrong options.
    """
    kind, *settings = text.split(":")
    options: dict[str, Any] = {}
    for setting in settings:
        name, separator, values = setting.partition("=")
        try:
            options[name] = tuple(int(value) for value in values.split(",") if value)
        except ValueError:
            separator = ""
        if not separator or not options[name]:
            raise ConfigError("--space", [Problem("--space", text, "KIND or KIND:OPTION=NUMBER,NUMBER,...")])
    return make_space(kind, **options)


def _constructor(kind: str) -> Constructor:
    if kind not in SPACES:
        raise ConfigError("space", [Problem("space.kind", kind, f"one of {', '.join(SPACES)}")])
    return SPACES[kind]()
