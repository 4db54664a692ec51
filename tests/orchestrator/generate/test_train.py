from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from orchestrator.errors import CheckpointError
from orchestrator.generate.base import Request
from orchestrator.generate.diffusion_nag.checkpoint import load_checkpoint, save_checkpoint, shipped_checkpoint
from orchestrator.generate.diffusion_nag.generator import DiffusionNAG
from orchestrator.generate.diffusion_nag.score_network import NetworkConfig
from orchestrator.generate.diffusion_nag.sde import encode, perturb
from orchestrator.generate.diffusion_nag.train import TrainConfig, train_score
from orchestrator.generate.diffusion_nag.training_set import from_file, random_share, uniform_draws
from orchestrator.generate.tensor_file import read_tensors, write_tensors
from orchestrator.generate.training import Progress, state_file
from orchestrator.space.nasbench201 import EDGES, NASBench201
from tests.orchestrator.generate.spaces import GappedSpace

SPACE = NASBench201()
CONFIG = TrainConfig(steps=12, batch=32, warmup=4, save_every=5, network=NetworkConfig(channels=16, layers=2, heads=2))


def _train(out: Path, config: TrainConfig = CONFIG, *, until: int | None = None, resume: bool = False) -> Progress:
    reached = 0

    def note(now: Progress) -> None:
        nonlocal reached
        reached = now.step

    slots, described = random_share(SPACE, 0.5, 3)
    return train_score(
        SPACE,
        slots,
        described,
        config,
        out,
        resume=resume,
        progress=note,
        stop=lambda: until is not None and reached >= until,
    )


def test_interrupted_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    assert _train(whole).step == 12
    assert _train(parts, until=7).step == 7
    assert not parts.exists()
    assert _train(parts, until=9, resume=True).step == 9
    assert _train(parts, resume=True).step == 12
    expected, got = read_tensors(whole)[0], read_tensors(parts)[0]
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert not state_file(parts).exists()
    assert not list(tmp_path.glob("*.part"))


