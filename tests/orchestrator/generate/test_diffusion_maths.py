"""The pieces of DiffusionNAG against what is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from orchestrator.generate.ascent import unit
from orchestrator.generate.base import Terms
from orchestrator.generate.diffusion_nag.checkpoint import new_network
from orchestrator.generate.diffusion_nag.guidance import Guide
from orchestrator.generate.diffusion_nag.sampler import SAMPLERS, sample_ancestral
from orchestrator.generate.diffusion_nag.score_network import NetworkConfig
from orchestrator.generate.diffusion_nag.sde import VESDE, encode, perturb, score
from orchestrator.generate.memory import Memory
from orchestrator.generate.pool import enumerate_space
from orchestrator.space.base import Space
from orchestrator.space.nasbench201 import NASBench201
from tests.contracts.generator_contract import LinearUtility
from tests.orchestrator.generate.priors import denoiser_of
from tests.orchestrator.generate.spaces import GappedSpace

SDE = VESDE()
SMALL = NetworkConfig(channels=16, layers=2, heads=2)


def test_noise_levels_are_even_in_their_logarithm() -> None:
    t = torch.tensor([0.0, 0.5, 1.0])
    assert torch.allclose(SDE.sigma(t), torch.tensor([0.1, math.sqrt(0.5), 5.0]))
    schedule = SDE.schedule(10)
    assert len(schedule) == 11
    assert schedule[0] == pytest.approx(5.0)
    assert schedule[-2] == pytest.approx(0.1)
    assert schedule[-1] == 0
    assert torch.allclose(schedule[1:-1] / schedule[:-2], (schedule[1] / schedule[0]).expand(9))


def test_diffusion_is_the_rate_of_variance() -> None:
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64, requires_grad=True)
    (rate,) = torch.autograd.grad(SDE.sigma(t).square().sum(), t)
    assert torch.allclose(SDE.diffusion(t.detach()).square(), rate)


def test_perturbation_has_the_stated_mean_and_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    x0 = encode(np.zeros((20_000, 1), dtype=np.int64), 2)
    x = perturb(x0, torch.full((20_000,), 3.0), generator)
    assert torch.allclose(x.mean(dim=0), x0[0], atol=0.1)
    assert torch.allclose(x.std(dim=0), torch.tensor(3.0), atol=0.1)


def test_score_is_the_gradient_of_the_log_density() -> None:
    """Tweedie's formula with the exact denoiser against autograd through the mixture's density."""
    every = enumerate_space(GappedSpace())
    assert every is not None
    x0 = encode(every, 4).double()
    x = torch.randn(5, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    sigma = 0.8
    log_density = (-(x[:, None] - x0[None]).square().sum(dim=(2, 3)) / (2 * sigma**2)).logsumexp(dim=1)
    (gradient,) = torch.autograd.grad(log_density.sum(), x)
    denoised = denoiser_of(x0)(x.detach(), sigma)
    assert torch.allclose(score(denoised, x.detach(), torch.full((5,), sigma)), gradient)


def test_an_untrained_network_is_the_denoiser_of_uniform_slots() -> None:
    space = NASBench201()
    every = enumerate_space(space)
    assert every is not None
    network = new_network(space, SMALL)
    generator = torch.Generator().manual_seed(0)
    for sigma in (0.1, 0.7, 5.0):
        x = perturb(encode(every[::2000], 5), torch.full((8,), sigma), generator)
        with torch.no_grad():
            denoised = network(x, torch.full((8,), sigma))
        assert torch.allclose(denoised, denoiser_of(encode(every, 5))(x, sigma), atol=1e-4)


def test_probabilities_are_of_existing_choices() -> None:
    network = new_network(GappedSpace(), SMALL)
    torch.nn.init.normal_(network.head.weight)
    p = network.probabilities(torch.randn(6, 4, 4, generator=torch.Generator().manual_seed(1)), torch.full((6,), 0.5))
    assert torch.allclose(p.sum(dim=2), torch.ones(6, 4))
    assert (p[:, 0, 3] == 0).all()
    assert (p[:, 1, 3] == 0).all()
    assert p.isfinite().all()


def test_attention_follows_the_graph() -> None:
    """One block: what a slot says reaches the slots on a common path with it, and no others."""
    space = NASBench201()
    network = new_network(space, NetworkConfig(channels=16, layers=1, heads=2))
    torch.nn.init.normal_(network.head.weight)
    x = torch.zeros(1, 6, 5)
    moved = x.clone()
    moved[0, 3, 2] = 1.0
    sigma = torch.tensor([1.0])
    changed = (network(x, sigma) - network(moved, sigma)).abs().amax(dim=2)[0] > 1e-7
    assert changed.tolist() == space.attention_mask[3].tolist()


@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.parametrize("steps", [5, 20])
def test_samplers_reach_the_prior_and_nothing_else(name: str, steps: int) -> None:
    """With the exact denoiser, samples are architectures of the space, all legal and about equally often each."""
    space = GappedSpace()
    every = enumerate_space(space)
    assert every is not None
    generator = torch.Generator().manual_seed(0)
    x = SDE.prior((2000, 4, 4), generator)
    seen: list[tuple[int, float]] = []
    samples = SAMPLERS[name](
        denoiser_of(encode(every, 4)), x, SDE.schedule(steps), generator=generator,
        callback=lambda step, sigma, denoised: seen.append((step, sigma)),
    )  # fmt: skip
    assert [step for step, _ in seen] == list(range(steps))
    legal = ((samples >= 0).sum(dim=2) == 1).all(dim=1).numpy() & space.is_legal(samples.argmax(dim=2).numpy())
    assert legal.mean() >= 0.99
    counts = np.unique(space.project(samples.double().numpy()), axis=0, return_counts=True)[1]
    assert len(counts) == len(every)
    # Few steps favour the centre of the space a little; forty would not.
    assert counts.min() > 0.3 * counts.mean()
    assert counts.max() < 2.5 * counts.mean()


def test_samplers_agree_with_the_reverse_step_of_one_architecture() -> None:
    x0 = encode(np.array([[1, 2, 0, 1]]), 4)
    for sample in SAMPLERS.values():
        generator = torch.Generator().manual_seed(0)
        x = SDE.prior((3, 4, 4), generator)
        end = sample(lambda x, sigma: x0.expand_as(x), x, SDE.schedule(6), generator=generator)
        assert torch.equal(end, x0.expand(3, 4, 4))


def test_direction_is_a_unit_within_existing_choices() -> None:
    mask = torch.tensor([[True, True, True], [True, True, False]])
    gradient = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradient[3] = 5.0  # prefers nothing
    towards = unit(gradient, mask)
    assert torch.allclose(torch.linalg.vector_norm(towards, dim=(1, 2)), torch.tensor([1.0, 1.0, 1.0, 0.0]).double())
    assert (towards[:, 1, 2] == 0).all()
    assert torch.allclose(towards.sum(dim=2), torch.zeros(4, 2).double(), atol=1e-12)


def guided_by(
    memory: Memory, space: Space, *, strengths: Sequence[float], rates: Sequence[float] | None = None
) -> Guide:
    """Guidance of estimates that squash the noisy architecture."""
    return Guide(
        lambda x, sigma: torch.tanh(x), memory, space, strengths=torch.tensor(strengths),
        rates=torch.tensor(rates or [1.0] * len(strengths)), sigma_min=SDE.sigma_min,
    )  # fmt: skip


def test_guidance_moves_estimates_uphill_and_ends_before_the_last_step() -> None:
    space = NASBench201()
    utility = LinearUtility(6, 5, differentiable=True)
    guided = guided_by(Memory(utility, space, budget=100), space, strengths=[5.0] * 4)
    x = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0))
    moved = (guided(x, 1.0) - torch.tanh(x)).double()
    assert ((moved * utility.weights).sum(dim=(1, 2)) > 0).all()
    assert torch.allclose(torch.linalg.vector_norm(moved, dim=(1, 2)), torch.tensor(5.0 * math.sqrt(6)).double())
    assert torch.equal(guided(x, SDE.sigma_min), torch.tanh(x))
    assert torch.allclose(guided(x[:2], 1.0), guided(x, 1.0)[:2]), "a smaller batch is the first of the samples"


def test_guidance_is_monotone_in_its_strength() -> None:
    """With the exact denoiser, stronger samples are worth more on average, at equal noise."""
    space, strengths = NASBench201(), (0.0, 0.5, 2.0, 10.0)
    every = enumerate_space(space)
    assert every is not None
    denoiser = denoiser_of(encode(every[::25], 5))
    utility = LinearUtility(6, 5, differentiable=True)
    worth = []
    for strength in strengths:
        generator = torch.Generator().manual_seed(0)
        guide = Guide(
            denoiser, Memory(utility, space, budget=10_000), space,
            strengths=torch.full((64,), strength), rates=torch.ones(64), sigma_min=SDE.sigma_min,
        )  # fmt: skip
        x = sample_ancestral(guide, SDE.prior((64, 6, 5), generator), SDE.schedule(10), generator=generator)
        worth.append(utility.of(space.project(x.double().numpy())).mean())
    assert (np.diff(worth) > 0).all()


def test_multipliers_rise_beyond_a_limit_and_fall_within() -> None:
    """A limit on operator 4 that is broken everywhere turns the direction away from it, more with every look."""
    space = NASBench201()
    weights = torch.zeros(6, 5, dtype=torch.float64)
    weights[:, 4] = 1.0  # the score wants what the limit forbids
    weights[:, 2] = 0.5

    class Limited:
        differentiable = True
        slack = 0.0

        def __call__(self, slots: Tensor) -> Tensor:
            return self.terms(slots).utility

        def terms(self, slots: Tensor) -> Terms:
            return Terms((slots * weights).sum(dim=(1, 2)), slots[:, :, 4].sum(dim=1)[:, None] - self.slack, 100.0)

    def pull(guided: Guide) -> Tensor:
        """(`B`,): how much nearer to operator 4 an estimate of nothing but that operator moves."""
        return (guided(x, 1.0) - torch.tanh(x))[:, :, 4].sum(dim=1)

    x = torch.zeros(2, 6, 5)
    x[:, :, 4] = 5.0
    guided = guided_by(Memory(Limited(), space, budget=10), space, strengths=[1.0, 1.0], rates=[0.01, 0.1])
    first, second = pull(guided), pull(guided)
    assert (second < first).all()
    assert (first[1] < first[0]) & (second[1] < second[0]), "the faster multiplier is ahead"
    assert second[1] < 0
    roomy = Limited()
    roomy.slack = 10.0
    kept = guided_by(Memory(roomy, space, budget=10), space, strengths=[1.0, 1.0], rates=[1.0, 1.0])
    assert torch.allclose(pull(kept), pull(kept)), "within the limit nothing but the score steers"
    assert (pull(kept) > 0).all()


def test_without_calls_estimates_are_the_plain_ones() -> None:
    space = NASBench201()
    memory = Memory(LinearUtility(6, 5, differentiable=True), space, budget=1)
    guided = guided_by(memory, space, strengths=[5.0] * 3)
    x = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0))
    first = guided(x, 1.0)
    assert memory.exhausted
    assert not torch.equal(first[0], torch.tanh(x)[0])
    assert torch.equal(first[1:], torch.tanh(x)[1:])
    assert torch.equal(guided(x, 1.0), torch.tanh(x))
