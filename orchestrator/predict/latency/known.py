"""Known devices as amounts: what a network takes on each of them says more than its layers, where it was measured.

A new device may charge for layers, as the structures that this wraps say; or take of each network some mixture of what
known devices take of it. The second is a structure of its own, whose amounts are latencies: each known device charges
for its own latency and nothing else, so that mean and covariance of the prices are those of the devices themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from orchestrator.predict.latency.prior import LatencyPrior
from orchestrator.predict.latency.structures import Structures
from orchestrator.space.base import FloatArray

_SHARE = 0.5  # probability that known devices explain a new one better than layers do, before anything is measured


class KnownDevices:
    """Structures whose inputs are (`B`, `I` + `D`): those of the base, then relative latencies on `D` known devices."""

    def __init__(self, base: Structures, devices: Sequence[str]) -> None:
        """Args:
        base: Of inputs (`B`, `I`); with one structure.
        devices: Names of the known ones.
        """
        self._base, self._count = base, len(devices)
        self.names = (*base.names, "known devices")
        self.shares = (*((1 - _SHARE) * share for share in base.shares), _SHARE)
        self.amounts_of = (*base.amounts_of, *(f"latency on {device}" for device in devices))

    def amounts(self, inputs: Tensor) -> Tensor:
        """(`R`, `B`, `K` + `D`): those of the base and no latencies; and latencies alone."""
        own, latencies = inputs[:, : -self._count], inputs[:, -self._count :]
        layered = self._base.amounts(own)
        none = torch.zeros_like(latencies).expand(len(layered), -1, -1)
        mixed = torch.cat([torch.zeros_like(layered[0]), latencies], dim=-1).unsqueeze(0)
        return torch.cat([torch.cat([layered, none], dim=-1), mixed])

    def kinship(self, first: Tensor, second: Tensor) -> Tensor:
        """(`B`, `N`): as the base says."""
        return self._base.kinship(first[:, : -self._count], second[:, : -self._count])


def with_known(
    prior: LatencyPrior, base: Structures, inputs: Tensor, known: Sequence[tuple[str, FloatArray]]
) -> tuple[LatencyPrior, Structures, Tensor]:
    """A prior that knows what some of its devices take, the structures it is for, and their inputs.

    Args:
        prior: For the base.
        base: Structures of layers.
        inputs: (`B`, `I`) the networks.
        known: Some of the prior's devices, and (`B`,) latencies there, in the unit of their prices; NaN where a network
            was not measured: there the prices say what it would take.

    Returns:
        With nothing known they are the same prior, the base and the inputs.
    """
    if not known:
        return prior, base, inputs
    columns, rows = [], []
    for device, measured in known:
        row = prior.devices.index(device)
        expected = base.amounts(inputs)[prior.structures[row]].numpy() @ prior.prices[row]
        columns.append(np.where(np.isfinite(measured), measured, expected))
        rows.append(row)
    structures = KnownDevices(base, [device for device, _ in known])
    own = np.zeros((len(prior.devices), len(rows)))
    own[rows, range(len(rows))] = 1.0
    others = np.setdiff1d(np.arange(len(prior.devices)), rows)
    own[others] = own[rows].mean(0)  # what is made up knows no better
    explained = list(prior.structures)
    for row in rows:
        explained[row] = len(base.names)
    expanded = replace(
        prior,
        structures=tuple(explained),
        prices=np.concatenate([prior.prices, own], axis=1),
        amounts_of=structures.amounts_of,
    )
    return expanded, structures, torch.cat([inputs, torch.from_numpy(np.stack(columns, axis=1))], dim=1)
