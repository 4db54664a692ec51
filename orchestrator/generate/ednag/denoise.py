"""Denoising without a network: the noise-free vector is estimated from architectures of known fitness.

Evolution read as denoising (Zhang et al., "Diffusion Models are Evolutionary Algorithms", ICLR 2025, which EDNAG, arXiv
2504.17827, applies to architectures): given a population x_i of known fitness, Bayes' rule says of a noisy vector

    E[x_0 | x_t] = sum_i w_i x_i / sum_i w_i,      w_i = g_i N(x_t; sqrt(alpha) x_i, (1 - alpha) I),

where g_i, the probability that fitness gives to x_i, is the prior. It is exact for the prior that the population is, so
a sampler that trusts it ends on members of the population, in proportion to g (tested).

Near the end x_t tells which member it came from, and the estimate is that member: what fitness has to say is lost. What
it says at pure noise, where w = g, is the drift: the mean of all architectures met under g, less their plain mean.
Added to the estimate it guides as a gradient does (`diffusion_nag.guidance`), and needs none. The original takes the
noisy individuals themselves for x_i, and mixes noise levels in one population; here x_i are architectures.
"""

from __future__ import annotations

import math

import numpy as np

from orchestrator.generate.ednag.codec import Latents
from orchestrator.space.base import FloatArray


def log_fitness_probability(scores: FloatArray, pressure: float) -> FloatArray:
    """(`N`,) log g up to a constant: `pressure` times the rank of each score, from 0 for the worst to 1 for the best.

    Ranks mean the same for accuracies, log acquisition values and penalised scores; equal scores share theirs. (The
    original maps accuracy in percent to fitness by a hand-made piecewise function for each dataset, then takes exp.)

    Args:
        scores: (`N`,), higher is better; minus infinity is the worst.
        pressure: Log of how much more probable the best is than the worst.
    """
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts + 1) / 2)[place]
    return pressure * ranks / max(len(scores) - 1, 1)


def probability(log_weights: FloatArray) -> FloatArray:
    """Weights along the last axis that add up to 1, of log weights up to a constant."""
    weights = np.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def forward(clean: Latents, alpha: float, rng: np.random.Generator) -> Latents:
    """x_t of (`B`, `S`, `V`) clean vectors: sqrt(alpha) x_0 + sqrt(1 - alpha) z."""
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    return np.float32(math.sqrt(alpha)) * clean + np.float32(math.sqrt(1 - alpha)) * noise


def estimate(noisy: Latents, population: Latents, log_prior: FloatArray, alpha: float) -> Latents:
    """(`B`, `S`, `V`): E[x_0 | x_t] under the prior that gives (`N`, `S`, `V`) vectors the weights g.

    Args:
        noisy: (`B`, `S`, `V`) x_t.
        population: (`N`, `S`, `V`) clean vectors.
        log_prior: (`N`,) log g up to a constant.
        alpha: Share of signal in x_t, below 1.
    """
    x, members = noisy.reshape(len(noisy), -1), population.reshape(len(population), -1)
    # einsum, not @: matrices so small lose more by the threads of a BLAS than they gain, very much on a busy machine.
    overlaps = np.einsum("bk,nk->bn", x, members)
    # |x - sqrt(alpha) m|^2 without |x|^2, which is the same for every member.
    distances = alpha * (members**2).sum(axis=1) - 2 * math.sqrt(alpha) * overlaps
    weights = probability(log_prior - distances.astype(np.float64) / (2 * (1 - alpha)))
    return np.einsum("bn,nk->bk", weights.astype(np.float32), members).reshape(noisy.shape)


def drift(met: Latents, log_prior: FloatArray) -> Latents:
    """(`S`, `V`) of norm 0 to 1: from the plain mean of (`N`, `S`, `V`) vectors to their mean under g.

    Of few vectors two means differ by chance. If fitness said nothing, |difference|^2 would be

        e = sum_i (g_i - 1 / N)^2 * mean_i |x_i - mean|^2

    on average, so the norm is 1 - e / |difference|^2, or 0: positive-part shrinkage after James and Stein (1961).
    """
    vectors = met.reshape(len(met), -1)
    weights = (probability(log_prior) - 1 / len(met)).astype(np.float32)
    difference = np.einsum("n,nk->k", weights, vectors)
    length = float(difference @ difference)
    by_chance = float(weights @ weights) * float(vectors.var(axis=0).sum())
    if length <= by_chance:
        return np.zeros(met.shape[1:], dtype=np.float32)
    unit = difference / np.float32(math.sqrt(length))
    return np.asarray(np.float32(1 - by_chance / length) * unit.reshape(met.shape[1:]))


def ddim_step(
    noisy: Latents, clean: Latents, alpha: float, alpha_next: float, noise: float, rng: np.random.Generator
) -> Latents:
    """One step to a lower noise level (Song et al., "Denoising Diffusion Implicit Models", ICLR 2021, eq. 12).

    Args:
        noisy: (`B`, `S`, `V`) x_t.
        clean: (`B`, `S`, `V`) estimate of x_0.
        alpha: Share of signal in x_t, below 1.
        alpha_next: Share of signal after the step, above `alpha`.
        noise: Fresh noise relative to that of ancestral sampling: 0 is deterministic, 1 ancestral.
        rng: Draws it.
    """
    spread = noise * math.sqrt((1 - alpha_next) / (1 - alpha) * (1 - alpha / alpha_next))
    kept = math.sqrt(max(1 - alpha_next - spread**2, 0.0) / (1 - alpha))  # times x_t - sqrt(alpha) x_0
    on_clean = np.float32(math.sqrt(alpha_next) - kept * math.sqrt(alpha))
    fresh = np.float32(spread) * rng.standard_normal(noisy.shape, dtype=np.float32)
    return on_clean * clean + np.float32(kept) * noisy + fresh
