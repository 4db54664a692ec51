"""Guidance of the denoiser's logits: by conditions that it was trained on, and by any utility.

Conditions are weighed without a classifier, each with a scale of its own:

    l = l(c) + sum_i (w_i - 1) (l(c) - l(c without i))

l(c) are the denoiser's logits under all conditions. By Bayes' rule l(c) - l(c without i) is log p(c_i | x_0, other
conditions) up to a constant, so samples follow p(x_0 | c) prod_i p(c_i | x_0, c_-i)^(w_i - 1). At w = 1 this is the
learned joint conditional, and costs one evaluation; w_i = 0 drops a condition, w_i > 1 insists on it. The usual formula
with one scale, (1 + W) l(c) - W l(no condition), treats all conditions as one and cannot weigh them.

A utility tilts whatever logits there are (`tilt`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from orchestrator.generate.ascent import Ascent
from orchestrator.generate.dinas.asked import Asked
from orchestrator.generate.dinas.conditions import Target
from orchestrator.generate.dinas.network import Denoiser
from orchestrator.generate.dinas.sampler import Denoise


def compose(
    denoiser: Denoiser,
    targets: Sequence[Target],
    *,
    accuracy_scale: float = 1.0,
    latency_scale: float = 1.0,
    margin: float = 0.0,
) -> Denoise:
    """A denoiser under conditions.

    Args:
        denoiser: The network.
        targets: One a sample; a shorter batch uses the first of them.
        accuracy_scale, latency_scale: w of targets that name none.
        margin: In log milliseconds: by how much less than each budget is asked for.

    Raises:
        ConfigError: A device is described by another number of reference architectures than the network's.
    """
    asked = Asked.of(targets, denoiser.references)
    asked = replace(asked, budgets=asked.budgets - margin)
    insisted: list[tuple[Tensor, Asked]] = []  # w_i - 1, and the conditions without i
    for column in range(asked.budgets.shape[1]):
        scales = [
            latency_scale if column >= len(target.budgets) or (own := target.budgets[column].scale) is None else own
            for target in targets
        ]
        insisted.append((_excess(scales, asked.budget_asked[:, column]), asked.without_budget(column)))
    scales = [accuracy_scale if target.accuracy_scale is None else target.accuracy_scale for target in targets]
    insisted.append((_excess(scales, asked.share_asked), asked.without_accuracy()))
    insisted = [(excess, without) for excess, without in insisted if excess.any()]

    def denoise(z: Tensor, alpha: float) -> Tensor:
        count, parts = len(z), 1 + len(insisted)
        every = Asked.cat([each.first(count) for each in (asked, *(without for _, without in insisted))])
        with torch.no_grad():
            logits = denoiser(z.repeat(parts, 1), torch.full((parts * count,), alpha), every).unflatten(
                0, (parts, count)
            )
        composed = logits[0]
        for (excess, _), without in zip(insisted, logits[1:], strict=True):
            # Choices that do not exist are at minus infinity on both sides.
            composed = composed + excess[:count, None, None] * (logits[0] - without).nan_to_num(0.0)
        return composed

    return denoise


def _excess(scales: Sequence[float], asked: Tensor) -> Tensor:
    """(`B`,) w - 1 where the condition is asked, 0 elsewhere."""
    return torch.where(asked, torch.tensor(scales) - 1.0, 0.0)


def within_budgets(
    denoiser: Denoiser,
    targets: Sequence[Target],
    slots: Tensor,
    redraw: Callable[[Sequence[Target]], Tensor],
    *,
    margin: float = 0.0,
    rounds: int = 0,
) -> Tensor:
    """(`B`, `S`) samples, of which those beyond a budget by the denoiser's cost model were drawn again.

    The set that conditions describe is blurred in a network, and high accuracy is found at its edge. A sample that is
    never within its budgets is the nearest of those drawn for it.

    Args:
        denoiser: The network.
        targets: One a sample.
        slots: (`B`, `S`) samples.
        redraw: Samples of some targets.
        margin: As for `compose`.
        rounds: How often a sample may be drawn again.
    """
    asked = Asked.of(targets, denoiser.references)
    asked = replace(asked, budgets=asked.budgets - margin)
    excess = denoiser.excess(slots, asked)
    for _ in range(rounds):
        (beyond,) = (excess > 0).nonzero(as_tuple=True)
        if not len(beyond):
            break
        again = redraw([targets[row] for row in beyond.tolist()])
        found = denoiser.excess(again, asked.rows(beyond))
        nearer = found < excess[beyond]
        slots[beyond[nearer]], excess[beyond[nearer]] = again[nearer], found[nearer]
    return slots


def tilt(denoise: Denoise, ascent: Ascent, strengths: Tensor) -> Denoise:
    """A denoiser whose logits climb a utility: l' = l + w sqrt(S) g / |g| (classifier guidance for discrete slots).

    g is taken at the legal architecture nearest to the estimate. For a utility that is multilinear in its slots it is
    the gain of every single swap, so that l' is Bayes' rule with exp(utility) slot by slot, in a unit that makes
    strengths mean the same for every utility.

    Args:
        denoise: What to tilt.
        ascent: Where g comes from; once its calls are spent, logits are the plain ones.
        strengths: w of each sample; a shorter batch uses the first of them.
    """

    def tilted(z: Tensor, alpha: float) -> Tensor:
        logits = denoise(z, alpha)
        if ascent.exhausted:
            return logits
        step = strengths[: len(z), None, None] * math.sqrt(z.shape[1])
        return logits + step * ascent.direction(logits.softmax(-1))

    return tilted
