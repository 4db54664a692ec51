"""Log expected hypervolume improvement times probability of feasibility, in closed form.

For independent Gaussian objectives and any decomposition of the undominated region into boxes [l, u], the improvement
is the volume of the part of each box below the new point, and its expectation factorises:

    EHVI(x) = sum over boxes of prod over objectives of E[(Y_m - l_m)+] - E[(Y_m - u_m)+].

With one objective this is expected improvement. Everything is kept in logarithms (Ament et al., "Unexpected
improvements to expected improvement", NeurIPS 2023), so its gradient points somewhere even where the improvement
underflows: that gradient is the guidance of the generators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from botorch.acquisition.analytic import _log_ei_helper
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from botorch.utils.probability.utils import log_ndtr
from torch import Tensor

from orchestrator.optimize.goal import Goal
from orchestrator.predict.surrogates import Surrogate

_FAR = 1e6  # stands for infinity: far above every objective, and its square still fits


@dataclass(frozen=True)
class Boxes:
    """The region that a front does not dominate, as `K` disjoint boxes of `M` objectives.

    Attributes:
        lower: (`K`, `M`).
        upper: (`K`, `M`).
    """

    lower: Tensor
    upper: Tensor


def undominated(front: Tensor, reference: Tensor) -> Boxes:
    """The boxes above the (`M`,) reference that no point of (`N`, `M`) dominates; `N` may be 0."""
    front = front[(front > reference).all(-1)]
    if len(reference) == 1:
        lower = torch.cat([front[:, 0], reference]).max().reshape(1, 1)
        return Boxes(lower, torch.full_like(lower, _FAR))
    lower, upper = FastNondominatedPartitioning(reference, Y=front).get_hypercell_bounds()
    return Boxes(lower, upper.clamp_max(_FAR))


def log_expected_improvement(mean: Tensor, deviation: Tensor, boxes: Boxes) -> Tensor:
    """(`B`,) log EHVI for (`B`, `M`) means and standard deviations of independent objectives."""
    mean, deviation = mean.unsqueeze(-2), deviation.unsqueeze(-2)
    log_deviation = deviation.log()

    def log_excess(bound: Tensor) -> Tensor:
        return _log_ei_helper((mean - bound) / deviation) + log_deviation

    low, high = log_excess(boxes.lower), log_excess(boxes.upper)
    # log(exp(low) - exp(high)); the two meet where a box is far narrower than the deviation.
    gap = (high - low).clamp_max(-1e-10)
    return (low + torch.log1p(-gap.exp())).sum(-1).logsumexp(-1)


def log_feasibility(mean: Tensor, deviation: Tensor, log_bound: float) -> Tensor:
    """(`B`,) log probability that a cost, whose log is Gaussian, keeps its bound."""
    return log_ndtr((log_bound - mean) / deviation)


@dataclass(frozen=True)
class Acquisition:
    """What architectures are worth measuring; the `Utility` that guides generators.

    Attributes:
        goal: Objectives and constraints.
        surrogates: By metric.
        log_connected: (`B`,) log of whether (`B`, `S`, `V`) architectures depend on their input at all. Those that do
            not are fast, and features say little of them: without this term they would attract the first rounds.
        front: (`N`, `M`) feasible points so far, in `Goal.point` coordinates; dominated ones do no harm.
        reference: (`M`,) improvements count above it.
    """

    goal: Goal
    surrogates: Mapping[str, Surrogate]
    log_connected: Callable[[Tensor], Tensor]
    front: Tensor
    reference: Tensor

    @cached_property
    def boxes(self) -> Boxes:
        """What the front leaves undominated."""
        return undominated(self.front, self.reference)

    @property
    def differentiable(self) -> bool:
        """Always."""
        return True

    def __call__(self, slots: Tensor) -> Tensor:
        """(`B`,) log acquisition of (`B`, `S`, `V`) relaxed architectures."""
        relaxed = slots.to(torch.float64)
        found = {name: surrogate.marginal(relaxed) for name, surrogate in self.surrogates.items()}
        return (log_acquisition(self.goal, found, self.boxes) + self.log_connected(relaxed)).to(slots.dtype)


def log_acquisition(goal: Goal, found: Mapping[str, tuple[Tensor, Tensor]], boxes: Boxes) -> Tensor:
    """(`B`,) log EHVI plus the log probability of every constraint.

    Args:
        goal: Objectives and constraints.
        found: By metric, (`B`,) mean and (`B`,) variance; of the log for costs.
        boxes: What the front leaves undominated.
    """
    means = torch.stack([found[goal.maximize][0], *(-found[name][0] for name in goal.minimize)], dim=-1)
    deviations = torch.stack([found[name][1].sqrt() for name in goal.objectives], dim=-1)
    value = log_expected_improvement(means, deviations, boxes)
    for constraint in goal.subject_to:
        mean, variance = found[constraint.metric]
        value = value + log_feasibility(mean, variance.sqrt(), math.log(constraint.bound))
    return value
