"""Conditions as tensors: what the denoiser reads of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from orchestrator.errors import ConfigError, Problem
from orchestrator.generate.dinas.conditions import Target


@dataclass(frozen=True)
class Asked:
    """What each sample of a batch is asked to be, with `K` budgets at most and `R` reference architectures.

    Attributes:
        share: (`B`,) log of the top share in accuracy, at most 0; any value where none is asked.
        share_asked: (`B`,) bool.
        references: (`B`, `K`, `R`) log milliseconds of the reference architectures on each budget's device.
        budgets: (`B`, `K`) log milliseconds.
        budget_asked: (`B`, `K`) bool.
    """

    share: Tensor
    share_asked: Tensor
    references: Tensor
    budgets: Tensor
    budget_asked: Tensor

    @classmethod
    def nothing(cls, count: int, references: int) -> Asked:
        """No condition at all."""
        return cls(
            torch.zeros(count),
            torch.zeros(count, dtype=torch.bool),
            torch.zeros(count, 1, references),
            torch.zeros(count, 1),
            torch.zeros(count, 1, dtype=torch.bool),
        )

    @classmethod
    def of(cls, targets: Sequence[Target], references: int) -> Asked:
        """One row a target.

        Raises:
            ConfigError: A device is described by another number of reference architectures.
        """
        asked = cls.nothing(len(targets), references)
        most = max((len(target.budgets) for target in targets), default=0)
        if most:
            asked = replace(
                asked,
                references=torch.zeros(len(targets), most, references),
                budgets=torch.zeros(len(targets), most),
                budget_asked=torch.zeros(len(targets), most, dtype=torch.bool),
            )
        for row, target in enumerate(targets):
            if target.accuracy_quantile is not None:
                asked.share[row] = torch.log1p(torch.tensor(-target.accuracy_quantile))
                asked.share_asked[row] = True
            for column, budget in enumerate(target.budgets):
                if len(budget.references_ms) != references:
                    raise ConfigError(
                        "conditions",
                        [Problem(f"device {budget.device}", f"{len(budget.references_ms)} latencies", str(references))],
                        "a device is known by its latencies of the model's reference architectures",
                    )
                asked.references[row, column] = torch.tensor(budget.references_ms).log()
                asked.budgets[row, column] = torch.tensor(budget.latency_ms).log()
                asked.budget_asked[row, column] = True
        return asked

    def __len__(self) -> int:
        return len(self.share)

    def first(self, count: int) -> Asked:
        """The first rows."""
        return Asked(*(getattr(self, name)[:count] for name in self.__dataclass_fields__))

    def rows(self, rows: Tensor) -> Asked:
        """The given rows."""
        return Asked(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def without_accuracy(self) -> Asked:
        """Nothing said of accuracy."""
        return replace(self, share_asked=torch.zeros_like(self.share_asked))

    def without_budget(self, column: int) -> Asked:
        """Nothing said of one budget."""
        asked = self.budget_asked.clone()
        asked[:, column] = False
        return replace(self, budget_asked=asked)

    @classmethod
    def cat(cls, parts: Sequence[Asked]) -> Asked:
        """Batches with the same `K` joined."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))
