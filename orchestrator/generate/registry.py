"""Generators by `kind`: from a configuration to an object.

The names and limits of a generator's options are those of its constructor, so they are written once. Other
packages add kinds through the entry-point group `devicenag.generators` (name = kind, value = a class whose first
argument is the space).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Self, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from orchestrator.errors import ConfigError, Problem
from orchestrator.generate.base import Generator
from orchestrator.space.base import Space

ENTRY_POINTS = "devicenag.generators"


class GeneratorConfig(BaseModel):
    """Which generator, how many architectures a round, and the generator's own options beside them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str = "random"
    pool: int = Field(256, ge=1, le=100_000, description="architectures proposed a round")
    checkpoint: Path | None = Field(None, description="the generator's weights; default: those of the package")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        problems = _problems(self.kind, self.options())
        if problems:
            raise ValueError("; ".join(f"{p.field}: got {p.got!r}; allowed: {p.allowed}" for p in problems))
        return self

    def options(self) -> dict[str, Any]:
        """The keyword arguments of the generator's constructor."""
        weights = {} if self.checkpoint is None else {"checkpoint": self.checkpoint}
        return {**(self.model_extra or {}), **weights}


def _random() -> type[Generator]:
    from orchestrator.generate.random import RandomGenerator

    return RandomGenerator


_LOADERS: dict[str, Callable[[], type[Generator]]] = {"random": _random}


def generator_kinds() -> tuple[str, ...]:
    """The kinds that `make_generator` knows, those of other packages included."""
    return tuple(sorted({*_LOADERS, *(entry.name for entry in entry_points(group=ENTRY_POINTS))}))


def make_generator(config: GeneratorConfig | Mapping[str, Any], space: Space) -> Generator:
    """The generator that a configuration such as `{"kind": "random", "pool": 256}` describes.

    A generator that starts from another's proposal takes that one's configuration as its option `start`.

    Args:
        config: `kind`, and the keyword arguments of that generator's constructor; `pool` is left to the campaign.
        space: Where it shall propose from.

    Raises:
        ConfigError: An unknown kind, or unknown or wrong options: all of them at once.
        CheckpointError: The generator's weights cannot be used.
    """
    if isinstance(config, GeneratorConfig):
        kind, options = config.kind, config.options()
    else:
        kind = str(config.get("kind"))
        options = {name: value for name, value in config.items() if name not in ("kind", "pool") and value is not None}
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
        rest = {name: value for name, value in start.items() if name not in ("kind", "pool")}
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
