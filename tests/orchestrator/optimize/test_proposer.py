"""The proposer on small made-up landscapes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from orchestrator.generate.account import Accountant
from orchestrator.generate.base import Proposal, Request
from orchestrator.optimize.acquisition import Acquisition
from orchestrator.optimize.beliefs import Knowledge
from orchestrator.optimize.goal import Constraint, Goal
from orchestrator.optimize.observation import Observation, Observed
from orchestrator.optimize.pareto import hypervolume
from orchestrator.optimize.proposer import Proposer, Slots, Suggestion
from orchestrator.space.base import Space
from orchestrator.space.nasbench201 import NASBench201

SPACE = NASBench201()
LATENCY = "latency_ms[toy]"
PARETO = Goal("accuracy", (LATENCY,))


class Uniform:
    """Draws uniformly; remembers the guidance that it was given."""

    name = "uniform"
    space: Space = SPACE

    def __init__(self) -> None:
        self.request: Request | None = None

    def propose(self, request: Request) -> Proposal:
        self.request = request
        return Proposal(SPACE.sample(request.count, np.random.default_rng(request.seed)), 1.0, 0, 0.0)


class KnowsDevices(Uniform):
    """Takes conditions: a device is what it needs for these architectures."""

    references = SPACE.sample(4, np.random.default_rng(9))


def accuracy_of(slots: Sequence[int]) -> float:
    weights = (3.0, 1.0, 2.0, 1.0, 2.0, 3.0)
    value = {0: -3.0, 1: 0.0, 2: 1.5, 3: 2.5, 4: -1.0}
    return 40 + sum(weight * value[slot] for weight, slot in zip(weights, slots, strict=True))


def latency_of(slots: Sequence[int]) -> float:
    return 1 + sum((0.0, 0.2, 1.0, 3.0, 0.6)[slot] for slot in slots)


def observe(slots: Slots) -> Observation:
    return Observation(
        slots, {"accuracy": Observed(accuracy_of(slots), 0.0), LATENCY: Observed(latency_of(slots), 1e-4)}
    )


def observed(count: int, seed: int = 0) -> list[Observation]:
    rows = np.unique(SPACE.sample(count, np.random.default_rng(seed)), axis=0)
    return [observe(tuple(row)) for row in rows.tolist()]


def never(_: Slots) -> bool:
    return False


def slots_of(suggestions: Sequence[Suggestion]) -> list[Slots]:
    return [each.slots for each in suggestions]


def test_it_starts_with_the_design_in_any_portions() -> None:
    proposer = Proposer(SPACE, PARETO, Uniform(), initial=6, seed=1)
    whole = proposer.propose([], 6, round_index=0, is_known=never)
    assert {each.origin for each in whole} == {"initial"}
    first = slots_of(proposer.propose([], 4, round_index=0, is_known=never))
    rest = proposer.propose(
        [observe(slots) for slots in first[:2]],
        2,
        round_index=1,
        is_known=set(first).__contains__,
        pending=first[2:],
    )
    assert first + slots_of(rest) == slots_of(whole)


def test_order_of_arrival_does_not_matter() -> None:
    known = observed(20)
    proposals = []
    for order in (known, known[::-1]):
        proposer = Proposer(SPACE, PARETO, Uniform(), pool=64, seed=3)
        pending = [each.slots for each in order[:3]]
        proposals.append(proposer.propose(order[3:-3], 3, round_index=4, is_known=never, pending=pending))
    twice = [
        Proposer(SPACE, PARETO, Uniform(), pool=64, seed=3).propose(order, 3, round_index=4, is_known=never)
        for order in (known, known[::-1])
    ]
    assert twice[0] == twice[1]
    other = Proposer(SPACE, PARETO, Uniform(), pool=64, seed=3).propose(known, 3, round_index=5, is_known=never)
    assert slots_of(other) != slots_of(twice[0])


def test_nothing_known_or_equal_is_proposed() -> None:
    known = observed(25)

    def identity(slots: Slots) -> str:
        return str(sorted(slots))

    measured = {identity(each.slots) for each in known}
    proposer = Proposer(SPACE, PARETO, Uniform(), pool=64, identity=identity)
    pending = [(3, 3, 3, 3, 3, 3)]
    chosen = proposer.propose(
        known, 8, round_index=2, is_known=lambda slots: identity(slots) in measured, pending=pending
    )
    identities = [identity(slots) for slots in slots_of(chosen)]
    assert len(set(identities)) == 8
    assert not set(identities) & measured
    assert identity(pending[0]) not in identities


def test_guidance_is_differentiable_and_elites_are_the_front() -> None:
    generator = Uniform()
    known = observed(20)
    Proposer(SPACE, PARETO, generator, pool=32).propose(known, 2, round_index=0, is_known=never)
    request = generator.request
    assert request is not None
    assert request.utility is not None
    assert request.utility.differentiable
    relaxed = torch.rand(4, 6, 5, generator=torch.Generator().manual_seed(0)).softmax(-1).requires_grad_()
    values = request.utility(relaxed)
    values.sum().backward()
    assert values.shape == (4,)
    assert values.dtype == relaxed.dtype
    assert relaxed.grad is not None
    assert relaxed.grad.abs().sum(dim=(1, 2)).min() > 0
    elites = [tuple(row) for row in request.elites.tolist()]
    accuracies = [accuracy_of(slots) for slots in elites]
    latencies = [latency_of(slots) for slots in elites]
    assert accuracies == sorted(accuracies, reverse=True)
    assert latencies == sorted(latencies, reverse=True)


def test_predictions_come_true_on_a_learnable_landscape() -> None:
    proposer, known = Proposer(SPACE, PARETO, Uniform(), pool=64), observed(80)
    reference = proposer.reference_point(known)
    assert reference is not None
    for each in proposer.propose(known, 6, round_index=1, is_known=never):
        accuracy, latency = each.predictions["accuracy"], each.predictions[LATENCY]
        expected, found = (max(value, reference[0]) for value in (accuracy.mean, accuracy_of(each.slots)))
        assert abs(expected - found) < 5 * accuracy.sd  # how bad the bad ones are is not predicted
        assert abs(math.log(latency.mean / latency_of(each.slots))) < max(5 * latency.sd, 0.05)


def run(goal: Goal, evaluations: int, *, seed: int) -> list[Observation]:
    proposer = Proposer(SPACE, goal, Uniform(), pool=64, initial=8, seed=seed)
    known: list[Observation] = []
    while len(known) < evaluations:
        done = {each.slots for each in known}
        count = 8 if not known else 4
        for each in proposer.propose(known, count, round_index=len(known), is_known=done.__contains__):
            known.append(observe(each.slots))
    return known


def test_the_front_beats_random_search() -> None:
    def volume(observations: Sequence[Observation]) -> float:
        points = [[accuracy_of(each.slots), -math.log(latency_of(each.slots))] for each in observations]
        return hypervolume(np.array(points), np.array([30.0, -3.2]))

    found = [volume(run(PARETO, 24, seed=seed)) for seed in range(2)]
    drawn = [volume(observed(100, seed=seed)) for seed in range(2)]
    assert min(found) > max(drawn)


def test_a_bound_that_nothing_meets_yet_is_approached() -> None:
    bound = 2.2  # about one in a hundred architectures
    goal = Goal("accuracy", subject_to=(Constraint(LATENCY, bound),))
    known = [each for each in observed(30) if each.metrics[LATENCY].value > 1.5 * bound]
    chosen = Proposer(SPACE, goal, Uniform(), pool=64).propose(known, 4, round_index=0, is_known=never)
    assert min(latency_of(each.slots) for each in chosen) <= bound


def test_a_bound_is_kept_and_accuracy_rises_below_it() -> None:
    goal = Goal("accuracy", subject_to=(Constraint(LATENCY, 6.0),))
    known = run(goal, 28, seed=0)
    best = max(each.metrics["accuracy"].value for each in known if each.metrics[LATENCY].value <= 6.0)
    everything = SPACE.all().tolist()
    feasible = sorted((accuracy_of(row) for row in everything if latency_of(row) <= 6.0), reverse=True)
    assert best >= feasible[len(feasible) // 100]


def test_missing_values_are_normal() -> None:
    known = observed(16)
    known[0] = Observation(known[0].slots, {})
    known[1] = Observation(known[1].slots, {"accuracy": known[1].metrics["accuracy"]})
    known[2] = Observation(known[2].slots, {LATENCY: Observed(latency_of(known[2].slots))})
    proposer = Proposer(SPACE, PARETO, Uniform(), pool=32)
    assert len(proposer.propose(known, 3, round_index=0, is_known=never)) == 3
    nothing = [Observation(each.slots, {}) for each in known]
    more = proposer.propose(nothing, 3, round_index=0, is_known=never)
    assert [each.origin for each in more] == ["initial"] * 3


def test_the_reference_stays_with_the_initial_design() -> None:
    proposer = Proposer(SPACE, PARETO, Uniform(), initial=6)
    assert proposer.reference_point([]) is None
    first = [observe(slots) for slots in slots_of(proposer.propose([], 6, round_index=0, is_known=never))]
    reference = proposer.reference_point(first)
    assert reference is not None
    later = proposer.reference_point([*observed(10), *first])
    assert later is not None
    np.testing.assert_array_equal(reference, later)
    assert math.exp(-reference[1]) > max(each.metrics[LATENCY].value for each in first)


def test_three_objectives() -> None:
    goal = Goal("accuracy", (LATENCY, "latency_ms[other]"))
    known = [
        Observation(each.slots, {**each.metrics, "latency_ms[other]": Observed(1.0 + each.slots.count(4))})
        for each in observed(15)
    ]
    chosen = Proposer(SPACE, goal, Uniform(), pool=32).propose(known, 3, round_index=0, is_known=never)
    assert len(set(slots_of(chosen))) == 3


def test_the_last_architectures_of_a_space_are_found() -> None:
    left = {(3, 1, 2, 0, 4, 1), (1, 1, 1, 1, 1, 0)}
    proposer = Proposer(SPACE, PARETO, Uniform(), pool=16)
    chosen = proposer.propose(observed(10), 5, round_index=0, is_known=lambda slots: slots not in left)
    assert set(slots_of(chosen)) == left


@pytest.mark.parametrize("value", [0.0, 50.0])
def test_equal_measurements_are_no_obstacle(value: float) -> None:
    known = [Observation(each.slots, {"accuracy": Observed(value), LATENCY: Observed(2.0)}) for each in observed(8)]
    assert len(Proposer(SPACE, PARETO, Uniform(), pool=16).propose(known, 2, round_index=0, is_known=never)) == 2


def test_many_observations_take_little_time() -> None:
    known = observed(500)
    began = time.process_time()
    Proposer(SPACE, PARETO, Uniform()).propose(known, 8, round_index=0, is_known=never)
    assert time.process_time() - began < 4  # seconds of one core; `benchmarks/propose.py` has the figure


def test_a_conditional_generator_is_told_what_the_device_is_believed_to_be() -> None:
    generator = KnowsDevices()
    proposer = Proposer(SPACE, PARETO, Accountant(generator), pool=20, initial=5)
    proposer.propose(observed(40), 2, round_index=1, is_known=lambda _: False)
    assert generator.request is not None
    assert generator.request.conditions is not None
    budget = generator.request.conditions.targets[0].budgets[0]
    assert budget.device == LATENCY
    assert budget.references_ms == pytest.approx([latency_of(each) for each in generator.references], rel=0.2)
    unconditional = Uniform()
    Proposer(SPACE, PARETO, unconditional, pool=20, initial=5).propose(
        observed(40), 2, round_index=1, is_known=lambda _: False
    )
    assert unconditional.request is not None
    assert unconditional.request.conditions is None


def test_what_others_observed_teaches_but_is_not_on_the_front() -> None:
    own, others = observed(6), observed(60, seed=3)
    plain, told = Uniform(), Uniform()
    for generator, knowledge in ((plain, None), (told, Knowledge(tuple(others)))):
        proposer = Proposer(SPACE, PARETO, generator, pool=20, initial=5, knowledge=knowledge)
        proposer.propose(own, 2, round_index=1, is_known=lambda _: False)
    assert plain.request is not None
    assert told.request is not None
    assert isinstance(told.request.utility, Acquisition)
    assert {tuple(row) for row in told.request.elites.tolist()} <= {each.slots for each in own}
    test = torch.as_tensor(np.eye(5)[np.array([each.slots for each in observed(50, seed=8)])])
    with torch.no_grad():
        known = told.request.utility.surrogates[LATENCY].marginal(test)[1].mean()
        assert isinstance(plain.request.utility, Acquisition)
        assert known < 0.5 * plain.request.utility.surrogates[LATENCY].marginal(test)[1].mean()
