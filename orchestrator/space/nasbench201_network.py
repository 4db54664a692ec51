"""The network of a NAS-Bench-201 cell: dead branches pruned, equal computations spelled equally.

Sizes follow the benchmark: a 3x3 stem, three stages of cells with 16, 32 and 64 channels, a residual block with
stride 2 between stages, batch-norm, ReLU, global mean and a classifier. Padding is TensorFlow's `same`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from orchestrator.errors import ConfigError, Problem
from orchestrator.space.base import NetworkOptions
from orchestrator.space.layer_stack import LayerStack
from profiling.network import (
    INPUT,
    Activation,
    Add,
    BatchNorm,
    Conv2D,
    FullyConnected,
    GlobalMean,
    Network,
    Pool2D,
    Scale,
)

_SOURCES = ((0,), (0, 1), (0, 1, 2))  # sources of the edges into nodes 1, 2, 3
DEFAULTS = {"channels": 16, "cells": 5}


@dataclass(frozen=True)
class Term:
    """One operator that runs: `copy` tells equal convolutions with weights of their own apart."""

    operator: str
    copy: int
    inputs: tuple[Term, ...]  # the sum of these; the cell's input is the term `x`


_X = Term("x", 0, ())


def operators_of(operators: Sequence[str]) -> set[Term]:
    """The operators of a cell that contribute to its output, for the operator of each of its six edges."""
    return _reachable(_output(operators)) - {_X}


def spelling(operators: Sequence[str]) -> str:
    """The pruned cell as text, equal for cells whose networks are equal."""
    return "+".join(_spelling(term) for term in _output(operators))


def _output(operators: Sequence[str]) -> tuple[Term, ...]:
    """Terms whose sum is the cell's output: skips are followed, edges from unreached nodes are dropped."""
    nodes: list[tuple[Term, ...]] = [(_X,)]
    copies: dict[tuple[str, tuple[Term, ...]], int] = {}
    edge = iter(operators)
    for sources in _SOURCES:
        terms: list[Term] = []
        for source in sources:
            operator, inputs = next(edge), nodes[source]
            if operator == "none" or not inputs:
                continue
            if operator == "skip_connect":
                terms.extend(inputs)
                continue
            key = (operator, inputs)
            # Pooling has no weights: pooling the same input twice is the same tensor.
            copy = 0 if operator == "avg_pool_3x3" else copies.get(key, 0)
            copies[key] = copy + 1
            terms.append(Term(operator, copy, inputs))
        nodes.append(tuple(sorted(terms, key=_spelling)))
    return _canonical(nodes[3])


def _reachable(terms: Sequence[Term]) -> set[Term]:
    return set(terms).union(*(_reachable(term.inputs) for term in terms))


def _canonical(output: tuple[Term, ...]) -> tuple[Term, ...]:
    """Number equal convolutions so that isomorphic cells have the same spelling: the smallest one.

    A cell has at most six operators, so all numberings can be tried.
    """
    groups: dict[str, list[Term]] = {}
    for term in sorted(_reachable(output), key=_spelling):
        groups.setdefault(_shape(term), []).append(term)
    repeated = [group for group in groups.values() if len(group) > 1]

    def renumbered(orders: Sequence[Sequence[int]]) -> tuple[Term, ...]:
        copy = {t: n for group, order in zip(repeated, orders, strict=True) for t, n in zip(group, order, strict=True)}

        def rebuild(term: Term) -> Term:
            inputs = tuple(sorted((rebuild(source) for source in term.inputs), key=_spelling))
            return Term(term.operator, copy.get(term, 0), inputs)

        return tuple(sorted((rebuild(term) for term in output), key=_spelling))

    every = itertools.product(*(itertools.permutations(range(len(group))) for group in repeated))
    return min((renumbered(orders) for orders in every), key=lambda terms: [_spelling(term) for term in terms])


@cache
def _shape(term: Term) -> str:
    """Spelling without the copies."""
    return f"{term.operator}({'+'.join(sorted(_shape(source) for source in term.inputs))})"


