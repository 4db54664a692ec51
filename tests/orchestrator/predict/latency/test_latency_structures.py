"""What NAS-Bench-201's structures count, against searches of the graph."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from orchestrator.generate.pool import width
from orchestrator.predict.latency.layers import AMOUNTS, NetworkStructures, layer_amounts, layer_costs
from orchestrator.predict.latency.structures import SlotStructures, relaxed, structures_of
from orchestrator.space.mobilenetv3 import MobileNetV3
from orchestrator.space.nasbench201 import NASBench201
from tests.orchestrator.predict.latency.made_up import SPACE, STRUCTURES, inputs, networks

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
PATHS = ((0, 3), (0, 1, 3), (0, 2, 3), (0, 1, 2, 3))
WORK = (0.0, 0.1, 2.0, 4.0, 1.0)
SLOTS = np.unique(np.concatenate([networks()[:150], SPACE.sample(150, np.random.default_rng(3))]), axis=0)


def reachable(slots: np.ndarray, start: int, backwards: bool = False) -> set[int]:
    """Nodes that data from a node gets to, or that get data to it."""
    found, alive = {start}, [edge for edge, value in zip(EDGES, slots, strict=True) if value]
    for _ in range(3):
        found |= {a for a, b in alive if b in found} if backwards else {b for a, b in alive if a in found}
    return found


def counts(slots: np.ndarray, executed: list[bool], paid_none: bool) -> list[float]:
    """Constant, operators, and whether there is a convolution."""
    used = [value for value, here in zip(slots, executed, strict=True) if here]
    convolution = any(value in (2, 3) for value in used)
    return [1.0, used.count(0) * paid_none, *(used.count(value) for value in (1, 2, 3, 4)), convolution]


def expected(structure: int, slots: np.ndarray) -> list[float]:
    onward, reached = reachable(slots, 3, backwards=True), reachable(slots, 0)
    if structure == 0:
        return counts(slots, [True] * 6, paid_none=True)
    if structure == 1:
        return counts(slots, [b in onward for _, b in EDGES], paid_none=False)
    return counts(slots, [b in onward and a in reached for a, b in EDGES], paid_none=False)


def test_counts_are_those_of_the_graph() -> None:
    found = STRUCTURES.amounts(inputs(SLOTS)).numpy()
    for structure in (0, 1, 3):
        assert np.array_equal(found[structure], [expected(structure, slots) for slots in SLOTS])


def test_half_a_merged_zero_is_paid_for_where_it_reaches_a_convolution() -> None:
    found = STRUCTURES.amounts(inputs(SLOTS)).numpy()
    merged, every, needed = found[2], found[0], found[1]
    assert (merged[:, 2:] <= every[:, 2:] + 1e-12).all()
    connected = np.array([3 in reachable(slots, 0) for slots in SLOTS])
    assert (merged[~connected, 1:] == 0).all()  # a network that is constant is found out
    assert (merged[connected, 2:] >= needed[connected, 2:] - 1e-12).all()
    # 2-3 is `none`, and its zero is merged into the convolution of 0-2, whose result therefore is computed for nothing
    cell = SPACE.parse("|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|none~0|skip_connect~1|none~2|").slots
    _, _, folded, _, *_ = STRUCTURES.amounts(inputs(np.array([cell])))
    assert folded[0, 3:5].tolist() == [1.0, 1.0]


def test_the_longest_path_is_the_one_that_computes_most() -> None:
    found = STRUCTURES.amounts(inputs(SLOTS)).numpy()
    live, half, longest = found[3:]
    for row, slots in enumerate(SLOTS):
        paths = [[EDGES.index(edge) for edge in pairwise(path)] for path in PATHS]
        alive = [path for path in paths if all(slots[edge] for edge in path)]
        best = max((sum(WORK[slots[edge]] for edge in path) for path in alive), default=0.0)
        assert np.isclose(longest[row, 1:6] @ WORK, best)
    assert (longest <= live + 1e-12).all()
    assert np.allclose(half[:, :6], (live + longest)[:, :6] / 2)


def test_amounts_can_be_differentiated() -> None:
    """Between vertices, where everything is smooth."""
    rng = np.random.default_rng(0)
    some = torch.from_numpy(rng.dirichlet(np.ones(5), size=(4, 6))).requires_grad_()
    assert torch.autograd.gradcheck(STRUCTURES.amounts, (some,))


def test_slot_structures_count_names_wherever_they_stand() -> None:
    structures = SlotStructures((("small", "large"), ("large", "skip")))
    found = structures.amounts(relaxed(np.array([[1, 0], [0, 1]]), 2))[0]
    by_name = dict(zip(structures.amounts_of, found.T.tolist(), strict=True))
    assert by_name["large"] == [2.0, 0.0]
    assert by_name["small at 0"] == [0.0, 1.0]
    assert by_name["constant"] == [1.0, 1.0]


def test_network_structures_see_any_network() -> None:
    features = []
    for space in (NASBench201(), MobileNetV3()):
        for row in space.sample(3, np.random.default_rng(0)):
            network = space.network(space.architecture(row), space.usual_network)
            features.append(layer_amounts(layer_costs(network)))
    seen, structures = torch.from_numpy(np.stack(features)), NetworkStructures()
    assert structures.amounts(seen).shape == (1, 6, len(AMOUNTS))
    kinship = structures.kinship(seen, seen)
    assert torch.allclose(kinship.diagonal(), torch.ones(6, dtype=kinship.dtype))
    assert torch.linalg.eigvalsh(kinship).min() > -1e-9
    assert kinship[0, 1] > kinship[0, 5]


def test_a_space_without_structures_of_its_own_has_its_costs() -> None:
    space = MobileNetV3()
    some = relaxed(space.sample(5, np.random.default_rng(0)), width(space))
    structures = structures_of(space)
    assert torch.equal(structures.amounts(some)[0], space.encoding().costs(some))
    assert len(structures.amounts_of) == structures.amounts(some).shape[-1]
