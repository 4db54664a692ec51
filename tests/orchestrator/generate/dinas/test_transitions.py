from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from orchestrator.generate.dinas.sampler import sample, schedule
from orchestrator.generate.dinas.transitions import Transitions, alpha_bar, draw, marginals_of

SIZES = (3, 4, 2)
WIDTH = max(SIZES)


def _marginals(seed: int) -> Tensor:
    exists = torch.arange(WIDTH) < torch.tensor(SIZES)[:, None]
    m = torch.rand(len(SIZES), WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.05
    return m * exists / (m * exists).sum(-1, keepdim=True)


def _matrix(keep: float, marginals: Tensor) -> Tensor:
    """(`S`, `V`, `V`): keep I + (1 - keep) 1 m^T; rows are what a slot was."""
    return keep * torch.eye(WIDTH, dtype=torch.float64) + (1 - keep) * marginals[:, None, :].expand(-1, WIDTH, -1)


def test_the_cosine_schedule_falls_from_one_to_zero() -> None:
    times = torch.linspace(0, 1, 101, dtype=torch.float64)
    alphas = alpha_bar(times)
    assert alphas[0] == 1
    assert alphas[-1] < 1e-12
    assert (alphas.diff() < 0).all()
    t = 0.37
    expected = (math.cos((t + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2
    assert float(alpha_bar(torch.tensor(t, dtype=torch.float64))) == pytest.approx(expected, abs=1e-12)
    assert schedule(5)[0] < 1e-12
    assert schedule(5)[-1] == 1


def test_steps_multiply_to_the_whole() -> None:
    """Q_{t|s} Qbar_s = Qbar_t: any grid of times is the same process."""
    m = _marginals(0)
    for alpha_s, alpha_t in [(1.0, 0.6), (0.9, 0.2), (0.3, 0.01)]:
        assert torch.allclose(_matrix(alpha_s, m) @ _matrix(alpha_t / alpha_s, m), _matrix(alpha_t, m))


@given(st.floats(0.01, 0.98), st.floats(0.01, 0.99), st.integers(0, 99))
def test_the_posterior_is_bayes_rule_on_the_matrices(alpha_s: float, ratio: float, seed: int) -> None:
    alpha_t = alpha_s * ratio
    m = _marginals(seed)
    generator = torch.Generator().manual_seed(seed)
    z = draw(m.expand(5, -1, -1), generator)
    clean = torch.rand(5, len(SIZES), WIDTH, generator=generator, dtype=torch.float64) * (m > 0)
    clean = clean / clean.sum(-1, keepdim=True)
    to_s, to_t, step = _matrix(alpha_s, m), _matrix(alpha_t, m), _matrix(ratio, m)
    expected = torch.zeros(5, len(SIZES), WIDTH, dtype=torch.float64)
    for b in range(5):
        for i in range(len(SIZES)):
            for x0 in range(SIZES[i]):
                given_x0 = to_s[i, x0] * step[i, :, z[b, i]] / to_t[i, x0, z[b, i]]
                assert float(given_x0.sum()) == pytest.approx(1.0)
                expected[b, i] += clean[b, i, x0] * given_x0
    got = Transitions(m).posterior(z, clean, alpha_t, alpha_s)
    assert torch.allclose(got, expected, atol=1e-9)


def test_evidence_is_the_likelihood_of_a_noisy_slot() -> None:
    m = _marginals(1)
    z = draw(m.expand(4, -1, -1), torch.Generator().manual_seed(0))
    alpha = torch.tensor([0.1, 0.4, 0.7, 0.95], dtype=torch.float64)
    got = Transitions(m).evidence(z, alpha).softmax(-1)
    for b in range(4):
        for i in range(len(SIZES)):
            likelihood = _matrix(float(alpha[b]), m)[i, :, z[b, i]]
            assert torch.allclose(got[b, i], likelihood / likelihood.sum())


def test_corruption_keeps_and_redraws_as_often_as_it_should() -> None:
    m = _marginals(2)
    x0 = torch.tensor([[0, 1, 0]]).expand(40_000, -1)
    z = Transitions(m).corrupt(x0, torch.full((40_000,), 0.3), torch.Generator().manual_seed(0))
    shares = torch.nn.functional.one_hot(z, WIDTH).double().mean(0)
    expected = torch.stack([_matrix(0.3, m)[i, x0[0, i]] for i in range(len(SIZES))])
    assert (shares - expected).abs().max() < 0.01


@pytest.mark.parametrize("kind", ["marginal", "uniform"])
def test_every_choice_can_be_reached_and_no_other(kind: str) -> None:
    slots = torch.tensor([[0, 0, 0]] * 8 + [[1, 3, 0]] * 2)
    m = marginals_of(slots, SIZES, kind)
    exists = torch.arange(WIDTH) < torch.tensor(SIZES)[:, None]
    assert ((m > 0) == exists).all()
    assert torch.allclose(m.sum(-1), torch.ones(3))
    assert (m[0, 0] > m[0, 1]) == (kind == "marginal")


@pytest.mark.parametrize("steps", [24, 60])
def test_the_sampler_recovers_a_distribution_whose_denoiser_is_known(steps: int) -> None:
    """Slots that depend on each other, and the exact denoiser by enumeration: total variation shrinks with steps."""
    support = torch.tensor([[0, 0, 0], [1, 1, 1], [2, 3, 0], [0, 3, 1]])
    weights = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    m = marginals_of(support, SIZES, "marginal").double()
    transitions = Transitions(m)

    def denoise(z: Tensor, alpha: float) -> Tensor:
        likelihood = torch.ones(len(z), len(support), dtype=torch.float64) * weights
        for i in range(len(SIZES)):
            likelihood *= _matrix(alpha, m)[i][support[:, i]][:, z[:, i]].T
        posterior = likelihood / likelihood.sum(1, keepdim=True)
        return (
            (posterior @ torch.nn.functional.one_hot(support, WIDTH).double().flatten(1)).unflatten(1, (3, WIDTH)).log()
        )

    generator = torch.Generator().manual_seed(0)
    z = sample(denoise, transitions.prior(8000, generator), schedule(steps), transitions, generator=generator).numpy()
    share = [np.all(z == row.numpy(), axis=1).mean() for row in support]
    distance = 0.5 * (np.abs(np.array(share) - weights.numpy()).sum() + (1 - sum(share)))
    assert distance < {24: 0.06, 60: 0.035}[steps]


def test_draws_follow_probabilities_and_the_generator() -> None:
    p = torch.tensor([0.0, 1.0, 3.0]).expand(20_000, 1, 3)
    first, again = (draw(p, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, again)
    assert (first > 0).all()
    assert float((first == 2).double().mean()) == pytest.approx(0.75, abs=0.02)
