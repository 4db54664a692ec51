"""OFA's predictor as an objective."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import ConfigError
from orchestrator.objective.base import AccuracyJob
from orchestrator.objective.config import OfaPredictorConfig
from orchestrator.objective.ofa_predictor import OfaPredictorObjective
from orchestrator.predict.ofa_accuracy import OfaAccuracy
from orchestrator.space.base import Architecture, NetworkOptions
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from tests.contracts.objective_contract import JobMaker, ObjectiveContract
from tests.orchestrator.predict.test_ofa_accuracy import write_predictor

SPACE = MobileNetV3()
KNOWN = [SPACE.architecture(row) for row in SPACE.sample(2, np.random.default_rng(0))]


@pytest.fixture
def config(tmp_path: Path) -> OfaPredictorConfig:
    return OfaPredictorConfig(weights=write_predictor(tmp_path / "weights.npz"))


class TestOfaPredictorObjective(ObjectiveContract):
    network = NetworkOptions((1, 192, 192, 3), 1000, {"width": 1.2})

    @pytest.fixture
    def architectures(self) -> list[Architecture]:
        return KNOWN

    @pytest.fixture
    def objective(self, config: OfaPredictorConfig) -> OfaPredictorObjective:
        return OfaPredictorObjective(config, SPACE, self.network)

    def test_the_value_is_the_predictors_and_exact(
        self, objective: OfaPredictorObjective, config: OfaPredictorConfig, make_job: JobMaker
    ) -> None:
        result = objective.evaluate(make_job(KNOWN[0]))
        (expected,) = OfaAccuracy(config.weights, SPACE, resolution=192).of(np.array([KNOWN[0].slots]))
        assert result.accuracy == expected
        assert result.standard_error == 0


def test_a_searched_resolution_is_the_architectures(config: OfaPredictorConfig, tmp_path: Path) -> None:
    space, network = MobileNetV3(resolutions=(160, 224)), NetworkOptions((1, 32, 64, 3), 10)
    objective = OfaPredictorObjective(config, space, network)
    small, large = (
        objective.evaluate(AccuracyJob(0, space.parse(f"{KNOWN[0].text}@{resolution}"), network, 0, tmp_path))
        for resolution in space.resolutions
    )
    assert small.accuracy != large.accuracy


def test_another_space_or_input_is_refused(config: OfaPredictorConfig) -> None:
    with pytest.raises(ConfigError, match="mobilenetv3, not nasbench201"):
        OfaPredictorObjective(config, NASBench201(), NetworkOptions((1, 224, 224, 3), 10))
    for shape in ((1, 224, 192, 3), (1, 64, 64, 3)):
        with pytest.raises(ConfigError):
            OfaPredictorObjective(config, SPACE, NetworkOptions(shape, 10))
