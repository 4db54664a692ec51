"""The differentiable features against a plain search over the cell's graph."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree  # type: ignore[import-untyped]

from orchestrator.predict.nasbench201_encoding import NASBench201Encoding
from orchestrator.space.base import one_hot
from orchestrator.space.nasbench201 import EDGES, NASBench201

ENCODING = NASBench201Encoding()
ALL = NASBench201().all()
NONE, SKIP, CONV1, CONV3, POOL = range(5)


def paths_of(slots: tuple[int, ...]) -> list[list[int]]:
    """Slots of every alive path, found by walking the graph."""
    found: list[list[int]] = []

    def walk(node: int, taken: list[int]) -> None:
        if node == 3:
            found.append(taken)
        for slot, (source, _) in enumerate(EDGES):
            if source == node and slots[slot] != NONE:
                walk(EDGES[slot][1], [*taken, slot])

    walk(0, [])
    return found


def accuracy_by_search(slots: tuple[int, ...]) -> list[float]:
    paths = [[slots[slot] for slot in path] for path in paths_of(slots)]
    live = [slots[slot] for slot in {slot for path in paths_of(slots) for slot in path}]
    skipped = sum(set(path) == {SKIP} for path in paths)
    free = sum(set(path) <= {SKIP, POOL} for path in paths)
    pooled = sum(POOL in path for path in paths)
    convolutions = [sum(operator in (CONV1, CONV3) for operator in path) for path in paths]
    computing = [sum(operator != SKIP for operator in path) for path in paths]
    return [
        len(paths),
        float(skipped > 0),
        skipped,
        float(free > 0),
        free,
        float(free > skipped),
        pooled,
        *(sqrt(live.count(operator) + 0.25) for operator in (SKIP, CONV1, CONV3, POOL)),
        sqrt(max((path.count(CONV3) for path in paths), default=0) + 0.25),
        sqrt(max(convolutions, default=0) + 0.25),
        max(computing, default=0),
        min(convolutions, default=0),
    ]


def costs_by_search(slots: tuple[int, ...]) -> list[float]:
    live = [slots[slot] for slot in {slot for path in paths_of(slots) for slot in path}]
    useful = {3}  # nodes from which an alive path leads to the output
    for slot, (source, target) in reversed(list(enumerate(EDGES))):
        if slots[slot] != NONE and target in useful:
            useful.add(source)
    needed = [slots[slot] for slot, (_, target) in enumerate(EDGES) if target in useful]
    return [
        1,
        *(slots.count(operator) for operator in range(5)),
        *(needed.count(operator) for operator in range(1, 5)),
        *(live.count(operator) for operator in range(1, 5)),
    ]


def test_features_are_exact_on_the_whole_space() -> None:
    vertices = torch.as_tensor(one_hot(ALL, 5))
    rows = [tuple(row) for row in ALL.tolist()]
    np.testing.assert_allclose(
        ENCODING.accuracy(vertices).numpy(), [accuracy_by_search(row) for row in rows], atol=1e-9
    )
    np.testing.assert_allclose(ENCODING.costs(vertices).numpy(), [costs_by_search(row) for row in rows], atol=1e-9)


def test_work_orders_by_convolutions() -> None:
    chosen = np.array([[0] * 6, [1] * 6, [2] * 6, [3] * 6])
    work = ENCODING.work(torch.as_tensor(one_hot(chosen, 5)))
    assert (work > 0).all()
    assert (work[1:] >= work[:-1]).all()


def test_waste_and_connection_are_exact_on_the_whole_space() -> None:
    vertices = torch.as_tensor(one_hot(ALL, 5))
    rows = [tuple(row) for row in ALL.tolist()]
    live = [{slot for path in paths_of(row) for slot in path} for row in rows]
    np.testing.assert_allclose(ENCODING.connected(vertices).numpy(), [float(bool(each)) for each in live], atol=1e-12)
    waste = [sum(value != NONE for value in row) - len(each) for row, each in zip(rows, live, strict=True)]
    np.testing.assert_allclose(ENCODING.waste(vertices).numpy(), waste, atol=1e-12)


@pytest.mark.parametrize(
    "features", [ENCODING.accuracy, ENCODING.costs, ENCODING.work, ENCODING.connected, ENCODING.waste]
)
def test_gradients_agree_with_differences(features: object) -> None:
    generator = torch.Generator().manual_seed(0)
    relaxed = torch.rand(3, 6, 5, generator=generator, dtype=torch.float64).softmax(-1).requires_grad_()
    assert torch.autograd.gradcheck(features, (relaxed,))


def test_gradients_are_finite_at_vertices() -> None:
    vertices = torch.as_tensor(one_hot(ALL[:500], 5)).requires_grad_()
    (ENCODING.accuracy(vertices).sum() + ENCODING.costs(vertices).sum()).backward()
    assert vertices.grad is not None
    assert vertices.grad.isfinite().all()


def test_isomorphic_cells_have_one_signature_and_others_are_far_from_it() -> None:
    space = NASBench201()
    signatures = ENCODING.signature(torch.as_tensor(one_hot(ALL, 5))).numpy()
    classes = [space.isomorphism_class(space.architecture(row)) for row in ALL]
    different, which = np.unique(signatures.round(9), axis=0, return_inverse=True)
    assert len(set(zip(which.reshape(-1).tolist(), classes, strict=True))) == len(set(classes)) == 6466
    assert len(different) == 4930
    nearest, _ = cKDTree(different).query(different, k=2, p=np.inf)
    assert nearest[:, 1].min() > 1e-4  # `SameKernel` tells them apart
