"""NightlyConfig: a night as its user writes it (YAML), checked as a whole before any device is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from device_agent.phone_identity import serial_hash
from orchestrator.campaign.config import BlocksConfig, load_config
from orchestrator.campaign.device_config import AdbDeviceConfig, HostDeviceConfig, VirtualDeviceConfig
from orchestrator.collect.config import CollectConfig, ModelsConfig, OverlapConfig, ReferencesConfig, SettingsConfig
from orchestrator.config_file import read_yaml, validate
from orchestrator.errors import ConfigError, Problem
from profiling.compare import Policy
from profiling.records import DeviceInfo
from profiling.spread import Prior

NightDevice = Annotated[HostDeviceConfig | AdbDeviceConfig | VirtualDeviceConfig, Field(discriminator="kind")]
_MOST_PHONES = 64


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AlarmConfig(_Section):
    """When a slow-down is an alarm; see `profiling.compare.Policy` and docs/nightly.md."""

    margin: float = Field(0.015, ge=0, lt=1, description="slow-downs up to this do not matter: 0.015 is 1.5 %")
    false_discoveries: float = Field(0.05, gt=0, lt=1, description="share of what is found that may be chance")
    phone_sd: float = Field(0.005, gt=0, lt=1, description="what nights of a phone are believed to differ by")
    model_sd: float = Field(0.003, gt=0, lt=1, description="what nights of one model differ by beyond that")

    def policy(self) -> Policy:
        """The same for the statistics."""
        return Policy(self.margin, self.false_discoveries, Prior(self.phone_sd, self.model_sd))


class PassesConfig(_Section):
    """How often all models are measured."""

    night: int = Field(2, ge=1, le=50, description="passes over all models")
    baseline: int = Field(5, ge=1, le=50, description="the same in a night without a baseline, which becomes one")
    again: int = Field(5, ge=1, le=50, description="passes over what looks slower, before anyone is told")
    controls: int = Field(5, ge=1, le=50, description="other models measured along with those")


class NightlyConfig(_Section):
    """A night."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(0, ge=0, lt=2**32, description="of models that are drawn from a space")
    models: tuple[ModelsConfig, ...] = ()
    references: int = Field(3, ge=0, le=5, description="models of our own, measured along: they show the phone itself")
    campaigns: tuple[Path, ...] = Field((), description="configurations of campaigns to run as well")
    devices: tuple[NightDevice, ...] = Field(min_length=1)
    settings: SettingsConfig = SettingsConfig()
    measure: BlocksConfig = BlocksConfig()
    passes: PassesConfig = PassesConfig()
    alarm: AlarmConfig = AlarmConfig()
    baseline: tuple[Path, ...] = Field((), description="run folders; --baseline goes before")
    patience_s: float = Field(600.0, gt=0, description="a phone away for so long is missing")

    @field_validator("models", "baseline", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        """A single one is a list of one."""
        return (value,) if isinstance(value, Mapping | str) else value

    def collection(self, name: str, folder: Path, seed: int, devices: Sequence[Any] | None = None) -> CollectConfig:
        """One pass over the models in a folder, every model on every phone."""
        return CollectConfig.model_validate(
            {
                "name": name,
                "seed": seed,
                "models": [{"kind": "folder", "path": folder}],
                "devices": list(self.devices if devices is None else devices),
                "settings": self.settings,
                "measure": self.measure,
                "overlap": OverlapConfig(share=1.0, phones=_MOST_PHONES),
                "references": ReferencesConfig(),
                "patience_s": self.patience_s,
            }
        )

    def asks_for(self, device: DeviceInfo) -> bool:
        """Whether a device that was measured once is one of those that this night is for."""
        return any(_asks_for(each, device) for each in self.devices)

    def drawing(self) -> CollectConfig:
        """What `orchestrator.collect.models.find_models` needs to find the models."""
        return CollectConfig.model_validate(
            {"name": self.name, "seed": self.seed, "models": self.models, "devices": self.devices}
        )


def _asks_for(config: HostDeviceConfig | AdbDeviceConfig | VirtualDeviceConfig, device: DeviceInfo) -> bool:
    if not isinstance(config, AdbDeviceConfig):
        return device.name in config.names or device.model in config.names
    if config.serial:
        return serial_hash(config.serial) == device.serial_hash
    return config.model == device.model if config.model else device.kind in ("adb", "virtual")


def load_nightly(path: Path, overrides: Sequence[str] = ()) -> NightlyConfig:
    """Read a YAML file and `--set` overrides (`passes.night=3`); relative paths are relative to the file.

    Raises:
        ConfigError: Everything that is wrong, at once.
    """
    values = read_yaml(path, overrides)
    config = validate(NightlyConfig, values, source=str(path), folder=path.parent)
    if problems := list(_problems(config)):
        raise ConfigError(str(path), problems)
    return config


def _problems(config: NightlyConfig) -> Iterator[Problem]:
    """What no single field can tell."""
    if not config.models and not config.campaigns:
        yield Problem("models", "nothing", "at least one source of models, or a campaign")
    for path in config.campaigns:
        try:
            load_config(path)
        except ConfigError as error:
            for problem in error.problems:
                yield Problem(f"campaigns {path.name}: {problem.field}", problem.got, problem.allowed)
    for path in config.baseline:
        if not path.is_dir():
            yield Problem("baseline", str(path), "the folder of an earlier night, collection or campaign")
    for source in config.models:
        folder = getattr(source, "path", None)
        if folder is not None and not folder.exists():
            yield Problem("models", str(folder), "an existing file or folder")
    names = [name for device in config.devices for name in device.names]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem("devices", name, "a name that no other device has")
