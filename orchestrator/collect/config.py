"""CollectConfig: a collection as its user writes it (YAML), checked as a whole before any device is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from orchestrator.campaign.config import BlocksConfig, SpaceConfig
from orchestrator.campaign.device_config import DeviceConfig, HostDeviceConfig, LutDeviceConfig
from orchestrator.config_file import missing_paths, read_yaml, validate
from orchestrator.errors import ConfigError, NagError, Problem
from profiling.precision import Precision, can_convert

HOST_DELEGATES = ("cpu", "none")
"""What this machine has; phones are asked when it is time, for they differ."""
_FREE = ("patience_s", "window")  # what may change when a collection goes on


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SpaceModels(_Section):
    """Architectures chosen out of a space; see `orchestrator.collect.choose`."""

    kind: Literal["space"]
    space: SpaceConfig
    count: int = Field(ge=1, le=1_000_000)
    choose: Literal["uniform", "stratified", "diverse"] = "uniform"
    strata: int = Field(16, ge=2, le=1000, description="of `stratified`: equal ranges of log multiply-adds")
    distinct: Literal["network", "architecture"] = Field(
        "network", description="architectures that compile to one network are measured once, or each"
    )


class ListedModels(_Section):
    """Architectures that a file lists: one on each line of a `.txt`, or the column `arch` of a `.csv` or `.parquet`."""

    kind: Literal["file"]
    space: SpaceConfig
    path: Path


class FolderModels(_Section):
    """Every `.tflite` file in a folder and those below it."""

    kind: Literal["folder"]
    path: Path
    pattern: str = Field("**/*.tflite", min_length=1)


ModelsConfig = Annotated[SpaceModels | ListedModels | FolderModels, Field(discriminator="kind")]


class SettingsConfig(_Section):
    """How each model is run: in every combination of these.

    A file of a folder is measured as it is instead of as float32.
    """

    precision: tuple[Precision, ...] = Field(("float32",), min_length=1)
    delegate: tuple[str, ...] = Field(("cpu",), min_length=1)
    threads: tuple[Annotated[int, Field(ge=1, le=256)], ...] = Field((1,), min_length=1)

    @field_validator("*", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        """A single value is a list of one."""
        return value if isinstance(value, list | tuple) else (value,)

    @field_validator("*")
    @classmethod
    def _different(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError("each value once")
        return values


class OverlapConfig(_Section):
    """Models that are measured on several phones of a kind, to see how far phones differ."""

    share: float = Field(0.05, ge=0, le=1, description="of the models")
    phones: int = Field(2, ge=2, le=64, description="phones that measure each of them, where there are so many")


class ReferencesConfig(_Section):
    """The reference model, measured on each device between its jobs; see docs/fleet.md."""

    every: int = Field(10, ge=1, description="after so many measurements on a device")
    every_s: float = Field(600.0, gt=0, description="or after so long")


class CollectConfig(_Section):
    """A collection."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(0, ge=0, lt=2**32)
    models: tuple[ModelsConfig, ...] = Field(min_length=1)
    devices: tuple[DeviceConfig, ...] = Field(min_length=1)
    settings: SettingsConfig = SettingsConfig()
    measure: BlocksConfig = BlocksConfig()
    overlap: OverlapConfig = OverlapConfig()
    references: ReferencesConfig | None = ReferencesConfig()
    patience_s: float = Field(600.0, gt=0, description="a device away for so long is left for later")
    window: int = Field(2, ge=1, le=100, description="jobs handed out ahead for each phone")

    @field_validator("models", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        """A single source is a list of one."""
        return (value,) if isinstance(value, Mapping) else value

    @property
    def device_names(self) -> tuple[str, ...]:
        """What jobs are for: names of devices, models of phones."""
        return tuple(name for device in self.devices for name in device.names)

    @property
    def space(self) -> SpaceConfig | None:
        """The space, where there is exactly one."""
        spaces = [source.space for source in self.models if not isinstance(source, FolderModels)]
        return spaces[0] if len(spaces) == len(self.models) and all(space == spaces[0] for space in spaces) else None


def load_collection(path: Path, overrides: Sequence[str] = ()) -> CollectConfig:
    """Read a YAML file and `--set` overrides (`models.count=100`); relative paths are relative to the file.

    Raises:
        ConfigError: Everything that is wrong, at once.
    """
    return parse_collection(read_yaml(path, overrides), source=str(path), folder=path.parent)


def parse_collection(values: Mapping[str, Any], *, source: str, folder: Path | None = None) -> CollectConfig:
    """Check a configuration given as plain values; see `orchestrator.config_file.validate`.

    Raises:
        ConfigError: Everything that is wrong, at once.
    """
    config = validate(CollectConfig, values, source=source, folder=folder)
    if problems := list(_problems(config)):
        raise ConfigError(source, problems)
    return config


def require_same_collection(stored: CollectConfig, asked: CollectConfig, folder: Path) -> None:
    """A run folder is continued only by the collection that began it; patience and window may change.

    Raises:
        NagError: Something else changed.
    """
    before, now = stored.model_dump(mode="json"), asked.model_dump(mode="json")
    if changed := [key for key in before if key not in _FREE and before[key] != now[key]]:
        raise NagError(
            f"{folder} holds a collection with another configuration: {', '.join(changed)} changed",
            f"use another folder (--out), or undo the change; only {' and '.join(_FREE)} may be changed",
        )


def _problems(config: CollectConfig) -> Iterator[Problem]:
    """What no single field can tell."""
    names = config.device_names
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem("devices", name, "a name that no other device has (set `name:`)")
    for precision in config.settings.precision:
        if not can_convert(precision):
            allowed = "float32, or install what converts: pip install 'devicenag[quantize]'"
            yield Problem("settings.precision", precision, allowed)
    unknown = [delegate for delegate in config.settings.delegate if delegate not in HOST_DELEGATES]
    if unknown and all(isinstance(device, HostDeviceConfig) for device in config.devices):
        yield Problem("settings.delegate", unknown, f"on this machine: {', '.join(HOST_DELEGATES)}")
    missing = missing_paths(config)
    yield from missing
    for index, source in enumerate(config.models):
        at = f"models[{index}]"
        if not isinstance(source, FolderModels):
            yield from _space_problems(f"{at}.space", source.space)
        elif not missing and not source.path.is_dir():
            yield Problem(f"{at}.path", str(source.path), "a folder")
        elif not missing and not any(source.path.glob(source.pattern)):
            yield Problem(f"{at}.pattern", source.pattern, f"a pattern that files in {source.path} have")
    if config.space is None and any(isinstance(device, LutDeviceConfig) for device in config.devices):
        yield Problem("devices", "a block table (kind: lut)", "only where all models come from one space")


def _space_problems(at: str, config: SpaceConfig) -> Iterator[Problem]:
    """Why networks of this space cannot be built."""
    try:
        space = config.make()
        space.network(space.architecture(space.sample(1, _rng())[0]), config.network_options())
    except ConfigError as error:
        for problem in error.problems:
            yield Problem(f"{at}.{problem.field.removeprefix('space.')}", problem.got, problem.allowed)
    except ValueError as error:
        yield Problem(f"{at}.input", list(config.input), str(error))


def _rng() -> Any:
    import numpy as np

    return np.random.default_rng(0)
