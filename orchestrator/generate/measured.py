"""Measured utilities: any function of an architecture, such as an objective that is really evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.space.base import Architecture, Space

if TYPE_CHECKING:
    import torch


class MeasuredUtility:
    """A function of architectures as a utility without a gradient, for generators that need none.

    It is called once for every architecture that a generator evaluates, and those count what they evaluate.

    >>> from orchestrator.generate.base import Request
    >>> from orchestrator.generate.local_search import LocalSearch
    >>> from orchestrator.space.nasbench201 import NASBench201
    >>> few_skips = MeasuredUtility(NASBench201(), lambda architecture: -architecture.text.count("skip"))
    >>> LocalSearch(NASBench201()).propose(Request(4, few_skips)).utility_calls
    40
    """

    differentiable = False

    def __init__(self, space: Space, measure: Callable[[Architecture], float]) -> None:
        """Args:
        space: Whose architectures are measured.
        measure: Higher is better; NaN, for what could not be measured, counts as worst.
        """
        self._space = space
        self._measure = measure

    def __call__(self, slots: torch.Tensor) -> torch.Tensor:
        """(`B`,) values of (`B`, `S`, `V`) one-hot architectures.

        Raises:
            ValueError: A relaxed architecture, which nothing can measure.
        """
        import torch

        if not bool((slots.amax(dim=2) == 1).all()):
            raise ValueError("only architectures can be measured, not mixtures of them")
        rows = slots.argmax(dim=2).cpu().numpy()
        values = [float(self._measure(self._space.architecture(row))) for row in rows]
        return torch.tensor([-math.inf if math.isnan(value) else value for value in values], dtype=torch.float64)
