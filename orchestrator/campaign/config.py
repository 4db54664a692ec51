"""Config: a campaign as its user writes it (YAML), checked as a whole before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.campaign.checks import cross_check
from orchestrator.campaign.device_config import DeviceConfig
from orchestrator.config_file import read_yaml, validate
from orchestrator.errors import ConfigError
from orchestrator.generate.base import Generator
from orchestrator.generate.registry import MIXTURE, make_generator
from orchestrator.objective.config import ObjectiveConfig, TrainingConfig
from orchestrator.optimize.goal import ACCURACY as ACCURACY
from orchestrator.optimize.goal import Goal, parse_goal
from orchestrator.space.base import NetworkOptions, Space
from orchestrator.space.registry import SPACES, make_space, space_options
from orchestrator.track.config import TrackerConfig
from profiling.plan import MeasurementPlan
from profiling.precision import Precision

_FEWEST_BLOCKS = 2  # that tell anything of how far blocks differ


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SpaceConfig(_Section):
    """Which space, and the sizes of its networks.

    A space's own options (`resolutions`) and those of its networks (`channels`, `cells`, `width`) stand here too.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str
    input: tuple[int, int, int, int] = Field((1, 32, 32, 3), description="batch, height, width, channels")
    classes: int = Field(10, ge=2, le=100_000)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _usual_sizes(cls, values: Any) -> Any:
        """Where no input or number of classes is given: what the space is known for."""
        if not isinstance(values, Mapping) or not isinstance(kind := values.get("kind"), str) or kind not in SPACES:
            return values
        usual = make_space(kind).usual_network
        return {"input": usual.input_shape, "classes": usual.classes, **values}

    def make(self) -> Space:
        """The space. Raises ConfigError."""
        own = space_options(self.kind)
        return make_space(self.kind, **{name: value for name, value in self._extra.items() if name in own})

    def network_options(self) -> NetworkOptions:
        """What the space needs to build networks. Raises ConfigError for an unknown space."""
        own = space_options(self.kind)
        sizes = {name: value for name, value in self._extra.items() if name not in own}
        return NetworkOptions(self.input, self.classes, sizes)

    @property
    def _extra(self) -> Mapping[str, Any]:
        return self.model_extra or {}


class GeneratorPart(_Section):
    """One of several generators: its `kind`, its `share` and its own options, which the registry knows."""

    model_config = ConfigDict(extra="allow", frozen=True)

    checkpoint: Path | None = None


class GeneratorConfig(_Section):
    """What proposes architectures; a generator's own options stand here too.

    Several generators are a list, or `{kind: mixture, pool: ..., parts: [...]}` with that list as its parts.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str = "diffusion_nag"
    pool: int = Field(256, ge=1, le=1_000_000, description="architectures proposed for each round to choose from")
    parts: tuple[GeneratorPart, ...] = Field((), description="of a mixture, each with its share of the pool")

    checkpoint: Path | None = Field(None, description="a score network of your own")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _listed(cls, values: Any) -> Any:
        """A bare list is a mixture of its entries."""
        return {"kind": MIXTURE, "parts": values} if isinstance(values, list | tuple) else values

    @property
    def label(self) -> str:
        """What it is called in reports: `diffusion_nag`, `diffusion_nag+random`."""
        kinds = (str((part.model_extra or {}).get("kind")) for part in self.parts)
        return "+".join(kinds) if self.parts else self.kind

    def make(self, space: Space) -> Generator:
        """The generator. Raises ConfigError for wrong options, CheckpointError for unusable weights."""
        values = self.model_dump(exclude_none=True)
        return make_generator({name: value for name, value in values.items() if name != "parts" or value}, space)


class GoalConfig(_Section):
    """What to look for: a Pareto front (`minimize`) or the best under constraints (`subject_to`)."""

    maximize: str = ACCURACY
    minimize: str | tuple[str, ...] = ()
    subject_to: tuple[str, ...] = ()


class BlocksConfig(_Section):
    """How many blocks a measurement has, and how long they are; see `profiling.plan.MeasurementPlan`."""

    blocks: tuple[int, int] = Field((3, 10), description="[least, most] processes for a measurement")
    target_half_width: float = Field(0.02, gt=0, lt=0.5, description="relative: 0.02 is 2 %")
    min_runs: int = Field(20, ge=1, le=100_000)
    block_seconds: float = Field(0.3, gt=0, le=600)
    warmup_seconds: float = Field(0.1, ge=0, le=600)
    deadline_s: float = Field(60.0, gt=0, le=3600)

    @pydantic.field_validator("blocks")
    @classmethod
    def _ordered(cls, blocks: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= blocks[0] <= blocks[1]:
            raise ValueError("two whole numbers [least, most] with 1 <= least <= most")
        return blocks

    def plan_for(self, *, threads: int, delegate: str, affinity: tuple[int, ...] = ()) -> MeasurementPlan:
        """The plan for one measurement with these threads and this delegate."""
        values = {name: getattr(self, name) for name in BlocksConfig.model_fields if name != "blocks"}
        least, most = self.blocks
        return MeasurementPlan(
            min_blocks=least, max_blocks=most, threads=threads, delegate=delegate, affinity=affinity, **values
        )


class MeasureConfig(BlocksConfig):
    """How a campaign measures latency: always in the same way."""

    threads: int = Field(1, ge=1, le=256)
    affinity: tuple[int, ...] = ()
    delegate: str = "cpu"
    precision: Precision = Field("float32", description="of the artifacts: float32, float16 (weights only), int8")
    loose_half_width: float | None = Field(
        None, gt=0, lt=0.5, description="will do while searching; at the end the front is measured on, to the target"
    )

    @pydantic.field_validator("loose_half_width")
    @classmethod
    def _looser(cls, loose: float | None, info: pydantic.ValidationInfo) -> float | None:
        if loose is not None and loose < (tight := info.data.get("target_half_width", 0.0)):
            raise ValueError(f"at least target_half_width ({tight:g})")
        return loose

    def plan(self) -> MeasurementPlan:
        """The plan for one measurement whose value matters."""
        return self.plan_for(threads=self.threads, delegate=self.delegate, affinity=self.affinity)

    def search_plan(self) -> MeasurementPlan:
        """The plan while searching: loose where that was asked for, and then two blocks may do."""
        plan = self.plan()
        if self.loose_half_width is None:
            return plan
        return replace(plan, target_half_width=self.loose_half_width, min_blocks=min(plan.min_blocks, _FEWEST_BLOCKS))


class BudgetConfig(_Section):
    """When to stop, and how many candidates a round proposes."""

    candidates: int = Field(32, ge=1, le=1_000_000)
    batch: int = Field(4, ge=1, le=10_000)
    initial: int = Field(8, ge=1, le=10_000, description="candidates of the first round")
    hours: float | None = Field(None, gt=0, description="stop proposing after this long")
    plateau_rounds: int | None = Field(None, ge=1, description="stop after this many rounds without progress")
    verify: int = Field(4, ge=0, le=100, description="winners measured again, with trained weights, at the end")


class AccuracyPriorConfig(_Section):
    """What other data sets say of accuracies on the campaign's; a bare FILE is its checkpoint. See docs/transfer.md."""

    checkpoint: Path = Field(description="written by nag train accuracy")
    dataset: Literal["digits"] | Path | None = Field(None, description="images to look at; default: accuracy.dataset")


