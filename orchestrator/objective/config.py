"""Configuration of the objectives: one model per `kind`, free of torch, so that a config is checked at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.errors import ConfigError, DataError, Problem
from orchestrator.space.base import NetworkOptions, Space
from orchestrator.space.mobilenetv3 import MobileNetV3

ProxyName = Literal["jacobian_macs", "meco", "zico"]
RANDOM_IMAGES = "random"


class _Config(BaseModel):
    """Unknown fields are errors; a config never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def problems(self, space: Space, network: NetworkOptions) -> list[Problem]:
        """Why the objective cannot serve this space with these networks, which are right; most serve all."""
        return []


class TrainingConfig(_Config):
    """Train each candidate's network.

    Attributes:
        dataset: `digits` (bundled with scikit-learn), a `.npz`, or a folder with one sub-folder of pictures per class.
        epochs: Passes over the training images.
        batch: Images in a step.
        learning_rate: Peak of the cosine schedule.
        momentum, weight_decay: Of SGD; convolutions and matrices decay, batch-norm and biases do not.
        label_smoothing: Share of the target spread over all classes.
        shift: Images are moved by up to this share of their size in each direction.
        flip: Whether images are mirrored at random; wrong for digits and text.
        validation, test: Share of the images; test images of the data set's own replace the latter. Many validation
            images pay: accuracies after few epochs then rank networks more alike from seed to seed.
        split_seed: Of the split, which is the same for all candidates.
        device: `auto` takes CUDA where there is one.
        threads: CPU threads of a training.
    """

    kind: Literal["training"] = "training"
    dataset: Literal["digits"] | Path = "digits"
    epochs: int = Field(default=3, ge=1, le=10_000)
    batch: int = Field(default=64, ge=2, le=65_536)
    learning_rate: float = Field(default=0.1, gt=0, le=100, allow_inf_nan=False)
    momentum: float = Field(default=0.9, gt=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    shift: float = Field(default=0.125, ge=0, le=0.5)
    flip: bool = False
    validation: float = Field(default=0.25, gt=0, lt=1)
    test: float = Field(default=0.15, gt=0, lt=1)
    split_seed: int = Field(default=0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=1, ge=1, le=1024)

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test must be below 1, got {self.validation + self.test:g}")
        return self


class TableConfig(_Config):
    """Look the accuracy up.

    Attributes:
        path: CSV or Parquet with a column of architecture strings (`arch` or `arch_str`).
        column: Accuracy in percent.
    """

    kind: Literal["table"] = "table"
    path: Path
    column: str = Field(min_length=1)


class OfaPredictorConfig(_Config):
    """Ask OFA's accuracy predictor; for the space `mobilenetv3`.

    Attributes:
        weights: `.npz` of the predictor's layers; see `orchestrator.predict.ofa_accuracy`.
    """

    kind: Literal["ofa_predictor"] = "ofa_predictor"
    weights: Path

    def problems(self, space: Space, network: NetworkOptions) -> list[Problem]:
        """It reads OFA's dictionaries, which only one space has, and knows some square inputs."""
        if not isinstance(space, MobileNetV3):
            return [Problem("accuracy.kind", self.kind, f"another kind: this one knows mobilenetv3, not {space.name}")]
        _, height, width, _ = network.input_shape
        if height != width and not space.resolutions:
            return [Problem("space.input", list(network.input_shape), "height = width: the predictor knows one size")]
        if not self.weights.exists():  # told beside all other paths
            return []
        from orchestrator.predict.ofa_accuracy import OfaAccuracy

        try:
            OfaAccuracy(self.weights, space, resolution=height)
        except ConfigError as error:
            return list(error.problems)
        except DataError as error:
            return [Problem("accuracy.weights", str(self.weights), f"{error.message}; {error.hint}")]
        return []


class ProxyConfig(_Config):
    """Score the untrained network.

    Attributes:
        proxy: Which score; see `orchestrator.objective.proxy`.
        dataset: Images it is shown; `random` is Gaussian noise. Else as `TrainingConfig.dataset`.
        batch: Images shown.
        repeats: Initialisations averaged.
        sample_seed: Of the images' choice, which is the same for all candidates.
        threads: CPU threads.
    """

    kind: Literal["proxy"] = "proxy"
    proxy: ProxyName = "jacobian_macs"
    dataset: Literal["digits", "random"] | Path = "random"
    batch: int = Field(default=32, ge=4, le=4096)
    repeats: int = Field(default=1, ge=1, le=100)
    sample_seed: int = Field(default=0, ge=0)
    threads: int = Field(default=1, ge=1, le=1024)


class CommandConfig(_Config):
    """Ask the user's own program; see `CommandObjective`.

    Attributes:
        argv: Program and arguments; no shell sees them.
        timeout_s: It is killed after this long, time stopped for latency blocks not counted.
        uses_host: Whether it computes on this machine, so that it must stop while a latency block runs here.
    """

    kind: Literal["command"] = "command"
    argv: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    timeout_s: float = Field(default=3600, gt=0, le=30 * 86_400, allow_inf_nan=False)
    uses_host: bool = True


ObjectiveConfig = Annotated[
    TrainingConfig | TableConfig | OfaPredictorConfig | ProxyConfig | CommandConfig, Field(discriminator="kind")
]
