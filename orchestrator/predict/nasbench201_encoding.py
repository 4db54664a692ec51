"""Features of a NAS-Bench-201 cell after dead edges are pruned, as differentiable functions of relaxed operators.

A cell has four paths from input to output: 0-3, 0-1-3, 0-2-3 and 0-1-2-3. No edge repeats on a path, so "every edge of
the path is alive" is a product over its edges, and "some path is" is a noisy-or over paths. Both are exact at one-hot
vertices; in between they have gradients where thresholds and maxima have none.
"""

from __future__ import annotations

import torch
from torch import Tensor

_NONE, _SKIP, _CONV1, _CONV3, _POOL = range(5)
_PATHS = ([3], [0, 4], [1, 5], [0, 2, 5])  # the slots on each path
_LONGEST = 3


class NASBench201Encoding:
    """Encoding of `orchestrator.space.nasbench201.NASBench201` (`S` = 6, `V` = 5)."""

    def accuracy(self, slots: Tensor) -> Tensor:
        """(`B`, 15): which kinds of path exist, how many operators remain, and how they are stacked.

        Per-edge one-hots are left out on purpose: with some dozens of labels they drown what matters.
        """
        alive = 1 - slots[..., _NONE]
        skip, pool = slots[..., _SKIP], slots[..., _POOL]
        conv3 = slots[..., _CONV3]
        conv = slots[..., _CONV1] + conv3
        connected = _along(alive)
        skipped = _along(skip)
        conv_free = _along(skip + pool)
        pooled = connected - _along(alive - pool)
        live = _live_operators(slots)
        return torch.stack(
            [
                _any(connected),
                _any(skipped),
                skipped.sum(-1),
                _any(conv_free),
                conv_free.sum(-1),
                _any(conv_free - skipped),
                _any(pooled),
                pooled.sum(-1),
                *_root(live[..., 1:]).unbind(-1),
                _root(_most(conv3, alive)),
                _root(_most(conv, alive)),
                _fewest(conv, alive),
            ],
            dim=-1,
        )

    def costs(self, slots: Tensor) -> Tensor:
        """(`B`, 11): 1, then how often each operator is paid for by a runtime that executes every edge, then by one
        that prunes, then the additions where edges of the pruned cell meet.

        `none` costs time in runtimes that execute every edge: they write zeros.
        """
        everywhere = slots.sum(dim=-2)
        live = _live_operators(slots)[..., 1:]
        additions = live.sum(-1, keepdim=True) - _live_nodes(slots).sum(-1, keepdim=True)
        return torch.cat([torch.ones_like(additions), everywhere, live, additions], dim=-1)

    def work(self, slots: Tensor) -> Tensor:
        """(`B`,): multiply-adds of the pruned cell and its stem in units of one 1x1 convolution."""
        live = _live_operators(slots)
        return 2 + live[..., _CONV1] + 9 * live[..., _CONV3] + 0.5 * live[..., _POOL]


def _along(edges: Tensor) -> Tensor:
    """(`B`, 4): product of (`B`, 6) edge values along each path."""
    return torch.stack([edges[..., path].prod(-1) for path in _PATHS], dim=-1)


def _any(values: Tensor) -> Tensor:
    """Noisy-or over the last axis."""
    return 1 - (1 - values).prod(-1)


def _root(count: Tensor) -> Tensor:
    """Square root, moved off zero so that its slope stays finite."""
    return torch.sqrt(count + 0.25)


def _live_nodes(slots: Tensor) -> Tensor:
    """(`B`, 3): whether nodes 1, 2 and 3 lie on a path from input to output."""
    alive = 1 - slots[..., _NONE]
    paths = _along(alive)
    return torch.stack([_any(paths[..., through]) for through in ([1, 3], [2, 3], [0, 1, 2, 3])], dim=-1)


def _live_operators(slots: Tensor) -> Tensor:
    """(`B`, 5): how often each operator occurs on edges that lie on a path from input to output.

    The first entry counts no edge: one with `none` lies on no path.
    """
    a, b, c, _, e, f = (1 - slots[..., _NONE]).unbind(-1)
    one = torch.ones_like(a)
    # Whether the rest of some path through each edge is alive.
    around = torch.stack([1 - (1 - e) * (1 - c * f), f, a * f, one, a, 1 - (1 - b) * (1 - a * c)], dim=-1)
    mask = torch.ones(slots.shape[-1], dtype=slots.dtype, device=slots.device)
    mask[_NONE] = 0
    return (around.unsqueeze(-1) * slots).sum(-2) * mask


def _stacked(edges: Tensor, alive: Tensor) -> Tensor:
    """(`B`, 4, 4): whether each path is alive and has exactly 0, 1, 2, 3 of the marked edges.

    The coefficients of the product over the path's edges of (alive but unmarked) + (marked) z.
    """
    counts = []
    for path in _PATHS:
        polynomial = [torch.ones_like(edges[..., 0])]
        for edge in path:
            marked, unmarked = edges[..., edge], alive[..., edge] - edges[..., edge]
            shifted = [torch.zeros_like(marked), *(term * marked for term in polynomial)]
            kept = [*(term * unmarked for term in polynomial), torch.zeros_like(marked)]
            polynomial = [x + y for x, y in zip(shifted, kept, strict=True)]
        polynomial += [torch.zeros_like(polynomial[0])] * (_LONGEST + 1 - len(polynomial))
        counts.append(torch.stack(polynomial, dim=-1))
    return torch.stack(counts, dim=-2)


def _most(edges: Tensor, alive: Tensor) -> Tensor:
    """(`B`,): the most marked edges on an alive path, as the sum over k >= 1 of "some path has at least k"."""
    at_least = _stacked(edges, alive).flip(-1).cumsum(-1).flip(-1)
    return _any(at_least[..., 1:].transpose(-1, -2)).sum(-1)


def _fewest(edges: Tensor, alive: Tensor) -> Tensor:
    """(`B`,): the fewest marked edges on an alive path (0 where none is), as the sum over k >= 1 of "no path has less
    than k, and some path is alive"."""
    below = _stacked(edges, alive).cumsum(-1)  # at most 0, 1, 2, 3
    connected = _any(below[..., -1])
    return (connected.unsqueeze(-1) - _any(below[..., :-1].transpose(-1, -2))).sum(-1)
