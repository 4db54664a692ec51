"""The plan: every combination once, in a random order, replicates for a share of the models."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np

from orchestrator.collect.plan import all_settings, make_jobs
from orchestrator.collect.records import CollectJob, CollectModel
from profiling.records import Failure
from tests.orchestrator.collect.test_config import collection

MODELS = [CollectModel(i, f"m{i}", "nasbench201", f"m{i}") for i in range(40)]
PHONES = {"kind": "virtual", "count": 4, "profiles": ["virtual8", "virtual6"]}


def planned(models: list[CollectModel] = MODELS, **changes: Any) -> list[CollectJob]:
    config = collection(**{"settings": {"threads": [1, 4]}, **changes})
    counts = {"host": 1, "Virtual 8": 2, "Virtual 6": 2}
    return list(make_jobs(config, models, counts))


def test_every_combination_once_and_in_random_order() -> None:
    jobs = planned(overlap={"share": 0})
    assert [job.id for job in jobs] == list(range(80))
    assert len({(job.model.id, job.setting) for job in jobs}) == 80
    order = [job.model.id for job in jobs]
    assert abs(np.corrcoef(order, range(80))[0, 1]) < 0.4
    assert jobs == planned(overlap={"share": 0})
    assert [job.model for job in jobs] != [job.model for job in planned(seed=1, overlap={"share": 0})]


def test_settings_of_a_model_follow_one_another() -> None:
    jobs = planned(overlap={"share": 0}, devices=[{"kind": "host"}, PHONES])
    changes = sum(a.model.id != b.model.id for a, b in itertools.pairwise(jobs))
    assert changes == len(MODELS) - 1
    first = Counter((job.setting.threads, job.device) for job in jobs[::6])
    assert len(first) > 3  # but not always in the same order


def test_a_share_of_models_is_measured_on_several_phones_of_a_kind() -> None:
    jobs = planned(overlap={"share": 0.1}, devices=[{"kind": "host"}, PHONES])
    overlapping = {job.model.id for job in jobs if job.overlap}
    assert len(overlapping) == 4
    assert all(job.device != "host" for job in jobs if job.overlap)
    counts = Counter((job.model.id, job.setting, job.device) for job in jobs)
    assert set(counts.values()) == {1, 2}
    assert {job.replicate for job in jobs if job.overlap} == {0, 1}


def test_files_are_measured_as_they_are_instead_of_as_float32() -> None:
    broken = CollectModel(1, "broken.tflite", failure=Failure("user", "corrupt_model", "it is empty"))
    models = [CollectModel(0, "a.tflite"), broken, CollectModel(2, "b", "nasbench201", "b")]
    config = collection(settings={"precision": ["float32", "int8"]})
    assert {setting.precision for setting in all_settings(config)} == {"float32", "int8", "original"}
    precisions = {
        model.name: {job.setting.precision for job in make_jobs(config, models, {}) if job.model == model}
        for model in models
    }
    assert precisions == {"a.tflite": {"original", "int8"}, "broken.tflite": set(), "b": {"float32", "int8"}}
