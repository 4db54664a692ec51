"""Structures of NAS-Bench-201: which edges of the cell a runtime executes."""

from __future__ import annotations

import torch
from torch import Tensor

from orchestrator.predict.latency.structures import slot_kinship

_NONE = 0
_CONVOLUTIONS = [2, 3]
_PATHS = ((0, 0, 0, 1, 0, 0), (1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, 1), (1, 0, 1, 0, 0, 1))  # from input to output
_WORK = (0.0, 0.1, 2.0, 4.0, 1.0)  # of operators, roughly: only their order of magnitude matters


class NASBench201Structures:
    """Operators by what becomes of dead edges.

    PyTorch executes every edge, and even `none` takes time. Converters drop what never reaches the output, or half of
    it: where `none` multiplies by zero, TFLite's merges the zero into the convolution before, and computes it; only
    what is added up before the multiplication, and networks that are constant, are found out. DeviceNAG's own artifacts
    hold the edges on a path from the input to the output, and nothing else; accelerators may work on several branches
    at a time, and then the longest path counts most. The first convolution may cost more than others: some runtimes set
    up a library or threads for it.
    """

    names = (
        "every edge",
        "edges that reach the output",
        "edges that reach the output or a merged zero",
        "edges on a path",
        "edges on a path, half of what may overlap for free",
        "edges on the longest path",
    )
    shares = (0.56, 0.18, 0.08, 0.08, 0.05, 0.05)
    amounts_of = ("constant", "none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3", "any convolution")

    def amounts(self, inputs: Tensor) -> Tensor:
        """(6, `B`, 7): 1, how often each operator is executed, and whether a convolution is; of (`B`, 6, 5)."""
        a, b, c, d, e, f = (1 - inputs[..., _NONE]).unbind(-1)  # alive: 0-1, 0-2, 1-2, 0-3, 1-3, 2-3
        one = torch.ones_like(a)
        # Logic in arithmetic: and is a product, not is 1 -, or follows. Exact at one-hot vertices.
        onward = torch.stack([1 - (1 - e) * (1 - c * f), f, f, one, one, one], dim=-1)
        merged = torch.stack([1 - (1 - e) * (1 - f) * b, 1 - (1 - f) * a * c, 1 - (1 - f) * b, one, one, one], dim=-1)
        reached = torch.stack([one, one, a, one, a, 1 - (1 - b) * (1 - a * c)], dim=-1)
        connected = 1 - (1 - d) * (1 - a * e) * (1 - b * f) * (1 - a * c * f)
        every, folded = torch.ones_like(onward), connected.unsqueeze(-1)
        live, longest = onward * reached, _longest(inputs)
        half = (live + longest) / 2
        convolution = torch.stack([every, onward, merged * folded, live, half, longest]).unsqueeze(-1)
        other = torch.stack([every, onward, onward * folded, live, half, longest]).unsqueeze(-1)
        is_convolution = torch.tensor([value in _CONVOLUTIONS for value in range(inputs.shape[-1])])
        used = torch.where(is_convolution, convolution, other) * inputs
        counts = used.sum(-2)
        paid_none = torch.tensor([1.0] + [0.0] * 5, dtype=inputs.dtype).reshape(6, *([1] * (counts.dim() - 1)))
        convolutions = used[..., _CONVOLUTIONS].sum(-1)
        return torch.cat(
            [
                torch.ones_like(counts[..., :1]),
                counts[..., :1] * paid_none,
                counts[..., 1:],
                1 - (1 - convolutions).prod(-1, keepdim=True),
            ],
            dim=-1,
        )

    def kinship(self, first: Tensor, second: Tensor) -> Tensor:
        """(`B`, `N`): by the slots in which two architectures differ."""
        return slot_kinship(first, second)


def _longest(inputs: Tensor) -> Tensor:
    """(`B`, 6): 1 for the edges on the path that computes the most, as far as it is alive."""
    alive = 1 - inputs[..., _NONE]
    paths = torch.tensor(_PATHS, dtype=inputs.dtype)  # (P, S)
    there = torch.stack([alive[..., path.bool()].prod(-1) for path in paths], dim=-1)  # (B, P)
    work = (inputs @ torch.tensor(_WORK, dtype=inputs.dtype)) @ paths.T
    best = torch.where(there > 0, work + there, -1.0).argmax(-1)
    return paths[best] * there.gather(-1, best.unsqueeze(-1))
