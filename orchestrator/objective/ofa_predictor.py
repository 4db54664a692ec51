"""OfaPredictorObjective: the accuracy that OFA's predictor gives a MobileNetV3 architecture."""

from __future__ import annotations

import time

import numpy as np

from orchestrator.errors import ConfigError
from orchestrator.objective.base import AccuracyJob, AccuracyResult
from orchestrator.objective.config import OfaPredictorConfig
from orchestrator.predict.ofa_accuracy import OfaAccuracy
from orchestrator.space.base import NetworkOptions, Space
from orchestrator.space.mobilenetv3 import MobileNetV3


class OfaPredictorObjective:
    """ImageNet top-1 in percent, as `orchestrator.predict.ofa_accuracy` reads it from a file of weights.

    The predictor stands for the truth here, so its values are exact: their standard error is 0.
    """

    name = "ofa_predictor"
    uses_host = False

    def __init__(self, config: OfaPredictorConfig, space: Space, network: NetworkOptions) -> None:
        """Args:
        config: Which weights.
        space: MobileNetV3.
        network: Its input gives the resolution, where the space does not search it.

        Raises:
            ConfigError: Another space, an input that the predictor does not know, or a file that is no predictor.
            DataError: There is no such file.
        """
        if problems := config.problems(space, network):
            raise ConfigError("accuracy", problems)
        assert isinstance(space, MobileNetV3)
        self._accuracy = OfaAccuracy(config.weights, space, resolution=network.input_shape[1])

    def evaluate(self, job: AccuracyJob) -> AccuracyResult:
        """The prediction."""
        started = time.monotonic()
        (accuracy,) = self._accuracy.of(np.array([job.architecture.slots], dtype=np.int64))
        return AccuracyResult(float(accuracy), standard_error=0.0, seconds=time.monotonic() - started)

    def close(self) -> None:
        """Nothing to release."""
