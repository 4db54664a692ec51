"""NAS-Bench-201 (Dong & Yang, ICLR 2020): a cell of four nodes whose six edges carry one of five operators.

Slots are the edges (1<-0), (2<-0), (2<-1), (3<-0), (3<-1), (3<-2), in the order of the benchmark's strings, e.g.
`|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|`. Every vector of choices is legal.
"""

from __future__ import annotations

import itertools
import random
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.errors import IllegalArchitecture
from orchestrator.space.base import Architecture, BoolArray, FloatArray, IntArray, NetworkOptions
from orchestrator.space.nasbench201_network import build_network, operators_of, spelling
from profiling.network import Network

if TYPE_CHECKING:
    from orchestrator.predict.encodings import Encoding

OPERATORS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (source node, target node) of each slot

_EDGE = re.compile(r"^(?P<operator>[a-z0-9_]+)~(?P<source>\d)$")
_SHUFFLE_SEED = 88  # the benchmark numbers its architectures in lexicographic order shuffled with this seed


class NASBench201:
    """The 15,625 architectures of NAS-Bench-201."""

    name = "nasbench201"
    size: int | None = len(OPERATORS) ** len(EDGES)
    choices = (OPERATORS,) * len(EDGES)
    usual_network = NetworkOptions((1, 32, 32, 3), 10)  # CIFAR-10

    @cached_property
    def attention_mask(self) -> BoolArray:
        """(`S`, `S`): edges that lie on a common path of the cell."""
        mask = np.eye(len(EDGES), dtype=bool)
        for i, (_, target) in enumerate(EDGES):
            for j, (source, _) in enumerate(EDGES):
                if target == source or (target, source) in EDGES:
                    mask[i, j] = mask[j, i] = True
        return mask

    def architecture(self, slots: Sequence[int] | IntArray) -> Architecture:
        """The architecture with these six choices."""
        chosen = tuple(int(value) for value in slots)
        if len(chosen) != len(EDGES) or not all(0 <= value < len(OPERATORS) for value in chosen):
            raise IllegalArchitecture(
                f"{chosen} is no NAS-Bench-201 architecture",
                f"give {len(EDGES)} numbers from 0 to {len(OPERATORS) - 1}",
            )
        return Architecture(self.name, chosen, _text(chosen))

    def parse(self, text: str) -> Architecture:
        """The architecture of one of the benchmark's strings."""
        hint = f"write e.g. {_text((3, 1, 0, 2, 0, 4))!r}; operators: {', '.join(OPERATORS)}"
        slots: list[int] = []
        nodes = text.strip().split("+")
        for target, node in enumerate(nodes, start=1):
            edges = node.strip("|").split("|")
            for source, edge in enumerate(edges):
                match = _EDGE.match(edge)
                if match is None or match["operator"] not in OPERATORS or int(match["source"]) != source:
                    raise IllegalArchitecture(f"{text!r} is no NAS-Bench-201 architecture (at {edge!r})", hint)
                slots.append(OPERATORS.index(match["operator"]))
            if len(edges) != target:
                raise IllegalArchitecture(f"{text!r}: node {target} needs {target} edges, has {len(edges)}", hint)
        if len(nodes) != 3:
            raise IllegalArchitecture(f"{text!r}: a cell has 3 nodes after the input, this has {len(nodes)}", hint)
        return self.architecture(slots)

    def at(self, index: int) -> Architecture:
        """The architecture with this number in the benchmark, 0..15624."""
        if not 0 <= index < len(_benchmark_order()):
            raise IllegalArchitecture(f"no architecture {index} in NAS-Bench-201", "indices are 0..15624")
        return self.architecture(_benchmark_order()[index])

    def index(self, architecture: Architecture) -> int:
        """The architecture's number in the benchmark, 0..15624."""
        return _benchmark_index()[architecture.slots]

    def other_notations(self, architecture: Architecture) -> dict[str, Any]:
        """`index`: the architecture's number in the benchmark."""
        return {"index": self.index(architecture)}

    def all(self) -> IntArray:
        """(15625, 6): every architecture, in the benchmark's order."""
        return np.array(_benchmark_order(), dtype=np.int64)

    def sample(self, count: int, rng: np.random.Generator) -> IntArray:
        """(`B`, 6) uniform choices; all are legal."""
        return rng.integers(0, len(OPERATORS), size=(count, len(EDGES)), dtype=np.int64)

    def is_legal(self, slots: IntArray) -> BoolArray:
        """(`B`,): whether every choice is one of the five operators."""
        return np.asarray(((slots >= 0) & (slots < len(OPERATORS))).all(axis=1))

    def inactive(self, slots: IntArray) -> BoolArray:
        """(`B`, 6) none: even a dead edge is paid for by some runtimes, so it is part of the architecture."""
        return np.zeros(slots.shape, dtype=bool)

    def project(self, scores: FloatArray) -> IntArray:
        """(`B`, 6): the best operator of each edge, for (`B`, 6, 5) scores."""
        return np.asarray(scores.argmax(axis=2), dtype=np.int64)

    def neighbours(self, architecture: Architecture) -> IntArray:
        """(24, 6): every change of one operator."""
        slots = np.array(architecture.slots, dtype=np.int64)
        rows = []
        for slot, value in itertools.product(range(len(EDGES)), range(len(OPERATORS))):
            if value != slots[slot]:
                row = slots.copy()
                row[slot] = value
                rows.append(row)
        return np.stack(rows)

    def isomorphism_class(self, architecture: Architecture) -> str:
        """The benchmark's own class string (6,466 classes)."""
        return _unique_string(architecture.slots)

    def computation(self, architecture: Architecture) -> str:
        """Spelling of the pruned cell of the architecture's class (4,990 different ones)."""
        return spelling([OPERATORS[value] for value in self.representative(architecture).slots])

    def representative(self, architecture: Architecture) -> Architecture:
        """The member of the architecture's class whose network is built.

        The benchmark's class strings expand nodes into expressions, so they cannot tell whether two equal
        convolutions are one (its output reused through `skip_connect`) or two with weights of their own. 430 classes
        hold both kinds. The member with the most operators stands for its class: 15,137 of the 15,625 strings are
        built exactly as written, the other 488 get the copy of a convolution that their class-mates have.
        """
        return self.architecture(_representatives()[_unique_string(architecture.slots)])

    def network(self, architecture: Architecture, options: NetworkOptions) -> Network:
        """The network of the architecture's class: stem, three stages of cells, classifier."""
        representative = self.representative(architecture)
        return build_network([OPERATORS[value] for value in representative.slots], options)

    def encoding(self) -> Encoding:
        """Features of the pruned cell."""
        from orchestrator.predict.nasbench201_encoding import NASBench201Encoding

        return NASBench201Encoding()