def test_a_crash_loses_at_most_the_steps_since_the_last_saving(tmp_path: Path) -> None:
    out = tmp_path / "crashed.safetensors"

    def crash(now: Progress) -> None:
        if now.step == 8:
            raise KeyboardInterrupt

    slots, described = random_share(SPACE, 0.5, 3)
    with pytest.raises(KeyboardInterrupt):
        train_score(SPACE, slots, described, CONFIG, out, progress=crash)
    assert read_tensors(state_file(out))[1]["reached"]["step"] == 5
    _train(out, resume=True)
    _train(tmp_path / "whole.safetensors")
    expected, got = read_tensors(tmp_path / "whole.safetensors")[0], read_tensors(out)[0]
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_an_unfinished_training_is_neither_overwritten_nor_mixed_up(tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    _train(out, until=3)
    with pytest.raises(CheckpointError, match="unfinished training") as caught:
        _train(out)
    assert "--resume" in caught.value.hint
    with pytest.raises(CheckpointError, match="another training"):
        _train(out, replace(CONFIG, seed=1), resume=True)
    state_file(out).write_bytes(state_file(out).read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="corrupt"):
        _train(out, resume=True)


def test_training_learns_what_slots_say_about_each_other(tmp_path: Path) -> None:
    """All six operators equal: a slot drowned in noise is told by the others. An untrained network cannot know."""
    slots = np.repeat(np.arange(5)[:, None], 6, axis=1)
    out = tmp_path / "equal.safetensors"
    config = replace(CONFIG, steps=200, batch=64, learning_rate=3e-3, warmup=10, ema_decay=0.9)
    train_score(SPACE, slots, from_file(slots, "equal.txt"), config, out)
    checkpoint = load_checkpoint(out, SPACE)
    sigma = torch.full((50,), 1.5)
    rows = np.random.default_rng(0).integers(5, size=50)
    x = perturb(encode(slots[rows], 5), sigma, torch.Generator().manual_seed(0))
    joined = np.array(EDGES) != (0, 3)  # but the direct edge, which shares no path with another
    told = (checkpoint.network(x, sigma).argmax(dim=2).numpy() == rows[:, None])[:, joined.any(axis=1)].mean()
    alone = (x.argmax(dim=2).numpy() == rows[:, None])[:, joined.any(axis=1)].mean()
    assert told > alone + 0.15
    proposal = DiffusionNAG(SPACE, checkpoint=out).propose(Request(40, seed=0))
    assert proposal.novelty is None, "a file's architectures cannot be made again"


def test_weights_decide_what_is_learned(tmp_path: Path) -> None:
    slots = np.array([[0] * 6, [3] * 6])
    out = tmp_path / "weighted.safetensors"
    config = replace(CONFIG, steps=60, learning_rate=3e-3, warmup=5, ema_decay=0.8)
    train_score(SPACE, slots, from_file(slots, "two.txt"), config, out, weights=np.array([0.0, 1.0]))
    p = load_checkpoint(out, SPACE).network.probabilities(torch.zeros(1, 6, 5), torch.tensor([5.0]))
    assert (p[0, :, 3] > 0.8).all()


def test_a_checkpoint_says_what_it_is(tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    _train(out)
    checkpoint = load_checkpoint(out, SPACE)
    trained_on = checkpoint.training_set.architectures(SPACE)
    assert trained_on is not None
    assert (trained_on == random_share(SPACE, 0.5, 3)[0]).all()
    assert checkpoint.provenance["train"]["steps"] == 12
    assert checkpoint.provenance["cpu_seconds"] > 0
    assert not any(weight.requires_grad for weight in checkpoint.network.parameters())


def test_training_sets_can_be_made_again() -> None:
    drawn, described = uniform_draws(SPACE, 100, 5)
    again = described.architectures(SPACE)
    assert again is not None
    assert (again == drawn).all()
    with pytest.raises(CheckpointError, match="cannot be made again"):
        replace(described, sha256="0" * 64).architectures(SPACE)


def test_unusable_checkpoints_are_told_apart(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    _train(good)
    tensors, header = read_tensors(good)

    def broken(**changes: object) -> Path:
        path = tmp_path / f"{'-'.join(changes)}-{len(list(tmp_path.iterdir()))}.safetensors"
        write_tensors(path, tensors, {**header, **changes})
        return path

    for path, says in [
        (tmp_path / "absent.safetensors", "no checkpoint at"),
        (tmp_path, "no checkpoint at"),
        (broken(format="other/1"), "not a score network"),
        (broken(space="mobilenetv3"), "'mobilenetv3', not for 'nasbench201'"),
        (broken(choices=[["a", "b"]] * 6), "other choices"),
        (broken(network={"channels": 32}), "do not fit"),
        (broken(network={"width": 32}), "do not fit"),
        (broken(training_set=None), "do not fit"),
    ]:
        with pytest.raises(CheckpointError, match=says) as caught:
            load_checkpoint(path, SPACE)
        assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 64, b"\xff" * 8 + b"junk", b"x" * 5000])
def test_junk_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "junk.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="junk"):
        load_checkpoint(path, SPACE)


def test_a_header_that_is_no_object_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    for entry in ("[1]", "null", "{"):
        path.write_bytes(safetensors.torch.save({"a": torch.zeros(1)}, {"devicenag": entry}))
        with pytest.raises(CheckpointError):
            load_checkpoint(path, SPACE)
    path.write_bytes(safetensors.torch.save({"a": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match="not a score network"):
        load_checkpoint(path, SPACE)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    checkpoint = load_checkpoint(shipped_checkpoint(SPACE), SPACE)
    with pytest.raises(CheckpointError, match="cannot write"):
        save_checkpoint(
            tmp_path / "file" / "a.safetensors", SPACE, checkpoint.network.state_dict(), NetworkConfig(),
            checkpoint.sde, checkpoint.training_set, {},
        )  # fmt: skip


def test_the_shipped_checkpoint_is_small_and_says_how_it_was_made() -> None:
    path = shipped_checkpoint(SPACE)
    assert path.stat().st_size <= 4_000_000
    checkpoint = load_checkpoint(path, SPACE)
    assert checkpoint.training_set.kind == "random_share"
    assert checkpoint.training_set.count == 7_812
    assert checkpoint.provenance["command"].startswith("nag train score --space nasbench201 ")
    assert json.dumps(dict(checkpoint.provenance))
    with pytest.raises(CheckpointError, match="no score network for gapped"):
        shipped_checkpoint(GappedSpace())
