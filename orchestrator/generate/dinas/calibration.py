"""The safety margin: by how much less than the budget a sample is asked for, so that the budget is kept.

A sample can miss a budget because the network's idea of the set that meets it is blurred, and because latencies are
measured with errors that nobody can foresee. Both are seen in one way: sample under many budgets on the known devices,
and compare with what the labels say. The margin is the least, in log milliseconds, at which the share within the budget
reaches a level at every tightness of the budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from orchestrator.generate.dinas.conditions import DeviceBudget, Target
from orchestrator.generate.dinas.guidance import compose, within_budgets
from orchestrator.generate.dinas.labels import Label
from orchestrator.generate.dinas.network import Denoiser
from orchestrator.generate.dinas.population import Population
from orchestrator.generate.dinas.sampler import sample, schedule
from orchestrator.generate.evolution import legalise
from orchestrator.space.base import FloatArray, Space

MARGINS = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2)  # of log milliseconds, that are tried
KEPT = 0.95  # share of the samples that shall be within the budget

TIGHTNESS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)  # shares of the population that budgets let through
_QUANTILE = 0.95  # accuracy asked for: who asks for nothing stays far from the budget
_SAMPLES = 64  # of a tightness, over all devices
_STEPS, _REDRAWS = 12, 4


@dataclass(frozen=True)
class Calibration:
    """What a margin achieves on the devices that a model was trained on.

    Attributes:
        margin: In log milliseconds.
        kept: Share of the samples within the budget, by tightness, the tightest first.
    """

    margin: float
    kept: tuple[float, ...]


def calibrate(
    denoiser: Denoiser, space: Space, population: Population, latencies: Sequence[Label], seed: int = 0
) -> Calibration:
    """The least margin that keeps budgets of every tightness, or else the one that keeps them best.

    Args:
        denoiser: Trained, in evaluation mode.
        space: The space.
        population: What it was trained on.
        latencies: One a known device; architectures that a label does not know are left out.
        seed: All randomness derives from it.
    """
    tried: list[Calibration] = []
    low, high = 0, len(MARGINS) - 1
    while low <= high:  # the wider the margin, the more samples are within
        middle = (low + high) // 2
        excess = _excess(denoiser, space, population, latencies, MARGINS[middle], seed)
        known = ~np.isnan(excess)
        kept = ((excess <= 0) & known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        tried.append(Calibration(MARGINS[middle], tuple(kept.round(4).tolist())))
        low, high = (low, middle - 1) if min(kept) >= KEPT else (middle + 1, high)
    enough = [each for each in tried if min(each.kept) >= KEPT]
    return min(enough, key=lambda each: each.margin) if enough else max(tried, key=lambda each: min(each.kept))


def _excess(
    denoiser: Denoiser,
    space: Space,
    population: Population,
    latencies: Sequence[Label],
    margin: float,
    seed: int,
) -> FloatArray:
    """(tightness, samples) log of latency over budget; NaN where it is not known. Samples take the devices in turn."""
    budgets = np.quantile(population.latencies_ms, TIGHTNESS, axis=0)  # (tightness, D)
    rows, columns = np.divmod(np.arange(len(TIGHTNESS) * _SAMPLES), _SAMPLES)
    devices = columns % len(latencies)
    limits = budgets[rows, devices]
    references = [tuple(each) for each in population.references_ms.T.tolist()]
    targets = [
        Target(_QUANTILE, (DeviceBudget(limit, references[device]),))
        for limit, device in zip(limits.tolist(), devices, strict=True)
    ]
    generator = torch.Generator().manual_seed(seed)

    def draw(targets: Sequence[Target]) -> Tensor:
        transitions = denoiser.transitions
        z = transitions.prior(len(targets), generator)
        return sample(compose(denoiser, targets, margin=margin), z, schedule(_STEPS), transitions, generator=generator)

    z = within_budgets(denoiser, targets, draw(targets), draw, margin=margin, rounds=_REDRAWS)
    slots = legalise(space, z.numpy())
    latency = np.stack([label.of(slots) for label in latencies], axis=1)[np.arange(len(slots)), devices]
    return np.asarray(np.log(latency / limits).reshape(len(TIGHTNESS), _SAMPLES))