def _text(slots: Sequence[int]) -> str:
    """The benchmark's notation."""
    a, b, c, d, e, f = (OPERATORS[value] for value in slots)
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


@cache
def _benchmark_order() -> list[tuple[int, ...]]:
    """All architectures as the benchmark numbers them."""
    order = list(itertools.product(range(len(OPERATORS)), repeat=len(EDGES)))
    random.Random(_SHUFFLE_SEED).shuffle(order)
    return order


@cache
def _benchmark_index() -> dict[tuple[int, ...], int]:
    return {slots: index for index, slots in enumerate(_benchmark_order())}


@cache
def _unique_string(slots: tuple[int, ...]) -> str:
    """Nodes expanded into sorted sums; `#` is a node that nothing reaches, `0` the cell's input."""
    nodes = {0: "0"}
    for target in (1, 2, 3):
        terms = []
        for (source, end), value in zip(EDGES, slots, strict=True):
            if end != target:
                continue
            operator = OPERATORS[value]
            if operator == "none" or nodes[source] == "#":
                terms.append("#")
            elif operator == "skip_connect":
                terms.append(nodes[source])
            else:
                terms.append(f"({nodes[source]})@{operator}")
        nodes[target] = "+".join(sorted(terms))
    return nodes[3]


@cache
def _representatives() -> dict[str, tuple[int, ...]]:
    """Class string -> the member with the most operators that really run, the first such in the benchmark's order."""
    members: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for slots in _benchmark_order():
        members[_unique_string(slots)].append(slots)
    return {
        key: max(group, key=lambda slots: len(operators_of([OPERATORS[value] for value in slots])))
        for key, group in members.items()
    }
