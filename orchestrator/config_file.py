"""Configuration files: YAML and `--set` overrides in, a pydantic model or every wrong field at once out."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml
from pydantic import BaseModel

from orchestrator.errors import ConfigError, Problem

Model = TypeVar("Model", bound=BaseModel)
_FIELDS_OF = {
    "passes": "nag nightly",
    "alarm": "nag nightly",
    "campaigns": "nag nightly",
    "overlap": "nag collect",
    "accuracy": "nag run",
    "budget": "nag run",
    "models": "nag collect (or nag nightly)",
}
"""What tells a verb's configuration from those of others."""


def read_yaml(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Plain values of a YAML file, with `--set` overrides (`budget.candidates=32`) applied.

    Raises:
        ConfigError: It cannot be read, or an override cannot be applied.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        problem = Problem("file", str(path), f"a readable YAML file ({error.strerror})")
        raise ConfigError(str(path), [problem]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [Problem("file", str(path), "UTF-8 text")]) from error
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(str(path), [Problem("file", " ".join(str(error).split()), "well-formed YAML")]) from error
    if not isinstance(values, dict):
        raise ConfigError(str(path), [Problem("file", type(values).__name__, "a mapping of fields, `name: ...` first")])
    for override in overrides:
        _override(values, override)
    return values


def validate(model: type[Model], values: Mapping[str, Any], *, source: str, folder: Path | None = None) -> Model:
    """The configuration that plain values describe, each field right by itself.

    Args:
        model: What to make.
        values: As read from YAML or from a store.
        source: What to call it in errors.
        folder: What relative paths are relative to; None leaves them.

    Raises:
        ConfigError: Everything that is wrong, at once.
    """
    try:
        config = model.model_validate(values)
    except pydantic.ValidationError as error:
        details = error.errors()
        problems = [_problem(model, detail) for detail in details if not _follows(detail, details)]
    else:
        return config if folder is None else _absolute(config, folder.resolve())
    raise ConfigError(source, problems, _other_verb(model, values))


def missing_paths(config: BaseModel) -> list[Problem]:
    """The paths of a configuration that do not exist."""
    return [
        Problem(field, str(path), "an existing file or folder") for field, path in _paths(config) if not path.exists()
    ]


def _override(values: dict[str, Any], override: str) -> None:
    """Apply one `a.b.c=VALUE`; the value is YAML, numbers index lists."""
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise ConfigError("--set", [Problem("--set", override, "FIELD=VALUE, e.g. budget.candidates=32")])
    at: Any = values
    *parents, last = path.split(".")
    try:
        for key in parents:
            at = at[int(key)] if isinstance(at, list) else at.setdefault(key, {})
        at[int(last) if isinstance(at, list) else last] = yaml.safe_load(text)
    except (ValueError, IndexError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError("--set", [Problem(path, text, "a field of the configuration and a YAML value")]) from error


def _other_verb(model: type[BaseModel], values: Mapping[str, Any]) -> str:
    """A hint, where a field is one of another verb's configuration."""
    fields = (field for field in _FIELDS_OF if field in values and field not in model.model_fields)
    field = next(fields, None)
    return "" if field is None else f"is this a configuration for {_FIELDS_OF[field]}? It has {field!r}"


def _follows(detail: Any, details: Sequence[Any]) -> bool:
    """Whether a list is too short only because what is in it is wrong."""
    place = detail["loc"]
    within = (other["loc"] for other in details if len(other["loc"]) > len(place))
    return detail["type"] == "too_short" and any(other[: len(place)] == place for other in within)


def _problem(model: type[BaseModel], detail: Any) -> Problem:
    """One of pydantic's errors in our words."""
    field, siblings = _locate(model, detail["loc"])
    kind, context = detail["type"], detail.get("ctx", {})
    got: object = detail.get("input")
    if kind == "missing":
        return Problem(field, "nothing", "this field is required")
    if kind == "extra_forbidden":
        known = f"; fields: {', '.join(siblings)}" if siblings else ""
        return Problem(field, got, f"no such field{known}")
    if kind.startswith("union_tag"):
        got = got.get("kind", "no kind") if isinstance(got, dict) else got
        return Problem(f"{field}.kind", got, f"one of {context.get('expected_tags', 'the known kinds')}")
    if kind == "value_error":
        return Problem(field, got, str(context.get("error", detail["msg"])))
    return Problem(field, got, detail["msg"].removeprefix("Input should be ").removeprefix("Value error, "))


def _locate(model: type[BaseModel], location: Sequence[str | int]) -> tuple[str, tuple[str, ...]]:
    """A place in a configuration as its user writes it, and the fields that exist there.

    Pydantic puts the chosen `kind` of a union into the path, which the user does not.
    """
    field: list[str] = []
    here: tuple[type[BaseModel], ...] = (model,)
    siblings: tuple[str, ...] = ()
    for part in location:
        if len(here) > 1 and (chosen := tuple(each for each in here if part in _kinds(each))):
            here = chosen
            continue
        field.append(str(part))
        if isinstance(part, int):
            continue
        siblings = tuple(here[0].model_fields) if len(here) == 1 else ()
        annotations = [each.model_fields[part].annotation for each in here if part in each.model_fields]
        here = tuple(found for annotation in annotations for found in _models(annotation))
    return ".".join(field) or "config", siblings


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    """The values of a model's `kind`."""
    return typing.get_args(model.model_fields["kind"].annotation) if "kind" in model.model_fields else ()


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models within a field's type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)


def _absolute(model: Model, folder: Path) -> Model:
    """The same with every relative path made absolute."""

    def fix(value: Any) -> Any:
        if isinstance(value, Path):
            return folder / value.expanduser()
        if isinstance(value, BaseModel):
            return _absolute(value, folder)
        if isinstance(value, tuple):
            return tuple(fix(item) for item in value)
        return value

    return model.model_copy(update={name: fix(getattr(model, name)) for name in type(model).model_fields})


def _paths(value: Any, at: str = "") -> Iterator[tuple[str, Path]]:
    """Every path of a configuration with the field it stands in."""
    if isinstance(value, Path):
        yield at, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _paths(getattr(value, name), f"{at}.{name}" if at else name)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _paths(item, f"{at}[{index}]")