@cache
def _spelling(term: Term) -> str:
    return f"{term.operator}#{term.copy}({'+'.join(_spelling(source) for source in term.inputs)})"


class _Stack(LayerStack):
    """Layers of cells and of what lies between them."""

    def cell(self, source: str, output: tuple[Term, ...], channels: int) -> str:
        """One cell; every term is computed once, every sum and every ReLU is computed once."""
        done: dict[Term, str] = {_X: source}
        sums: dict[tuple[str, ...], str] = {}
        rectified: dict[str, str] = {}

        def total(terms: tuple[Term, ...]) -> str:
            names = tuple(compute(term) for term in terms)
            for end in range(2, len(names) + 1):
                if names[:end] not in sums:
                    left = sums.get(names[: end - 1], names[0])
                    sums[names[:end]] = self.add(Add, left, names[end - 1])
            return sums.get(names, names[0])

        def compute(term: Term) -> str:
            if term not in done:
                tensor = total(term.inputs)
                if term.operator == "avg_pool_3x3":
                    done[term] = self.add(Pool2D, tensor, kind="average", kernel=3)
                else:  # ReLU, convolution, batch-norm
                    if tensor not in rectified:
                        rectified[tensor] = self.add(Activation, tensor, function="relu")
                    kernel = 1 if term.operator == "nor_conv_1x1" else 3
                    done[term] = self.add(Conv2D, rectified[tensor], filters=channels, kernel=kernel)
            return done[term]

        return total(output)

    def reduction(self, source: str, channels: int) -> str:
        """Residual block with stride 2."""
        a = self.add(Activation, source, function="relu")
        a = self.add(Conv2D, a, filters=channels, kernel=3, stride=2, activation="relu")
        a = self.add(Conv2D, a, filters=channels, kernel=3)
        b = self.add(Pool2D, source, kind="average", kernel=2, stride=2)
        b = self.add(Conv2D, b, filters=channels, kernel=1, batch_norm=False)
        return self.add(Add, b, a)


def build_network(operators: Sequence[str], options: NetworkOptions) -> Network:
    """The network for the operator of each edge.

    Args:
        operators: Six operator names.
        options: `channels` of the first stage (16) and `cells` in each stage (5).

    Raises:
        ConfigError: Unknown or impossible options.
    """
    sizes = _sizes(options)
    channels, cells = sizes["channels"], sizes["cells"]
    output = _output(operators)
    stack = _Stack()
    if not output:  # nothing reaches the output: the network is a constant, whatever the image
        tensor = stack.add(GlobalMean, INPUT)
        tensor = stack.add(Scale, tensor, factor=0.0)
    else:
        tensor = stack.add(Conv2D, INPUT, filters=channels, kernel=3)
        for stage in range(3):
            if stage:
                tensor = stack.reduction(tensor, channels << stage)
            for _ in range(cells):
                tensor = stack.cell(tensor, output, channels << stage)
        tensor = stack.add(BatchNorm, tensor, activation="relu")
        tensor = stack.add(GlobalMean, tensor)
    stack.add(FullyConnected, tensor, units=options.classes)
    return stack.network("nasbench201", options.input_shape)


def _sizes(options: NetworkOptions) -> dict[str, int]:
    problems = []
    for key, value in options.options.items():
        if key not in DEFAULTS:
            problems.append(Problem(f"space.{key}", value, f"only {', '.join(DEFAULTS)}"))
        elif not isinstance(value, int) or isinstance(value, bool) or value < 1:
            problems.append(Problem(f"space.{key}", value, "a whole number of at least 1"))
    _, height, width, _ = options.input_shape
    if min(height, width) < 4:
        problems.append(Problem("space.input", list(options.input_shape), "height and width of at least 4"))
    if options.classes < 2:
        problems.append(Problem("space.classes", options.classes, "at least 2"))
    if problems:
        raise ConfigError("space nasbench201", problems)
    return {**DEFAULTS, **options.options}
