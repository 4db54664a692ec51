"""Training examples: conditions, and an architecture that meets them.

A condition is one-sided. "At most b milliseconds on device d, among the best share r" is the uniform distribution over
the architectures of the training population that run within b on d and are, of those, among the best r by accuracy. So
any accuracy can be asked together with any budget that something meets, and loosening a budget never shrinks the set.
Examples are drawn from that definition: conditions first, then one of the architectures that meet them. Each condition
is dropped independently, and what is dropped does not restrict: the network learns every subset of the conditions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from orchestrator.generate.dinas.asked import Asked
from orchestrator.generate.dinas.cost_model import CostModel
from orchestrator.generate.dinas.devices import SyntheticDevices
from orchestrator.generate.dinas.population import Population
from orchestrator.generate.pool import width
from orchestrator.space.base import Space, one_hot

_BUDGETS = (0.7, 0.2, 0.1)  # probability of one, two, three budgets, before some are dropped
_RANKED = 4096  # architectures that a budget's quantile is read from
_FITTED_ON, _FITTED_DEVICES = 500, 48  # architectures and made-up devices that a cost model is fitted on
_ERRORS = (0.003, 0.1)  # standard deviations of a reference's log latency: from a good laboratory's to a busy phone's


@dataclass(frozen=True)
class TaskConfig:
    """Which conditions are drawn.

    Attributes:
        dropped: Probability that a condition is dropped, independently of the others.
        rarest: Smallest top share in accuracy; shares are log-uniform from there to 1.
        tightest: Smallest share of the population that a budget lets through.
        among: Architectures of the population, at most, that the examples of a step are chosen from.
        fresh: Devices a step that do not exist.
        equivalent: Known devices that those are worth: with as many known ones, half of the budgets are on either.
    """

    dropped: float = 0.15
    rarest: float = 0.002
    tightest: float = 0.001
    among: int = 10_000
    fresh: int = 16
    equivalent: int = 8


class Tasks:
    """Draws examples from a population."""

    def __init__(self, space: Space, population: Population, config: TaskConfig) -> None:
        """Args:
        space: The space.
        population: What is drawn from.
        config: Which conditions.
        """
        order = np.argsort(-population.accuracy, kind="stable")
        self.slots = torch.from_numpy(population.slots[order])  # best first
        self._config = config
        self._known = torch.from_numpy(np.log(population.latencies_ms[order])).float()  # (N, D)
        self._known_references = torch.from_numpy(np.log(population.references_ms)).float()  # (R, D)
        costs = space.encoding().costs
        relaxed = [torch.from_numpy(one_hot(s, width(space))) for s in (population.slots[order], population.references)]
        self._amounts, self._reference_amounts = (costs(each).float() for each in relaxed)
        self._synthetic = SyntheticDevices(space, population.slots, population.latencies_ms)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Asked]:
        """(`B`, `S`) architectures, and what each of them meets."""
        config, most = self._config, len(_BUDGETS)
        some = torch.randperm(len(self.slots), generator=generator)[: config.among].sort().values  # still best first
        latencies, references = self._devices(some, generator, config.fresh)  # (D, N), (D, R)
        wanted = torch.multinomial(torch.tensor(_BUDGETS), count, replacement=True, generator=generator) + 1
        kept = torch.rand(count, most, generator=generator) >= config.dropped
        asked = kept & (torch.arange(most) < wanted[:, None])
        device = self._choose_devices((count, most), generator)
        budgets = self._quantiles(latencies, device, generator)
        meets = torch.ones(count, latencies.shape[1], dtype=torch.bool)
        for column in range(most):
            (rows,) = asked[:, column].nonzero(as_tuple=True)
            here, met = latencies[device[rows, column]], meets[rows]  # (B', N)
            # A further budget lets at least one of the architectures through that meet those before.
            anchor = _choose(met, torch.rand(len(rows), generator=generator))
            least = here.gather(1, anchor[:, None])[:, 0]
            budget = torch.where(met.all(1), budgets[rows, column], torch.maximum(budgets[rows, column], least))
            budgets[rows, column] = budget
            meets[rows] = met & (here <= budget[:, None])
        log_rarest = math.log(config.rarest)
        share = (log_rarest * torch.rand(count, generator=generator)).exp()
        share_asked = torch.rand(count, generator=generator) >= config.dropped
        share = torch.where(share_asked, share, 1.0)
        meeting = meets.sum(1)
        best = (share * meeting).ceil().clamp_min(1)
        row = _choose(meets, torch.rand(count, generator=generator) * best / meeting)
        return self.slots[some[row]], Asked((best / meeting).log(), share_asked, references[device], budgets, asked)

    def fit(self, cost_model: CostModel, generator: torch.Generator) -> None:
        """Fit a cost model on the known devices and many others, which count as much as in `draw`."""
        some = torch.randint(len(self.slots), (_FITTED_ON,), generator=generator)
        latencies, references = self._devices(some, generator, _FITTED_DEVICES)
        known = torch.full((self._known.shape[1],), _FITTED_DEVICES / self._config.equivalent)
        weights = torch.cat([known, torch.ones(_FITTED_DEVICES)])
        cost_model.fit(self._amounts[some], references.exp(), latencies.exp(), weights)

    def _devices(self, rows: Tensor, generator: torch.Generator, fresh: int) -> tuple[Tensor, Tensor]:
        """(`D`, `N`) and (`D`, `R`) log milliseconds of some rows and the references, on known and fresh devices.

        References are measured, not known: those of fresh devices have errors, some small and some large.
        """
        prices = self._synthetic.draw(fresh, generator).float()
        made_up = [
            (prices @ amounts.T).clamp_min(1e-9).log() for amounts in (self._amounts[rows], self._reference_amounts)
        ]
        low, high = (math.log(each) for each in _ERRORS)
        error = (low + (high - low) * torch.rand(fresh, 1, generator=generator)).exp()
        made_up[1] = made_up[1] + error * torch.randn(made_up[1].shape, generator=generator)
        known = self._known[rows].T, self._known_references.T
        return torch.cat([known[0], made_up[0]]), torch.cat([known[1], made_up[1]])

    def _choose_devices(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Device of each budget, (`B`, `K`)."""
        known = self._known.shape[1]
        real = torch.randint(known, shape, generator=generator)
        fresh = known + torch.randint(self._config.fresh, shape, generator=generator)
        share = self._config.equivalent / (self._config.equivalent + known)
        return torch.where(torch.rand(shape, generator=generator) < share, fresh, real)

    def _quantiles(self, latencies: Tensor, device: Tensor, generator: torch.Generator) -> Tensor:
        """(`B`, `K`) budgets that random shares of the population meet: half of them uniform, half log-uniform."""
        some = torch.randint(latencies.shape[1], (min(_RANKED, latencies.shape[1]),), generator=generator)
        ranked = latencies[:, some].sort(dim=1).values
        u, even = (torch.rand(device.shape, generator=generator) for _ in range(2))
        share = torch.where(even < 0.5, u, (math.log(self._config.tightest) * u).exp())
        place = share * (ranked.shape[1] - 1)
        low, high = (ranked[device, index.long()] for index in (place.floor(), place.ceil()))
        return low + (high - low) * (place - place.floor())


def _choose(among: Tensor, u: Tensor) -> Tensor:
    """(`B`,) columns: of the true ones of each row of (`B`, `N`), that at the share `u` in [0, 1) of them."""
    passed = among.cumsum(1, dtype=torch.int32)
    total = passed[:, -1]
    wanted = torch.minimum((u * total).floor().int() + 1, total)
    return torch.searchsorted(passed, wanted[:, None])[:, 0]
