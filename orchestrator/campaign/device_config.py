"""Devices as a campaign's configuration names them."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Device(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HostDeviceConfig(_Device):
    """This machine's CPU, through LiteRT in a child process."""

    kind: Literal["host"]
    name: str = Field("host", min_length=1)
    python: Path | None = Field(None, description="another interpreter, with LiteRT or tflite_runtime")

    @property
    def names(self) -> tuple[str, ...]:
        """What latencies are called by."""
        return (self.name,)


class TableDeviceConfig(_Device):
    """Replays a table of latencies."""

    kind: Literal["table"]
    path: Path
    column: str
    name: str = Field("", description="defaults to the column's name")
    noise: float = Field(0.0, ge=0, lt=1, description="relative noise added to each look-up")
    block_noise: float = Field(0.0, ge=0, lt=1, description="relative noise of blocks, which are then measured, too")

    @model_validator(mode="after")
    def _named(self) -> Self:
        return self if self.name else self.model_copy(update={"name": self.column})

    @property
    def names(self) -> tuple[str, ...]:
        """What latencies are called by."""
        return (self.name,)


class LutDeviceConfig(_Device):
    """Adds up latencies of blocks out of a table, as `nag lut build` writes it; see docs/block-tables.md.

    Resolutions and classes are those of the campaign's space.
    """

    kind: Literal["lut"]
    path: Path
    width: float | None = Field(None, gt=0, description="of the networks it was measured on; the space's by default")
    name: str = Field("", description="defaults to the file's")
    noise: float = Field(0.0, ge=0, lt=1, description="relative noise added to each look-up")

    @model_validator(mode="after")
    def _named(self) -> Self:
        name = self.path.name.removesuffix(".gz").removesuffix(".csv")
        return self if self.name else self.model_copy(update={"name": name})

    @property
    def names(self) -> tuple[str, ...]:
        """What latencies are called by."""
        return (self.name,)


class AdbDeviceConfig(_Device):
    """Phones of the adb server: one by its serial, all of one model, or (neither given) every phone that is attached.

    Phones of one model share its work and are one device for the goal: `latency_ms[Pixel 7]`.
    """

    kind: Literal["adb"]
    serial: str = ""
    model: str = ""
    port: int | None = Field(None, ge=1, le=65535, description="of the adb server; default 5037")

    @property
    def names(self) -> tuple[str, ...]:
        """What latencies are called by; nothing until it is known which phones are attached."""
        name = self.serial or self.model
        return (name,) if name else ()


class VirtualDeviceConfig(_Device):
    """A lab of virtual phones on this machine, behind a real adb server."""

    kind: Literal["virtual"]
    count: int = Field(2, ge=1, le=64)
    profiles: tuple[str, ...] = Field((), description="built-in profiles, in turn; default: all with shell v2")

    @model_validator(mode="after")
    def _known(self) -> Self:
        from device_agent.virtual import PROFILES

        if unknown := [name for name in self.profiles if name not in PROFILES]:
            raise ValueError(f"profiles out of {', '.join(PROFILES)}; {', '.join(unknown)} is none")
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """The model of each phone."""
        from device_agent.virtual import PROFILES

        kinds = [PROFILES[name] for name in self.profiles] or [each for each in PROFILES.values() if each.shell_v2]
        return tuple(profile.model for profile in islice(cycle(kinds), self.count))

    @property
    def names(self) -> tuple[str, ...]:
        """The phones' models."""
        return tuple(dict.fromkeys(self.models))


DeviceConfig = Annotated[
    HostDeviceConfig | TableDeviceConfig | LutDeviceConfig | AdbDeviceConfig | VirtualDeviceConfig,
    Field(discriminator="kind"),
]
