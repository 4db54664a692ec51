from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from orchestrator.errors import DataError, ObjectiveFailed
from orchestrator.objective.config import ProxyConfig
from orchestrator.objective.initialise import initialised
from orchestrator.objective.proxy import PROXIES, ProxyObjective, jacobian, jacobian_macs, make_sample
from orchestrator.space.base import Architecture
from orchestrator.space.nasbench201 import NASBench201
from tests.contracts.objective_contract import JobMaker, ObjectiveContract

SPACE = NASBench201()
NETWORK = ObjectiveContract.network
BEST = SPACE.architecture((3, 3, 3, 1, 3, 3))  # close to the top of the benchmark
POOLS = SPACE.architecture((4, 4, 4, 4, 4, 4))
CONSTANT = SPACE.architecture((0, 0, 0, 0, 0, 0))


def objective_of(**config: object) -> ProxyObjective:
    return ProxyObjective(ProxyConfig.model_validate(config), SPACE, NETWORK)


class TestProxyObjective(ObjectiveContract):
    @pytest.fixture
    def architectures(self) -> list[Architecture]:
        return [BEST, CONSTANT]

    @pytest.fixture(params=sorted(PROXIES))
    def objective(self, request: pytest.FixtureRequest) -> ProxyObjective:
        return objective_of(proxy=request.param)

    def test_it_tells_good_from_bad(self, objective: ProxyObjective, make_job: JobMaker) -> None:
        best, pools, constant = (
            objective.evaluate(make_job(architecture)).accuracy for architecture in (BEST, POOLS, CONSTANT)
        )
        assert best > pools >= constant

    def test_repeats_are_averaged(self, make_job: JobMaker) -> None:
        result = objective_of(repeats=4, proxy="meco").evaluate(make_job(BEST))
        scores = result.details["scores"]
        assert len(set(scores)) == 4
        assert result.accuracy == pytest.approx(sum(scores) / 4)
        assert result.standard_error is not None
        assert 0 < result.standard_error < 1

    def test_an_overflow_is_a_failure(self, make_job: JobMaker, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(PROXIES, "zico", lambda module, sample: math.inf)  # type: ignore[arg-type]
        with pytest.raises(ObjectiveFailed, match=r"proxy zico of .* is \[inf\]") as failure:
            objective_of(proxy="zico").evaluate(make_job(BEST))
        assert failure.value.code == "not_finite"


def test_the_sample_is_the_configs() -> None:
    noise = make_sample(ProxyConfig(batch=16), NETWORK)
    assert noise.images.shape == (16, 1, 8, 8)
    assert torch.equal(noise.images, make_sample(ProxyConfig(batch=16), NETWORK).images)
    assert not torch.equal(noise.images, make_sample(ProxyConfig(batch=16, sample_seed=1), NETWORK).images)
    digits = make_sample(ProxyConfig(batch=16, dataset="digits"), NETWORK)
    assert digits.images.shape == (16, 1, 8, 8)
    assert len(set(digits.labels.tolist())) > 3
    with pytest.raises(DataError, match="no such file"):
        objective_of(dataset=Path("absent"))


def test_images_that_look_alike_score_low() -> None:
    """The Jacobian score is 0 when no two images are alike, and log(k) when all are."""
    module = initialised(SPACE.network(CONSTANT, NETWORK), 0)
    sample = make_sample(ProxyConfig(batch=16), NETWORK)
    assert jacobian(module, sample) == pytest.approx(math.log(1e-5 * 16 / 15), abs=0.01)
    wide = initialised(SPACE.network(BEST, NETWORK), 0)
    assert -2 < jacobian(wide, sample) <= 0
    macs = wide.network.multiply_adds
    again = initialised(SPACE.network(BEST, NETWORK), 0)
    assert jacobian_macs(again, sample) == pytest.approx(math.log(macs) + 2 * jacobian(wide, sample), abs=1e-6)
