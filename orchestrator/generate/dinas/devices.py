"""Devices as a conditional model sees them: reference architectures, and devices that do not exist.

A model that is to serve devices it was not trained on has to see many. Real ones are few, so most are made up: mixtures
of the known devices' prices (`predict.cost_model`: latency is additive in milliseconds), each price times a log-normal
factor. Factors have parts in common, as on real devices: one of the operator, one of the place (its shapes), one alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import DataError
from orchestrator.generate.pool import distinct, width
from orchestrator.predict.cost_model import fit_prices
from orchestrator.space.base import FloatArray, IntArray, Space, canonical, one_hot

_CANDIDATES = 4000  # architectures that references are chosen from
_OPERATOR, _PLACE, _ALONE = 0.3, 0.2, 0.2  # standard deviations of the parts of a log factor
_MIXED = 0.5  # of the Dirichlet distribution of mixtures: mostly one device, some of others
_FITTED_ON = 2000  # architectures that prices are fitted on


def reference_architectures(space: Space, count: int, candidates: IntArray | None = None) -> IntArray:
    """(`R`, `S`): architectures whose latencies tell devices apart: far from each other in what they pay for.

    The first is the nearest to the mean, each other the farthest from those before, among architectures that compute
    something and waste nothing: a runtime may drop waste.

    Args:
        space: The space.
        count: `R`.
        candidates: (`N`, `S`) what to choose from; uniform draws where it is None.

    Raises:
        DataError: There are not so many.
    """
    encoding = space.encoding()
    rng = np.random.default_rng(0)
    drawn = space.sample(_CANDIDATES, rng) if candidates is None else rng.permutation(candidates)[:_CANDIDATES]
    drawn = distinct(canonical(space, drawn))
    relaxed = torch.from_numpy(one_hot(drawn, width(space)))
    sound = (encoding.connected(relaxed) > 0.5) & (encoding.waste(relaxed) < 0.5)
    drawn, amounts = drawn[sound.numpy()], encoding.costs(relaxed[sound])
    if len(drawn) < count:
        raise DataError(
            f"only {len(drawn)} architectures can serve as references, {count} are needed",
            "tables must list more that compute something and have no dead operators",
        )
    scaled = (amounts - amounts.mean(0)) / amounts.std(0).clamp_min(1e-9)
    chosen = [int(scaled.norm(dim=1).argmin())]
    distance = (scaled - scaled[chosen[0]]).norm(dim=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (scaled - scaled[chosen[-1]]).norm(dim=1))
    return drawn[chosen]


class SyntheticDevices:
    """A distribution of additive cost models around known devices and around plain multiply-adds."""

    def __init__(self, space: Space, slots: IntArray, latencies_ms: FloatArray) -> None:
        """Args:
        space: The space.
        slots: (`N`, `S`) architectures whose latencies are known.
        latencies_ms: (`N`, `D`) on known devices.
        """
        encoding = space.encoding()
        self._costs, self._width = encoding.costs, width(space)
        relaxed = torch.from_numpy(one_hot(slots[:_FITTED_ON], self._width))
        amounts = encoding.costs(relaxed)
        known = [*latencies_ms[:_FITTED_ON].T, encoding.work(relaxed).numpy()]
        prices = np.stack([fit_prices(amounts.numpy(), each, np.zeros(len(each))) for each in known])
        typical = np.array([np.median(each) for each in known])
        self._bases = torch.from_numpy(prices / typical[:, None])  # (D + 1, K)
        self._factors = _common_factors(space)  # (K, operators + places + K)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(`D`, `K`) prices of devices that do not exist; their unit is arbitrary."""
        shares = torch._standard_gamma(torch.full((count, len(self._bases)), _MIXED, dtype=torch.float64), generator)
        mixed = (shares / shares.sum(-1, keepdim=True)) @ self._bases
        normal = torch.randn(count, self._factors.shape[1], generator=generator, dtype=torch.float64)
        return mixed * (normal @ self._factors.T).exp()

    def typical(self, slots: IntArray) -> FloatArray:
        """(`B`,) latency of (`B`, `S`) architectures on the mean of the known devices."""
        return np.asarray((self._costs(torch.from_numpy(one_hot(slots, self._width))) @ self._bases.mean(0)).numpy())


def _common_factors(space: Space) -> Tensor:
    """(`K`, F): what each amount's log factor is made of: its operators, its places and itself.

    Which slots and operators an amount counts is read off its derivative where all choices are equally likely.
    """
    sizes = [len(choices) for choices in space.choices]
    exists = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
    middle = (exists / exists.sum(-1, keepdim=True)).double()
    costs = space.encoding().costs
    slopes = torch.autograd.functional.jacobian(lambda slots: costs(slots[None])[0], middle).abs() * exists
    weights = slopes / slopes.sum((1, 2), keepdim=True).clamp_min(1e-12)  # (K, S, V)
    names = sorted({name for choices in space.choices for name in choices})
    operators = torch.zeros(len(weights), len(names), dtype=torch.float64)
    for slot, choices in enumerate(space.choices):
        for value, name in enumerate(choices):
            operators[:, names.index(name)] += weights[:, slot, value]
    alone = torch.eye(len(weights), dtype=torch.float64)
    return torch.cat([_OPERATOR * operators, _PLACE * weights.sum(2), _ALONE * alone], dim=1)
