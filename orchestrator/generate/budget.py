"""BudgetUtility: as good as possible within a latency budget, as one differentiable function.

    u(x) = score(x) - penalty * relu(latency_ms(x) / budget_ms - 1)

Within the budget latency does not matter; beyond it every percent costs. The penalty is so steep that a swap which
breaks the budget by more than a hair's breadth loses more than it can gain. It is not infinite, so that the gradient
leads back and a search may cut a corner. Who must not be wrong by a hair's breadth asks `latency_ms` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import ConfigError, Problem
from orchestrator.generate.base import Terms, Utility
from orchestrator.generate.pool import score as scores_of
from orchestrator.space.base import Space

Prediction = Callable[[Tensor], Tensor]  # (B,) of (B, S, V) relaxed architectures, differentiable

OVER_BUDGET = 300.0  # spreads of the score that one budget's worth of excess costs: 1 % too slow costs 3
_DRAWS = 1000  # that a spread is taken from


@dataclass(frozen=True)
class BudgetUtility:
    """A score with a steep price on latency beyond a budget.

    Attributes:
        score: What is maximised, in units of its own.
        latency_ms: What is to stay within the budget.
        budget_ms: Milliseconds above 0.
        penalty: Units of the score lost for each budget's worth of excess; `budget_utility` chooses it.
    """

    score: Utility
    latency_ms: Prediction
    budget_ms: float
    penalty: float

    @property
    def differentiable(self) -> bool:
        """Whether the score is; latency predictions are."""
        return self.score.differentiable

    def __call__(self, slots: Tensor) -> Tensor:
        """(`B`,) utilities of (`B`, `S`, `V`) relaxed architectures."""
        return self.terms(slots).utility

    def terms(self, slots: Tensor) -> Terms:
        """The score, and by which share of the budget it is exceeded (`K` = 1)."""
        return Terms(self.score(slots), (self.latency_ms(slots) / self.budget_ms - 1)[:, None], self.penalty)


@dataclass(frozen=True)
class WeightedSum:
    """The sum of scores, each divided by its own scale; zero where there are none.

    Attributes:
        parts: Score and scale of each.
    """

    parts: Sequence[tuple[Utility, float]]

    @property
    def differentiable(self) -> bool:
        """Whether all of them are."""
        return all(score.differentiable for score, _ in self.parts)

    def __call__(self, slots: Tensor) -> Tensor:
        """(`B`,) scores of (`B`, `S`, `V`) relaxed architectures."""
        value = torch.zeros(len(slots), dtype=slots.dtype)
        for score, scale in self.parts:
            value = value + score(slots) / scale
        return value


def budget_utility(
    space: Space, score: Utility, latency_ms: Prediction, budget_ms: float, *, over_budget: float = OVER_BUDGET
) -> BudgetUtility:
    """The utility with a penalty that fits the score's unit.

    Args:
        space: Whose architectures are scored.
        score: What is maximised.
        latency_ms: What is to stay within the budget.
        budget_ms: Milliseconds.
        over_budget: The penalty, in the score's standard deviations over the space.

    Raises:
        ConfigError: The budget is not above 0.
    """
    if not 0 < budget_ms < float("inf"):
        raise ConfigError("guidance", [Problem("latency budget", budget_ms, "milliseconds above 0")])
    return BudgetUtility(score, latency_ms, budget_ms, over_budget * spread(space, score))


def spread(space: Space, score: Utility) -> float:
    """Standard deviation of a score over uniform draws from a space; 1 for a score that is the same everywhere."""
    drawn = scores_of(score, space.sample(_DRAWS, np.random.default_rng(0)), space)
    deviation = float(drawn.std())
    return deviation if deviation > 0 else 1.0
