"""Structures of NAS-Bench-201: which edges of the cell a runtime executes."""

from __future__ import annotations

import torch
from torch import Tensor

from orchestrator.predict.latency.structures import slot_kinship

_NONE = 0


class NASBench201Structures:
    """Operators by what becomes of dead edges.

    PyTorch executes every edge, and even `none` takes time. Converters drop what never reaches the output; some also
    drop what nothing reaches, which is what DeviceNAG's own artifacts hold.
    """

    names = ("every edge", "edges that reach the output", "edges on a path")
    shares = (0.6, 0.3, 0.1)
    amounts_of = ("constant", "none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

    def amounts(self, inputs: Tensor) -> Tensor:
        """(3, `B`, 6): 1, and how often each operator is executed, for (`B`, 6, 5) architectures."""
        a, b, c, _, e, f = (1 - inputs[..., _NONE]).unbind(-1)
        one = torch.ones_like(a)
        # Whether the output can be reached from each edge's end, and whether the input reaches each edge's start. They
        # share no edge with one another nor with the edge itself, so products are exact at one-hot vertices.
        onward = torch.stack([1 - (1 - e) * (1 - c * f), f, f, one, one, one], dim=-1)
        reached = torch.stack([one, one, a, one, a, 1 - (1 - b) * (1 - a * c)], dim=-1)
        executed = torch.stack([torch.ones_like(onward), onward, onward * reached])
        counts = (executed.unsqueeze(-1) * inputs).sum(-2)
        paid_none = torch.tensor([1.0, 0.0, 0.0], dtype=inputs.dtype).reshape(3, *([1] * (counts.dim() - 2)), 1)
        counts = torch.cat([counts[..., :1] * paid_none, counts[..., 1:]], dim=-1)
        return torch.cat([torch.ones_like(counts[..., :1]), counts], dim=-1)

    def kinship(self, first: Tensor, second: Tensor) -> Tensor:
        """(`B`, `N`): by the slots in which two architectures differ."""
        return slot_kinship(first, second)
