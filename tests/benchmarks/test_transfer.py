"""The benchmark across data sets: its splits keep kinds apart, its replay trains nothing twice, its pictures differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from orchestrator.predict.accuracy_belief import AccuracyBelief
from orchestrator.predict.surrogates import SurrogateFitter
from tests.orchestrator.predict.transfer.synthetic import SPACE, task

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def transfer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`benchmarks/transfer.py`."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import transfer

    return transfer


def test_splits_hold_out_each_task_once_and_kinds_whole(transfer: ModuleType) -> None:
    tasks = [replace(task(number, True), source="abc"[number % 3]) for number in range(9)]
    for splits in (list(transfer.kinds(tasks)), list(transfer.folds(tasks, 0))):
        held_out = [each.name for _, held in splits for each in held]
        assert sorted(held_out) == sorted(each.name for each in tasks)
    for known, held in transfer.kinds(tasks):
        assert not {each.source for each in known} & {each.source for each in held}


def test_a_replay_trains_each_architecture_once_and_begins_with_what_is_believed(transfer: ModuleType) -> None:
    seen, fitter = task(1, True), SurrogateFitter(SPACE)
    right = AccuracyBelief(lambda slots: 100 * slots[..., 4].sum(-1) / 6, doubt=5.0, rest=1.0)
    for belief in (right, None, transfer.opposite(right)):
        chosen = transfer.replay(seen, fitter, belief, seed=0)
        assert len(set(chosen)) == len(chosen) == max(transfer.SEARCHED)
    assert seen.accuracies[transfer.replay(seen, fitter, right, 0)[0]] == seen.accuracies.max()
    assert seen.accuracies[transfer.replay(seen, fitter, transfer.opposite(right), 0)[0]] == seen.accuracies.min()


def test_pictures_are_the_same_every_time_and_of_eight_classes(transfer: ModuleType) -> None:
    import glyphs

    for name, kind in glyphs.KINDS.items():
        for variant, arguments in kind.variants.items():
            drawn = [
                np.stack([kind.draw(label, np.random.default_rng(seed), **arguments) for label in range(8)])
                for seed in (0, 0, 1)
            ]
            assert drawn[0].shape == (8, 16, 16), (name, variant)
            assert drawn[0].dtype == np.uint8
            assert np.array_equal(drawn[0], drawn[1])
            assert not np.array_equal(drawn[0], drawn[2])
