"""The score networks that ship, against what they should have learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.generate.base import Request
from orchestrator.generate.diffusion_nag.checkpoint import Checkpoint, load_checkpoint, shipped_checkpoint, untrained
from orchestrator.generate.diffusion_nag.generator import DiffusionNAG
from orchestrator.generate.diffusion_nag.sampler import Denoiser
from orchestrator.generate.diffusion_nag.sde import encode, perturb
from orchestrator.generate.pool import width
from orchestrator.space.base import Space, one_hot
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from tests.orchestrator.generate.priors import denoise_mobilenetv3, denoiser_of

SIGMAS = (0.15, 0.4, 1.0, 2.0, 5.0)


def beyond_bayes(checkpoint: Checkpoint, space: Space, exact: Denoiser, sigma: float) -> float:
    """By which share a network's mean squared error exceeds the least possible one, that of E[x_0 | x_t].

    Orthogonality makes it |D - D_exact|^2 / |D_exact - x_0|^2, which needs few draws.
    """
    x0 = encode(space.sample(400, np.random.default_rng(0)), width(space))
    x = perturb(x0, torch.full((400,), sigma), torch.Generator().manual_seed(0))
    best = exact(x, sigma)
    with torch.no_grad():
        gap = checkpoint.network(x, torch.full((400,), sigma)) - best
    return float(gap.square().sum() / (best - x0).square().sum().clamp_min(1e-3))


def test_on_nasbench201_the_denoiser_is_that_of_the_uniform_prior() -> None:
    """Trained on a half of the space, that it cannot remember."""
    space = NASBench201()
    checkpoint = load_checkpoint(shipped_checkpoint(space), space)
    exact = denoiser_of(encode(space.all(), 5))
    for sigma in SIGMAS:
        assert beyond_bayes(checkpoint, space, exact, sigma) < 0.02


def test_on_mobilenetv3_the_denoiser_is_that_of_the_uniform_prior() -> None:
    """The depths and the blocks that are not there tell of each other; an untrained network knows nothing of it."""
    space = MobileNetV3()
    checkpoint = load_checkpoint(shipped_checkpoint(space), space)
    learned = [beyond_bayes(checkpoint, space, denoise_mobilenetv3, sigma) for sigma in SIGMAS]
    innate = [beyond_bayes(untrained(space), space, denoise_mobilenetv3, sigma) for sigma in SIGMAS]
    assert max(learned) < 0.05
    assert max(innate) > 0.1
    assert all(own <= before + 1e-4 for own, before in zip(learned, innate, strict=True))


def test_the_closed_form_on_mobilenetv3_is_bayes_rule() -> None:
    """Against a sum over every architecture that differs from one in the first stage alone, of 9^4 + 9^3 + 9^2."""
    space = MobileNetV3()
    rest = space.sample(1, np.random.default_rng(0))[0]
    every, log_prior = [], []
    for depth in range(3):
        for blocks in np.ndindex(*([9] * (depth + 2))):
            row = rest.copy()
            row[0] = depth
            row[5:9] = 0
            row[5 : 7 + depth] = blocks
            every.append(row)
            log_prior.append(-(depth + 2) * np.log(9))  # uniform in the depth, then in the blocks
    x0 = torch.from_numpy(2 * one_hot(np.array(every), 9) - 1)
    x = perturb(x0[[5, 500, 7000]], torch.full((3,), 0.7), torch.Generator().manual_seed(0))
    # What other stages say is the same for all of them, so it cancels; their own slots are not compared.
    log_posterior = torch.einsum("bsv,nsv->bn", x, x0) / 0.7**2 + torch.tensor(log_prior)
    expected = torch.einsum("bn,nsv->bsv", log_posterior.softmax(dim=1), x0)
    first = [0, 5, 6, 7, 8]
    assert torch.allclose(denoise_mobilenetv3(x, 0.7)[:, first], expected[:, first], atol=1e-9)


@pytest.mark.parametrize("kind", [None, "quality", "untrained"])
def test_samples_are_valid_before_projection(kind: str | None) -> None:
    proposal = DiffusionNAG(MobileNetV3(), checkpoint=kind).propose(Request(300, seed=0))  # type: ignore[arg-type]
    assert proposal.validity_unprojected >= 0.99
    assert proposal.uniqueness is not None
    assert proposal.uniqueness >= 0.99


def test_shipped_files_are_small_and_say_how_they_were_made() -> None:
    for space, variant, kind in (
        (NASBench201(), None, "random_share"),
        (MobileNetV3(), None, "uniform_draws"),
        (MobileNetV3(), "quality", "tilted_draws"),
    ):
        path = shipped_checkpoint(space, variant)
        assert path.stat().st_size <= 1_000_000
        checkpoint = load_checkpoint(path, space)
        assert checkpoint.training_set.kind == kind
        assert checkpoint.provenance["command"].startswith(f"nag train score --space {space.name} --steps ")
        assert "/" not in checkpoint.provenance["command"]
        assert checkpoint.provenance["cpu_seconds"] > 0
