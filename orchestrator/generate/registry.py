"""Generators by `kind`: from a configuration to an object.

The names and limits of a generator's options are those of its constructor, so they are written once. Other
packages add kinds through the entry-point group `devicenag.generators` (name = kind, value = a class whose first
argument is the space).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from orchestrator.errors import ConfigError, Problem
from orchestrator.generate.base import Generator
from orchestrator.space.base import Space

ENTRY_POINTS = "devicenag.generators"
_NOT_OPTIONS = frozenset({"kind", "pool"})  # the pool's size is the campaign's business: `Request.count`


def _random() -> type[Generator]:
    from orchestrator.generate.random import RandomGenerator

    return RandomGenerator


def _evolution() -> type[Generator]:
    from orchestrator.generate.evolution import RegularizedEvolution

    return RegularizedEvolution


def _diffusion_nag() -> type[Generator]:
    from orchestrator.generate.diffusion_nag.generator import DiffusionNAG

    return DiffusionNAG


def _diffusion_evolution() -> type[Generator]:
    from orchestrator.generate.diffusion_evolution import DiffusionEvolution

    return DiffusionEvolution


_LOADERS: dict[str, Callable[[], type[Generator]]] = {
    "diffusion_evolution": _diffusion_evolution,
    "diffusion_nag": _diffusion_nag,
    "random": _random,
    "regularized_evolution": _evolution,
}


def generator_kinds() -> tuple[str, ...]:
    """The kinds that `make_generator` knows, those of other packages included."""
    return tuple(sorted({*_LOADERS, *(entry.name for entry in entry_points(group=ENTRY_POINTS))}))


def make_generator(config: Mapping[str, Any], space: Space) -> Generator:
    """The generator that a configuration such as `{"kind": "random", "pool": 256}` describes.

    A generator that starts from another's proposal takes that one's configuration as its option `start`.

    Args:
        config: `kind`, and the keyword arguments of that generator's constructor; `pool` is left to the campaign.
        space: Where it shall propose from.

    Raises:
        ConfigError: An unknown kind, or unknown or wrong options: all of them at once.
        CheckpointError: The generator's weights cannot be used.
    """
    kind = str(config.get("kind"))
    options = {name: value for name, value in config.items() if name not in _NOT_OPTIONS}
    problems = _problems(kind, options)
    if problems:
        raise ConfigError("generator", problems)
    start = {"start": make_generator(options.pop("start"), space)} if "start" in options else {}
    return _load(kind)(space, **dict(_model(kind).model_validate(options)), **start)  # type: ignore[call-arg]


def _problems(kind: str, options: Mapping[str, Any], at: str = "generator") -> list[Problem]:
    """What is wrong with a generator's configuration, that of the generator it starts from included."""
    if kind not in generator_kinds():
        return [Problem(f"{at}.kind", kind, ", ".join(generator_kinds()))]
    problems: list[Problem] = []
    allowed = inspect.signature(_load(kind)).parameters
    if "start" in allowed and isinstance(start := options.get("start"), Mapping):
        rest = {name: value for name, value in start.items() if name not in _NOT_OPTIONS}
        problems += _problems(str(start.get("kind")), rest, f"{at}.start")
        options = {name: value for name, value in options.items() if name != "start"}
    try:
        _model(kind).model_validate(options)
    except ValidationError as error:
        for detail in error.errors():
            unknown = detail["type"] == "extra_forbidden"
            hint = f"no such option; options: {', '.join(list(allowed)[1:])}" if unknown else detail["msg"]
            problems.append(Problem(".".join((at, *map(str, detail["loc"]))), detail["input"], hint))
    return problems


def _model(kind: str) -> type[BaseModel]:
    """The options of a kind, read off its constructor; `start` is a generator, built apart."""
    constructor = _load(kind).__init__
    hints = get_type_hints(constructor, include_extras=True)
    parameters = list(inspect.signature(constructor).parameters.values())[2:]  # without self and space
    fields: dict[str, Any] = {p.name: (hints[p.name], p.default) for p in parameters if p.name != "start"}
    return create_model("Options", __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=True), **fields)


def _load(kind: str) -> type[Generator]:
    if kind in _LOADERS:
        return _LOADERS[kind]()
    (entry,) = entry_points(group=ENTRY_POINTS, name=kind)
    loaded: type[Generator] = entry.load()
    return loaded
