"""Which trackers a campaign tells, as its configuration names them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Tracker(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    needs: ClassVar[str]
    """The package without which it does not work; the extra is called as the kind."""

    @property
    def is_there(self) -> bool:
        """Whether that package is installed."""
        return find_spec(self.needs) is not None


class TensorBoardConfig(_Tracker):
    """Event files for TensorBoard; `tensorboard --logdir` of the folder shows them while the campaign runs."""

    needs = "tensorboard"
    kind: Literal["tensorboard"]
    folder: str = Field("tensorboard", min_length=1, description="inside the run folder")


class MlflowConfig(_Tracker):
    """One run of an MLflow experiment."""

    needs = "mlflow"
    kind: Literal["mlflow"]
    uri: str = Field("", description="of the tracking server; default: what MLFLOW_TRACKING_URI or MLflow itself says")
    experiment: str = Field("", description="default: the campaign's name")


TrackerConfig = Annotated[TensorBoardConfig | MlflowConfig, Field(discriminator="kind")]
