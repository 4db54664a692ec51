"""The pieces of DiffusionNAG against what is known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from orchestrator.generate.diffusion_nag.checkpoint import new_network
from orchestrator.generate.diffusion_nag.guidance import Memory, direction, guide
from orchestrator.generate.diffusion_nag.sampler import SAMPLERS, Denoiser
from orchestrator.generate.diffusion_nag.score_network import NetworkConfig
from orchestrator.generate.diffusion_nag.sde import VESDE, encode, perturb, score
from orchestrator.generate.pool import enumerate_space
from orchestrator.space.nasbench201 import NASBench201
from tests.contracts.generator_contract import LinearUtility
from tests.orchestrator.generate.spaces import GappedSpace

SDE = VESDE()
SMALL = NetworkConfig(channels=16, layers=2, heads=2)


def exact_denoiser(x0: Tensor) -> Denoiser:
    """E[x_0 | x_t] under a uniform prior over the given (`N`, `S`, `V`) architectures, by Bayes' rule."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        distance = (x[:, None] - x0[None]).square().sum(dim=(2, 3))
        return torch.einsum("bn,nsv->bsv", (-distance / (2 * sigma**2)).softmax(dim=1), x0)

    return denoise


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
    denoised = exact_denoiser(x0)(x.detach(), sigma)
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
        assert torch.allclose(denoised, exact_denoiser(encode(every, 5))(x, sigma), atol=1e-4)


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
        exact_denoiser(encode(every, 4)), x, SDE.schedule(steps), generator=generator,
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
    unit = direction(gradient, mask)
    assert torch.allclose(torch.linalg.vector_norm(unit, dim=(1, 2)), torch.tensor([1.0, 1.0, 1.0, 0.0]).double())
    assert (unit[:, 1, 2] == 0).all()
    assert torch.allclose(unit.sum(dim=2), torch.zeros(4, 2).double(), atol=1e-12)


def test_memory_pays_for_an_architecture_once_and_never_beyond_its_budget() -> None:
    utility = LinearUtility(6, 5, differentiable=True)
    evaluated: list[int] = []

    class Watched:
        differentiable = True

        def __call__(self, slots: Tensor) -> Tensor:
            evaluated.append(len(slots))
            return utility(slots)

    memory = Memory(Watched(), NASBench201(), budget=3)
    rows = np.array([[0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    gradients = memory.gradients(rows)
    assert np.allclose(gradients, utility.weights.numpy())
    assert memory.calls == sum(evaluated) == 2
    more = memory.gradients(np.array([[1, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0]]))
    assert memory.calls == sum(evaluated) == 3
    assert memory.exhausted
    assert np.allclose(more[1], utility.weights.numpy())
    assert not more[2].any()
    met = memory.best(10)
    assert len(met) == 3
    assert (np.diff(utility.of(met)) <= 0).all()


def test_gradient_at_an_architecture_is_the_gain_of_every_swap() -> None:
    """For a multilinear utility; here: pairs of slots that carry operator 3 together."""

    class Pairs:
        differentiable = True

        def __call__(self, slots: Tensor) -> Tensor:
            return (slots[:, :-1, 3] * slots[:, 1:, 3]).sum(dim=1) + slots[:, :, 1].sum(dim=1)

    space = NASBench201()
    here = space.sample(1, np.random.default_rng(4))
    gradient = Memory(Pairs(), space, budget=1).gradients(here)[0]
    others = space.neighbours(space.architecture(here[0]))
    one_hots = torch.eye(5, dtype=torch.float64)
    gains = Pairs()(one_hots[others]) - Pairs()(one_hots[here])
    slots = (others != here).argmax(axis=1)
    predicted = gradient[slots, others[np.arange(24), slots]] - gradient[slots, here[0][slots]]
    assert np.allclose(predicted, gains.numpy())


def test_guidance_moves_estimates_uphill_and_ends_before_the_last_step() -> None:
    space = NASBench201()
    utility = LinearUtility(6, 5, differentiable=True)
    memory = Memory(utility, space, budget=100)
    guided = guide(lambda x, sigma: torch.tanh(x), memory, space, torch.full((4,), 5.0), SDE.sigma_min)
    x = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0))
    moved = (guided(x, 1.0) - torch.tanh(x)).double()
    assert ((moved * utility.weights).sum(dim=(1, 2)) > 0).all()
    assert torch.allclose(torch.linalg.vector_norm(moved, dim=(1, 2)), torch.tensor(5.0 * math.sqrt(6)).double())
    assert torch.equal(guided(x, SDE.sigma_min), torch.tanh(x))
