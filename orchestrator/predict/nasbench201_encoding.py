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
        """(`B`, 15): how many paths of which kinds exist, how many operators remain, and how they are stacked.

        Per-edge one-hots are left out on purpose: with some dozens of labels they drown what matters.
        """
        alive = 1 - slots[..., _NONE]
        skip, pool = slots[..., _SKIP], slots[..., _POOL]
        conv3 = slots[..., _CONV3]
        conv = slots[..., _CONV1] + conv3
        paths = _along(alive)
        skipped = _along(skip)
        conv_free = _along(skip + pool)
        pooled = paths - _along(alive - pool)
        live = _live_operators(slots)
        return torch.stack(
            [
                paths.sum(-1),
                _any(skipped),
                skipped.sum(-1),
                _any(conv_free),
                conv_free.sum(-1),
                _any(conv_free - skipped),
                pooled.sum(-1),
                *_root(live).unbind(-1),
                _root(_most(conv3, alive)),
                _root(_most(conv, alive)),
                _most(conv + pool, alive),
                _fewest(conv, alive),
            ],
            dim=-1,
        )

    def signature(self, slots: Tensor) -> Tensor:
        """(`B`, 6): what the cell makes of six numbers, with an arbitrary odd or even function for each operator.

        Functions of 0 are 0: what a dead node feeds is dead. Isomorphic cells agree. The 6,466 classes of the benchmark
        have 4,930 signatures, since its strings tell operators that act on nothing apart.
        """

        def along(edge: int, x: Tensor) -> Tensor:
            return (
                slots[..., edge, [_SKIP]] * x
                + slots[..., edge, [_CONV1]] * torch.sin(3.1 * x)
                + slots[..., edge, [_CONV3]] * (1 - torch.cos(4.3 * x))
                + slots[..., edge, [_POOL]] * torch.tanh(2.7 * x)
            )

        source = torch.linspace(-1.0, 1.0, 6, dtype=slots.dtype).expand(*slots.shape[:-2], -1)
        one = along(0, source)
        two = along(1, source) + along(2, one)
        return along(3, source) + along(4, one) + along(5, two)

    def costs(self, slots: Tensor) -> Tensor:
        """(`B`, 14): 1, then how often each operator is paid for by three kinds of runtime.

        One executes every edge (`none` too: it writes zeros). One drops what never reaches the output but computes on
        the zeros of nodes that nothing reaches, as TFLite's converter leaves it. One drops both.
        """
        alive = 1 - slots[..., _NONE]
        _, backward = _reach(alive)
        everywhere = slots.sum(-2)
        needed = (backward.unsqueeze(-1) * slots[..., 1:]).sum(-2)
        return torch.cat([torch.ones_like(alive[..., :1]), everywhere, needed, _live_operators(slots)], dim=-1)

    def work(self, slots: Tensor) -> Tensor:
        """(`B`,): multiply-adds of the pruned cell and its stem in units of one 1x1 convolution."""
        _, conv1, conv3, pool = _live_operators(slots).unbind(-1)
        return 2 + conv1 + 9 * conv3 + 0.5 * pool

    def connected(self, slots: Tensor) -> Tensor:
        """(`B`,): whether some path from input to output is alive."""
        return _any(_along(1 - slots[..., _NONE]))

    def waste(self, slots: Tensor) -> Tensor:
        """(`B`,): operators on edges that lie on no path from input to output; `none` is not one."""
        return slots[..., 1:].sum((-2, -1)) - _live_operators(slots).sum(-1)


def _along(edges: Tensor) -> Tensor:
    """(`B`, 4): product of (`B`, 6) edge values along each path."""
    return torch.stack([edges[..., path].prod(-1) for path in _PATHS], dim=-1)


def _any(values: Tensor) -> Tensor:
    """Noisy-or over the last axis."""
    return 1 - (1 - values).prod(-1)


def _root(count: Tensor) -> Tensor:
    """Square root, moved off zero so that its slope stays finite."""
    return torch.sqrt(count + 0.25)


def _reach(alive: Tensor) -> tuple[Tensor, Tensor]:
    """Two (`B`, 6): whether each edge starts at a node that the input reaches, and ends at one that reaches the output.

    Neither looks at the edge itself, so that both can be multiplied by its operator.
    """
    a, b, c, _, e, f = alive.unbind(-1)
    one = torch.ones_like(a)
    to_two = 1 - (1 - b) * (1 - a * c)
    from_one = 1 - (1 - e) * (1 - c * f)
    return torch.stack([one, one, a, one, a, to_two], dim=-1), torch.stack([from_one, f, f, one, one, one], dim=-1)


def _live_operators(slots: Tensor) -> Tensor:
    """(`B`, 4): how often skip, 1x1, 3x3 and pool occur on edges that lie on a path from input to output.

    An edge's start and end share no edge of the cell, so the product of its two reaches is exact.
    """
    forward, backward = _reach(1 - slots[..., _NONE])
    return ((forward * backward).unsqueeze(-1) * slots[..., 1:]).sum(-2)


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
