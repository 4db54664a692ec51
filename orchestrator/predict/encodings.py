"""The Encoding protocol: what predictors see of an architecture.

What is special to a space lives in its encoding; predictors, acquisition and guidance are the same for all spaces.
Every feature is a differentiable function of relaxed one-hot slots and is exact at one-hot vertices.
"""

from __future__ import annotations

from typing import Protocol

import torch


class Encoding(Protocol):
    """Differentiable features of (`B`, `S`, `V`) relaxed one-hot architectures."""

    def accuracy(self, slots: torch.Tensor) -> torch.Tensor:
        """(`B`, `F`) features that accuracy is smooth in."""
        ...

    def signature(self, slots: torch.Tensor) -> torch.Tensor:
        """(`B`, `C`) the same (to rounding) for architectures that compute the same, clearly different for others."""
        ...

    def costs(self, slots: torch.Tensor) -> torch.Tensor:
        """(`B`, `K`) non-negative amounts that latency in milliseconds is additive in; the first is constant 1."""
        ...

    def work(self, slots: torch.Tensor) -> torch.Tensor:
        """(`B`,) positive amount of computation (relative multiply-adds), for spreading a first design over sizes."""
        ...

    def connected(self, slots: torch.Tensor) -> torch.Tensor:
        """(`B`,) whether the network's output depends on its input; a constant is never worth measuring."""
        ...

    def waste(self, slots: torch.Tensor) -> torch.Tensor:
        """(`B`,) how many slots hold an operator whose result is not used; a first design avoids such architectures."""
        ...
