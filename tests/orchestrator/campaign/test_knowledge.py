"""What a campaign is told before it measures: the prior that ships, one of the user's own, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.campaign import knowledge
from orchestrator.campaign.config import Config, parse_config
from orchestrator.campaign.knowledge import knowledge_of
from orchestrator.campaign.warm_start import WarmStart
from orchestrator.errors import ConfigError
from orchestrator.generate.pool import width
from orchestrator.predict.latency.checkpoint import save_prior
from orchestrator.predict.latency.prior import fit_prior
from orchestrator.predict.latency.structures import relaxed, structures_of
from orchestrator.space.nasbench201 import NASBench201

SPACE = NASBench201()
HOST = "latency_ms[host]"


def config(**changes: Any) -> Config:
    values: dict[str, Any] = {
        "name": "test",
        "space": {"kind": "nasbench201"},
        "accuracy": {"kind": "proxy", "proxy": "jacobian_macs"},
        "devices": [{"kind": "host"}],
    }
    return parse_config({**values, **changes}, source="test")


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    slots = SPACE.sample(100, np.random.default_rng(0))
    latency = 1 + (np.array([0.0, 0.1, 1.0, 3.0, 0.6])[slots]).sum(axis=1)
    path = tmp_path_factory.mktemp("prior") / "prior.safetensors"
    tables = {"a": (relaxed(slots, width(SPACE)), latency)}
    save_prior(path, SPACE, fit_prior(structures_of(SPACE), tables))
    return path


def test_devices_that_run_get_the_prior_that_ships_and_tables_none() -> None:
    assert knowledge_of(config(), SPACE, WarmStart(), ()).prices[HOST]
    assert not knowledge_of(config(), SPACE, WarmStart(), {"host"}).prices[HOST]
    assert not knowledge_of(config(latency_prior="none"), SPACE, WarmStart(), ()).prices[HOST]


def test_a_named_prior_is_for_all_devices(prior: Path) -> None:
    known = knowledge_of(config(latency_prior=str(prior)), SPACE, WarmStart(), {"host"})
    assert sum(each.share for each in known.prices[HOST]) == pytest.approx(1.0)


def test_a_space_without_a_prior_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "has_shipped_prior", lambda _: False)
    assert not knowledge_of(config(), SPACE, WarmStart(), ()).prices[HOST]


def test_a_prior_that_cannot_be_used_is_named_before_anything_runs(prior: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"latency_prior: .*an existing file"):
        config(latency_prior=str(tmp_path / "nothing.safetensors"))
    with pytest.raises(ConfigError, match=r"latency_prior: .*nasbench201"):
        config(space={"kind": "mobilenetv3"}, latency_prior=str(prior))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(prior.read_bytes()[:200])
    with pytest.raises(ConfigError, match="latency_prior"):
        config(latency_prior=str(broken))
