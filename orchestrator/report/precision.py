"""Winners in a campaign's precision: calibrated on the images they were trained on, compared with float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.campaign.config import Config
from orchestrator.errors import ExportError
from orchestrator.objective.config import TrainingConfig
from profiling.network import Network
from profiling.precision import Precision, PrecisionError, convert, outputs

_CALIBRATION_IMAGES = 32
_COMPARED_IMAGES = 200

Image = NDArray[np.float32]  # (1, height, width, channels), normalised


@dataclass(frozen=True)
class Images:
    """What a conversion is calibrated on, and compared on; empty where the campaign has no images.

    Attributes:
        calibration: Of the training images.
        compared: Of the validation images.
    """

    calibration: tuple[Image, ...] = ()
    compared: tuple[Image, ...] = ()


def images_of(config: Config, network: Network) -> Images:
    """Images at the network's input shape, if the campaign trains and its precision needs any."""
    if config.measure.precision == "float32" or not isinstance(config.accuracy, TrainingConfig):
        return Images()
    from orchestrator.objective.dataset import Split, load_dataset

    accuracy = config.accuracy
    dataset = load_dataset(
        str(accuracy.dataset),
        network.input_shape,
        config.space.classes,
        seed=accuracy.split_seed,
        validation=accuracy.validation,
        test=accuracy.test,
    )

    def first(split: Split, count: int) -> tuple[Image, ...]:
        # The channels go last, as artifacts have them.
        return tuple(image[None] for image in split.images[:count].permute(0, 2, 3, 1).contiguous().numpy())

    return Images(first(dataset.train, _CALIBRATION_IMAGES), first(dataset.validation, _COMPARED_IMAGES))


def converted(model: bytes, precision: Precision, images: Images, name: str) -> bytes:
    """A float32 artifact in another precision. Raises ExportError."""
    try:
        return convert(model, precision, images.calibration or None)
    except PrecisionError as error:
        raise ExportError(f"{name}: {error.message}", error.hint) from error


def agreement(exact: bytes, rounded: bytes, images: Sequence[Image]) -> float | None:
    """Share of images that both artifacts put into the same class; None without images."""
    if not images:
        return None
    answers = zip(outputs(exact, images), outputs(rounded, images), strict=True)
    return float(np.mean([one.argmax() == other.argmax() for one, other in answers]))
