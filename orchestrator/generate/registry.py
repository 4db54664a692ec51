"""Generators by `kind`: from a configuration to an object.

The names and limits of a generator's options are those of its constructor, so they are written once. Other
packages add kinds through the entry-point group `devicenag.generators` (name = kind, value = a class whose first
argument is the space).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from orchestrator.errors import ConfigError, Problem
from orchestrator.generate.base import Generator
from orchestrator.generate.mixture import Mixture, Part
from orchestrator.space.base import Space

ENTRY_POINTS = "devicenag.generators"
MIXTURE = "mixture"
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


def _ednag() -> type[Generator]:
    from orchestrator.generate.ednag.generator import EDNAG

    return EDNAG


def _local_search() -> type[Generator]:
    from orchestrator.generate.local_search import LocalSearch

    return LocalSearch


def _dinas() -> type[Generator]:
    from orchestrator.generate.dinas.generator import DiNAS

    return DiNAS


_LOADERS: dict[str, Callable[[], type[Generator]]] = {
    "diffusion_evolution": _diffusion_evolution,
    "diffusion_nag": _diffusion_nag,
    "dinas": _dinas,
    "ednag": _ednag,
    "local_search": _local_search,
    "random": _random,
    "regularized_evolution": _evolution,
}


def generator_kinds() -> tuple[str, ...]:
    """The kinds of single generators, those of other packages included; `MIXTURE` makes one out of several."""
    return tuple(sorted({*_LOADERS, *(entry.name for entry in entry_points(group=ENTRY_POINTS))}))


def make_generator(config: Mapping[str, Any] | Sequence[Mapping[str, Any]], space: Space) -> Generator:
    """The generator that a configuration such as `{"kind": "random", "pool": 256}` describes.

    A list of configurations, each with a `share`, is a mixture; so is `{"kind": "mixture", "parts": [...]}`. A
    generator that starts from another's proposal takes that one's configuration as its option `start`.

    Args:
        config: `kind`, and the keyword arguments of that generator's constructor; `pool` is left to the campaign.
        space: Where it shall propose from.

    Raises:
        ConfigError: An unknown kind, or unknown or wrong options: all of them at once.
        CheckpointError: The generator's weights cannot be used.
    """
    problems = list(_problems(config, "generator"))
    if problems:
        raise ConfigError("generator", problems)
    return _make(config, space)


def _make(config: Mapping[str, Any] | Sequence[Mapping[str, Any]], space: Space) -> Generator:
    """What a configuration without problems describes."""
    parts = _parts(config)
    if parts is not None:
        return Mixture([Part(_make(_without_share(part), space), float(part.get("share", 1))) for part in parts])
    assert isinstance(config, Mapping)
    kind, options = str(config["kind"]), _options(config)
    start = {"start": _make(options.pop("start"), space)} if "start" in options else {}
    return _load(kind)(space, **dict(_model(kind).model_validate(options)), **start)  # type: ignore[call-arg]


def _problems(config: object, at: str) -> Iterator[Problem]:
    """What is wrong with a configuration, those of the generators inside of it included."""
    parts = _parts(config)
    if parts is not None:
        yield from _mixture_problems(config, parts, at)
    elif not isinstance(config, Mapping):
        yield Problem(at, config, "{kind: ...}, or a list of {kind: ..., share: ...}")
    elif config.get("kind") not in generator_kinds():
        yield Problem(f"{at}.kind", config.get("kind"), ", ".join((*generator_kinds(), MIXTURE)))
    else:
        yield from _option_problems(str(config["kind"]), _options(config), at)


def _mixture_problems(config: object, parts: Sequence[object], at: str) -> Iterator[Problem]:
    """What is wrong with a mixture; its parts are numbered whether or not they are written as a bare list."""
    if not parts:
        yield Problem(at, parts, "at least one {kind: ..., share: ...}")
    if isinstance(config, Mapping):
        for option in sorted(config.keys() - {"parts"} - _NOT_OPTIONS):
            yield Problem(f"{at}.{option}", config[option], "no such option; a mixture has pool and parts")
    for index, part in enumerate(parts):
        here = f"{at}[{index}]"
        if not isinstance(part, Mapping):
            yield Problem(here, part, "{kind: ..., share: ...}")
            continue
        share = part.get("share", 1)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < math.inf:
            yield Problem(f"{here}.share", share, "a number above 0; shares need not add up to 1")
        if "pool" in part:
            whole = "the pool is shared: {kind: mixture, pool: ..., parts: [...]}, and a share in each part"
            yield Problem(f"{here}.pool", part["pool"], whole)
        yield from _problems(_without_share(part), here)


def _option_problems(kind: str, options: Mapping[str, Any], at: str) -> Iterator[Problem]:
    """What is wrong with the options of a single generator, and with the generator that it starts from."""
    allowed = inspect.signature(_load(kind)).parameters
    if "start" in allowed and "start" in options:
        yield from _problems(options["start"], f"{at}.start")
        options = {name: value for name, value in options.items() if name != "start"}
    try:
        _model(kind).model_validate(options)
    except ValidationError as error:
        for detail in error.errors():
            unknown = detail["type"] == "extra_forbidden"
            hint = f"no such option; options: {', '.join(list(allowed)[1:])}" if unknown else detail["msg"]
            yield Problem(".".join((at, *map(str, detail["loc"]))), detail["input"], hint)


def _parts(config: object) -> Sequence[Any] | None:
    """The parts of a mixture; None for anything else."""
    if isinstance(config, Mapping) and config.get("kind") == MIXTURE:
        config = config.get("parts", ())
    return config if isinstance(config, Sequence) and not isinstance(config, str) else None


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    """What goes to the constructor."""
    return {name: value for name, value in config.items() if name not in _NOT_OPTIONS}


def _without_share(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name != "share"}


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
