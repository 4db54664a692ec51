"""Priors by quality: the better an architecture, the more often a score network sees it.

    p(x) ~ p_uniform(x) exp(quality(x) / (temperature sd)),    sd: of quality over what is drawn from

The best are large, so a network that is to propose small ones too is trained on what is good *for its work*: a mixture
of such priors, each held to a level of multiply-adds,

    p(x) ~ sum_l p_l(x),    p_l(x) ~ p_uniform(x) exp(quality(x) / (temperature sd) - (log work(x) - l)^2 / (2 w^2)),

with levels l spread evenly from the least work to the most. A set that can be listed is weighted so; out of a space
that cannot, Metropolis and Hastings draw, one chain at each level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from orchestrator.generate.base import Utility
from orchestrator.generate.diffusion_nag.training_set import TrainingSet, digest
from orchestrator.generate.evolution import mutate
from orchestrator.generate.pool import score, width
from orchestrator.space.base import FloatArray, IntArray, Space, one_hot

_LEVELS = 40  # of work, at a distance of their width
_CHAINS = 2048
_BURN_IN = 12  # changes of every slot, on average, before a chain counts
_THINNING = 1  # such changes between two draws of a chain
_DRAWS = 2000  # that spreads and starting points are taken from


@dataclass(frozen=True)
class Tilt:
    """How much quality decides.

    Attributes:
        temperature: Standard deviations of quality that make an architecture e times as frequent.
        for_its_work: Whether quality counts among architectures of about as many multiply-adds only.
    """

    temperature: float
    for_its_work: bool


def tilted_weights(space: Space, slots: IntArray, quality: FloatArray, tilt: Tilt) -> FloatArray:
    """(`N`,) how often each of (`N`, `S`) listed architectures, of (`N`,) quality, is drawn; they sum to 1."""
    log_weights = quality / (tilt.temperature * _spread(quality))
    if not tilt.for_its_work:
        return _softmax(log_weights)
    work = _log_work(space, slots)
    levels = np.linspace(work.min(), work.max(), _LEVELS)
    held = log_weights[:, None] - _distance(work[:, None], levels)
    return np.asarray(_softmax(held).mean(axis=1))


def tilted_draws(
    space: Space, quality: Utility, count: int, seed: int, tilt: Tilt, source: str
) -> tuple[IntArray, TrainingSet]:
    """Draws from a space in which not all can be listed, and their description.

    Detailed balance holds where every vector of choices is legal; elsewhere projection distorts it a little.

    Args:
        space: Where to draw from.
        quality: What is good, in any unit.
        count: `N`; with neighbours in the chain that are much alike.
        seed: All randomness derives from it.
        tilt: How much quality decides.
        source: The name of the quality.
    """
    rng = np.random.default_rng(seed)
    chains = min(_CHAINS, count)
    drawn = space.sample(_DRAWS, rng)
    scale = tilt.temperature * _spread(score(quality, drawn, space))
    levels = np.zeros(chains)
    x = drawn[rng.integers(len(drawn), size=chains)]
    if tilt.for_its_work:
        extremes = _log_work(space, _extremes(space, drawn))
        levels = np.linspace(extremes.min(), extremes.max(), chains)
        x = drawn[np.abs(_log_work(space, drawn) - levels[:, None]).argmin(axis=1)]

    def log_density(slots: IntArray) -> FloatArray:
        held = _distance(_log_work(space, slots), levels) if tilt.for_its_work else 0.0
        return score(quality, slots, space) / scale - held

    log_p, kept = log_density(x), []
    rounds, slots = -(-count // chains), len(space.choices)
    for step in range(slots * (_BURN_IN + _THINNING * rounds)):
        proposed = mutate(space, x, rng)
        log_q = log_density(proposed)
        accepted = np.log(rng.random(chains)) < log_q - log_p
        x, log_p = np.where(accepted[:, None], proposed, x), np.where(accepted, log_q, log_p)
        if step >= slots * _BURN_IN and (step + 1) % (slots * _THINNING) == 0:
            kept.append(x)
    found = np.concatenate(kept)[:count]
    words = f"{source}, temperature {tilt.temperature:g}" + (", for its work" if tilt.for_its_work else "")
    return found, TrainingSet("tilted_draws", len(found), digest(found), source=words)


def _distance(log_work: FloatArray, levels: FloatArray) -> FloatArray:
    """Half the squared distance of log work to levels, in their widths."""
    apart = (levels.max() - levels.min()) / _LEVELS
    return np.asarray(0.5 * ((log_work - levels) / max(apart, 1e-9)) ** 2)


def _log_work(space: Space, slots: IntArray) -> FloatArray:
    """(`B`,) log multiply-adds, up to a constant."""
    with torch.no_grad():
        return np.asarray(space.encoding().work(torch.from_numpy(one_hot(slots, width(space)))).log().numpy())


def _extremes(space: Space, drawn: IntArray) -> IntArray:
    """(2, `S`): about the least and the most work, from its gradient in the middle of the (`N`, `S`) drawn."""
    middle = torch.from_numpy(one_hot(drawn, width(space)).mean(axis=0, keepdims=True)).requires_grad_()
    (gradient,) = torch.autograd.grad(space.encoding().work(middle).sum(), middle)
    return space.project(torch.cat([-gradient, gradient]).numpy())


def _spread(values: FloatArray) -> float:
    """Standard deviation, 1 where there is none."""
    return float(values.std()) or 1.0


def _softmax(logits: FloatArray) -> FloatArray:
    """Along the first axis."""
    weights = np.exp(logits - logits.max(axis=0))
    return np.asarray(weights / weights.sum(axis=0))