class Config(_Section):
    """A campaign."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(0, ge=0, lt=2**32)
    space: SpaceConfig
    generator: GeneratorConfig = GeneratorConfig()
    accuracy: ObjectiveConfig
    devices: tuple[DeviceConfig, ...] = Field(min_length=1)
    goal: GoalConfig = GoalConfig()
    measure: MeasureConfig = MeasureConfig()
    budget: BudgetConfig = BudgetConfig()
    latency_prior: Literal["auto", "none"] | Path = Field(
        "auto", description="what latencies of other devices say: auto (what ships, for devices that run), none, FILE"
    )
    accuracy_prior: AccuracyPriorConfig | None = Field(
        None, description="what other data sets say of accuracies: a FILE that `nag train accuracy` wrote, or none"
    )
    tracking: tuple[TrackerConfig, ...] = Field((), description="who else is told what happens; see docs/tracking.md")

    @pydantic.field_validator("tracking", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        """A single tracker is a list of one."""
        return (value,) if isinstance(value, Mapping) else value

    @pydantic.field_validator("latency_prior", mode="before")
    @classmethod
    def _prior(cls, value: object) -> object:
        if not isinstance(value, str | Path):
            raise ValueError("auto, none, or a file that `nag train latency` wrote")
        return value

    @pydantic.field_validator("accuracy_prior", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if value == "none":
            return None
        return {"checkpoint": value} if isinstance(value, str | Path) else value

    def make_space(self) -> Space:
        """The space."""
        return self.space.make()

    def parsed_goal(self) -> Goal:
        """The goal; without any `minimize` or `subject_to`, the Pareto front against every device's latency."""
        goal = self.goal
        minimize = goal.minimize if goal.minimize or goal.subject_to else tuple(self.latency_metrics())
        return parse_goal(goal.maximize, minimize, goal.subject_to)

    @property
    def accuracy_unit(self) -> str:
        """What accuracies are printed with: proxies have scales of their own."""
        return "" if self.accuracy.kind == "proxy" else " %"

    @property
    def seen_images(self) -> str | None:
        """The data set that the prior of accuracy looks at, as configs name it; None without such a prior."""
        if self.accuracy_prior is None:
            return None
        own = self.accuracy.dataset if isinstance(self.accuracy, TrainingConfig) else ""
        return str(self.accuracy_prior.dataset or own)

    def latency_metrics(self) -> list[str]:
        """`latency_ms[NAME]` of every device."""
        return [latency_metric(name) for name in self.device_names]

    @property
    def device_names(self) -> tuple[str, ...]:
        """What latencies are called by: names of devices, models of phones."""
        return tuple(name for device in self.devices for name in device.names)


def latency_metric(device: str) -> str:
    """The name of a device's latency in goals and observations."""
    return f"latency_ms[{device}]"


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and `--set` overrides (`budget.candidates=32`).

    Relative paths in the file are relative to the file.

    Raises:
        ConfigError: Everything that is wrong, at once.
    """
    return parse_config(read_yaml(path, overrides), source=str(path), folder=path.parent)


def parse_config(values: Mapping[str, Any], *, source: str, folder: Path | None = None) -> Config:
    """Check a configuration given as plain values.

    Args:
        values: As read from YAML or from the store.
        source: What to call it in errors.
        folder: What relative paths are relative to; None leaves them.

    Raises:
        ConfigError: Everything that is wrong, at once.
    """
    config = validate(Config, values, source=source, folder=folder)
    if problems := cross_check(config):
        raise ConfigError(source, problems)
    return config
