"""Features of a NAS-Bench-201 cell after dead edges are pruned, as differentiable functions of relaxed operators.

A cell has four paths from input to output: 0-3, 0-1-3, 0-2-3 and 0-1-2-3. No edge repeats on a path, so "every edge of
the path is alive" is a product over its edges, and "some path is" is a noisy-or over paths. Both are exact at one-hot
vertices; in between they have gradients where thresholds and maxima have none.

Guidance asks for these features, and their gradients, hundreds of times a round, a few architectures at a time: what
counts is how few tensor operations they take. So all paths are handled at once, filled up to three edges.
"""

from __future__ import annotations

import torch
from torch import Tensor

_NONE, _SKIP, _CONV1, _CONV3, _POOL = range(5)
_FILL = 6  # an edge beyond the last, which changes nothing
_PATHS = ((3, _FILL, _FILL), (0, 4, _FILL), (1, 5, _FILL), (0, 2, 5))  # the slots on each path


class NASBench201Encoding:
    """Encoding of `orchestrator.space.nasbench201.NASBench201` (`S` = 6, `V` = 5)."""

    def accuracy(self, slots: Tensor) -> Tensor:
        """(`B`, 15): how many paths of which kinds exist, how many operators remain, and how they are stacked.

        Per-edge one-hots are left out on purpose: with some dozens of labels they drown what matters.
        """
        none, skip, conv1, conv3, pool = slots.unbind(-1)
        alive, conv = 1 - none, conv1 + conv3
        exists = _along(torch.stack([alive, skip, skip + pool, alive - pool], dim=-2))  # (B, 4 kinds, 4 paths)
        _, skipped, conv_free, _ = exists.unbind(-2)
        some = _any(torch.stack([skipped, conv_free, conv_free - skipped], dim=-2))
        numbers = exists.sum(-1)
        most, fewest = _stacked(torch.stack([conv3, conv, conv + pool], dim=-2), alive)
        return torch.cat(
            [
                torch.stack(
                    [
                        numbers[..., 0],
                        some[..., 0],
                        numbers[..., 1],
                        some[..., 1],
                        numbers[..., 2],
                        some[..., 2],
                        numbers[..., 0] - numbers[..., 3],
                    ],
                    dim=-1,
                ),
                _root(torch.cat([_live_operators(slots), most[..., :2]], dim=-1)),
                most[..., 2:],
                fewest[..., 1:2],
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


def _on_paths(edges: Tensor, fill: float) -> tuple[Tensor, Tensor, Tensor]:
    """First, second and third edge of each path, each (..., 4), of (..., 6) edge values; `fill` where there is none."""
    filled = torch.cat([edges, torch.full_like(edges[..., :1], fill)], dim=-1)
    first, second, third = filled[..., torch.tensor(_PATHS)].unbind(-1)
    return first, second, third


def _along(edges: Tensor) -> Tensor:
    """(..., 4): product of (..., 6) edge values along each path."""
    first, second, third = _on_paths(edges, 1.0)
    return first * second * third


def _any(values: Tensor) -> Tensor:
    """Noisy-or over the last axis, the four paths. (`prod` would be one operation, but its gradient at 0 many.)"""
    a, b, c, d = (1 - values).unbind(-1)
    return 1 - a * b * (c * d)


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


def _stacked(edges: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
    """Most and fewest marked edges on an alive path, each (..., `K`) for `K` ways of marking; 0 where none is alive.

    The coefficients of the product over a path's edges of (alive but unmarked) + (marked) z say whether the path is
    alive with exactly 0, 1, 2, 3 marked edges. "The most" is the sum over k >= 1 of "some path has at least k"; "the
    fewest" that of "some path is alive, and none has less than k".

    Args:
        edges: (..., `K`, 6) marked edges.
        alive: (..., 6).
    """
    m1, m2, m3 = _on_paths(edges, 0.0)
    u1, u2, u3 = _on_paths(alive.unsqueeze(-2) - edges, 1.0)
    none, all_three = u1 * u2 * u3, m1 * m2 * m3
    one = m1 * u2 * u3 + u1 * (m2 * u3 + u2 * m3)
    two = m1 * (m2 * u3 + u2 * m3) + u1 * m2 * m3
    up_to = torch.stack([none, none + one, none + one + two], dim=-2)
    at_least = torch.stack([one + two + all_three, two + all_three, all_three], dim=-2)
    connected = _any(_along(alive))[..., None, None]
    return _any(at_least).sum(-1), (connected - _any(up_to)).sum(-1)
