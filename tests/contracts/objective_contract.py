"""What every Objective keeps to. Subclass, and give the fixtures `objective` and `architectures`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from orchestrator.errors import ObjectiveFailed
from orchestrator.objective.base import AccuracyJob, AccuracyResult, Objective
from orchestrator.space.base import Architecture, NetworkOptions

JobMaker = Callable[..., AccuracyJob]


class ObjectiveContract:
    """The suite; `architectures` are at least two that the objective can evaluate."""

    network = NetworkOptions((1, 8, 8, 1), 10, {"channels": 4, "cells": 1})

    @pytest.fixture
    def make_job(self, tmp_path: Path) -> JobMaker:
        """Jobs with a folder per candidate."""

        def make(
            architecture: Architecture, candidate: int = 0, seed: int = 1, yield_host: Callable[[], None] = lambda: None
        ) -> AccuracyJob:
            folder = tmp_path / f"candidate-{candidate}"
            folder.mkdir(exist_ok=True)
            return AccuracyJob(candidate, architecture, self.network, seed, folder, yield_host)

        return make

    def test_is_an_objective(self, objective: Objective) -> None:
        assert isinstance(objective, Objective)
        assert objective.name in {"training", "table", "ofa_predictor", "proxy", "command"}
        assert isinstance(objective.uses_host, bool)

    def test_gives_a_usable_result(
        self, objective: Objective, architectures: Sequence[Architecture], make_job: JobMaker
    ) -> None:
        for candidate, architecture in enumerate(architectures):
            job = make_job(architecture, candidate)
            result = objective.evaluate(job)
            assert isinstance(result, AccuracyResult)
            assert math.isfinite(result.accuracy)
            assert result.standard_error is None or 0 <= result.standard_error < math.inf
            assert result.seconds >= 0
            if result.weights is not None:
                assert result.weights.is_file()
                assert job.folder in result.weights.parents
            assert json.loads(json.dumps(result.details, allow_nan=False)) is not None

    def test_same_job_same_accuracy(
        self, objective: Objective, architectures: Sequence[Architecture], make_job: JobMaker
    ) -> None:
        first = objective.evaluate(make_job(architectures[0], 1, seed=5))
        objective.evaluate(make_job(architectures[1], 2, seed=6))
        again = objective.evaluate(make_job(architectures[0], 3, seed=5))
        assert again.accuracy == first.accuracy

    def test_makes_way_for_latency_blocks(
        self, objective: Objective, architectures: Sequence[Architecture], make_job: JobMaker
    ) -> None:
        calls = []
        objective.evaluate(make_job(architectures[0], yield_host=lambda: calls.append(1)))
        assert bool(calls) or not objective.uses_host

    def test_close_is_idempotent_and_final(
        self, objective: Objective, architectures: Sequence[Architecture], make_job: JobMaker
    ) -> None:
        objective.close()
        objective.close()
        if objective.uses_host:
            with pytest.raises(ObjectiveFailed) as failure:
                objective.evaluate(make_job(architectures[0]))
            assert failure.value.retry
